// Any bytes are an IDX file, plain or gzipped, or an Error.
#include <rill/core/error.h>
#include <rill/io/idx.h>

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  try {
    const Tensor value = parse_idx(std::as_bytes(std::span(data, size)));
    // Deflate packs at most 1032 to 1, and bytes widen to int32.
    if (value.bytes() > 4 * (1032 * size + 65536)) std::abort();
  } catch (const Error&) {
  }
  return 0;
}
