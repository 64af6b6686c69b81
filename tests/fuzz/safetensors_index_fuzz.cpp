// Any bytes are an index whose shards lie in its folder, or an Error.
#include <rill/core/error.h>
#include <rill/io/safetensors.h>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  try {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    for (const auto& [tensor, file] : parse_safetensors_index(text))
      if (std::filesystem::path(file).filename() != file || file == "..") std::abort();
  } catch (const Error&) {
  }
  return 0;
}
