// Any text is training options that are the same again after they were written and read, or an
// Error; which of them a run takes is decided without another kind of exception.
#include <rill/core/error.h>
#include <rill/train/trainer.h>

#include <cstdlib>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  TrainOptions options;
  try {
    options = TrainOptions::from_json(std::string(reinterpret_cast<const char*>(data), size));
  } catch (const Error&) {
    return 0;
  }
  // Outside of the try: what Rill wrote, Rill reads.
  const std::string written = options.to_json();
  if (TrainOptions::from_json(written).to_json() != written) std::abort();
  try {
    options.validate();
  } catch (const Error&) {
  }
  return 0;
}
