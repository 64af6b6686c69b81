// Any bytes are the log of a run that goes on from some step: what is kept of it are whole lines
// that it had, and they are kept again.
#include <rill/train/run_log.h>

#include <cmath>
#include <cstdlib>
#include <limits>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace rill;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  for (const std::int64_t last : {std::int64_t{3}, std::numeric_limits<std::int64_t>::max()}) {
    const LoggedLines lines = lines_until(text, last);
    if (lines.text.size() > size + 1) std::abort();  // the last line may have lacked its end
    for (const auto& [step, loss] : lines.heldout)
      if (step < 0 || step > last || !std::isfinite(loss)) std::abort();
    const LoggedLines again = lines_until(lines.text, last);
    if (again.text != lines.text || again.heldout != lines.heldout) std::abort();
  }
  return 0;
}
