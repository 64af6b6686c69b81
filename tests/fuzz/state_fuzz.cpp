// Any bytes are a saved state of one spec, of any batch, or an Error; what was read can be written
// and read. The spec has what layers carry: a matrix, maxima that begin at -infinity, a position.
#include <rill/core/error.h>
#include <rill/core/state.h>
#include <rill/io/safetensors.h>

#include <cstdlib>
#include <limits>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  const StateSpec spec{"fuzz",
                       {{"c", {2, 3}},
                        {"m", {2}, DType::kFloat32, -std::numeric_limits<double>::infinity()},
                        {"position", {}, DType::kInt64}}};
  SafetensorsWriter writer;
  std::int64_t batch = 0;
  try {
    const auto bytes = std::as_bytes(std::span(data, size));
    const State state = State::load(SafetensorsReader::view(bytes, "fuzz"), spec);
    batch = state.batch();
    state.save(writer);
  } catch (const Error&) {
    return 0;
  }
  // Outside of the try: what Rill wrote, Rill reads.
  const std::string again = writer.serialize();
  const auto bytes = std::as_bytes(std::span(again));
  State::load(SafetensorsReader::view(bytes, "fuzz"), spec).check_fits(spec, batch, "fuzz");
  return 0;
}
