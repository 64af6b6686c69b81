// Any bytes are an npy file whose array is no larger than they are, or an Error.
#include <rill/core/error.h>
#include <rill/io/npy.h>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  try {
    if (parse_npy(std::as_bytes(std::span(data, size))).bytes() > size) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
