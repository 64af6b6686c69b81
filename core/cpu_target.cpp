#include <rill/core/check.h>
#include <rill/core/cpu_target.h>

#include <hwy/targets.h>

#include <cstdlib>
#include <fstream>

namespace rill {
namespace {

struct Target {
  const char* name;
  std::int64_t bit;
};
constexpr Target kTargets[] = {{"avx512", HWY_AVX3}, {"avx2", HWY_AVX2}, {"sse4", HWY_SSE4}};

std::int64_t detected() {
  // What the processor has and this build carries.
  static const std::int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

}  // namespace

std::vector<std::string> available_cpu_targets() {
  std::vector<std::string> names;
  for (const Target& target : kTargets)
    if (detected() & target.bit) names.emplace_back(target.name);
  return names;
}

std::string cpu_target() {
  for (const Target& target : kTargets)
    if (hwy::SupportedTargets() & HWY_TARGETS & target.bit) return target.name;
  return "none";
}

void set_cpu_target(std::string_view name) {
  for (const Target& target : kTargets) {
    if (name != target.name) continue;
    check((detected() & target.bit) != 0, ErrorCode::kUnsupported,
          "CPU target: this processor has no {}.", name);
    // Highway runs the best of the allowed targets: allow this one and those below it.
    std::int64_t allowed = 0;
    for (const Target& lower : kTargets)
      if (lower.bit >= target.bit) allowed |= lower.bit;
    hwy::SetSupportedTargetsForTest(detected() & allowed);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    return;
  }
  fail(ErrorCode::kUnsupported, "CPU target: expected avx512, avx2 or sse4, '{}' came.", name);
}

std::string cpu_name() {
  std::ifstream info("/proc/cpuinfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

}  // namespace rill
