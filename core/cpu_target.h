// Which vector instructions the CPU kernels run with; chosen at run time.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace rill {

/// Names of the vector targets that this build carries and this processor has, best first:
/// "avx512", "avx2", "sse4".
std::vector<std::string> available_cpu_targets();
/// The target that kernels run with now. At first the best one, or what the environment's
/// RILL_CPU_TARGET says.
std::string cpu_target();
/// Chooses a target for the whole process; Error(kUnsupported) where the processor or the build has
/// none of that name. Not to be called while kernels run.
void set_cpu_target(std::string_view name);
/// The processor's own name, e.g. "AMD EPYC 7R13".
std::string cpu_name();

}  // namespace rill
