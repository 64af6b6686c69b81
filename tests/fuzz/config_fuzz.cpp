// Any text is a config.json that is the same again after it was written and read, or an Error.
#include <rill/core/error.h>
#include <rill/model/config.h>

#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  std::string written;
  try {
    written = to_json(parse_config(std::string(reinterpret_cast<const char*>(data), size)));
  } catch (const Error&) {
    return 0;
  }
  // Outside of the try: what Rill wrote, Rill reads.
  if (to_json(parse_config(written)) != written) std::abort();
  return 0;
}
