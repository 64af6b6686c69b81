// Any bytes are a safetensors file that is read to its last tensor, or an Error; what is read can
// be written and read.
#include <rill/core/error.h>
#include <rill/io/safetensors.h>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  for (const bool lenient : {false, true}) {
    try {
      const auto reader =
          SafetensorsReader::view(std::as_bytes(std::span(data, size)), "fuzz", {lenient});
      SafetensorsWriter writer;
      std::size_t read = 0;
      for (const auto& info : reader.infos()) {
        if (info.bytes > static_cast<std::int64_t>(size))
          std::abort();  // a tensor larger than its file
        try {
          writer.tensor(info.name, reader.tensor(info.name));
          ++read;
        } catch (const Error& error) {
          if (error.code() != ErrorCode::kDType && error.code() != ErrorCode::kShape) std::abort();
        }
      }
      for (const auto& [key, value] : reader.metadata()) writer.text(key, value);
      const std::string again = writer.serialize();
      if (SafetensorsReader::view(std::as_bytes(std::span(again))).infos().size() != read)
        std::abort();
    } catch (const Error&) {
    }
  }
  return 0;
}
