// Under which options the laws run, and which cells of the table of laws have to be there.
#include "law.h"

#include <rill/core/format.h>

#include <algorithm>
#include <sstream>

namespace rill::laws {

bool runs_here(const std::string& law, DType dtype) {
  if (!on_device()) return true;
  // A device computes in float; its kernels in double are there for law 5, whose differences need
  // the digits. (Two orders of a sum in double differ by more than the 8 eps that plain loops owe.)
  if (dtype == DType::kFloat64) return on_device_model() && law == "5";
  // The bits of law 1b are promised on the CPU; law 15 takes a million steps. Law 9 counts what the
  // host allocates, which the model does in its launches.
  static const std::set<std::string> left_out = {"1b", "9", "15"};
  return !left_out.contains(law);
}

const std::vector<Variant>& all_variants() {
  static const std::vector<Variant> variants = [] {
    std::vector<Variant> all;
    for (const LayerType& type : layer_types()) all.push_back({type.name, "", {}});
    const std::vector<Variant> named = {
        {"s4d", "[mode=convolution]", {{"mode", std::string("convolution")}}, false},
        {"s4d", "[discretization=bilinear]", {{"discretization", std::string("bilinear")}}},
        {"s4d", "[init=real]", {{"init", std::string("real")}}},
        {"lstm", "[num_layers=2]", {{"num_layers", std::int64_t{2}}}},
        // More than every width of the laws: projected.
        {"lstm", "[hidden_size=72]", {{"hidden_size", std::int64_t{72}}}},
        {"gru", "[num_layers=2]", {{"num_layers", std::int64_t{2}}}},
        {"mingru", "[log_space=true]", {{"log_space", true}}},
        {"retnet", "[variant=paper]", {{"variant", std::string("paper")}}},
        {"deltanet", "[allow_neg_eigval=true]", {{"allow_neg_eigval", true}}},
    };
    all.insert(all.end(), named.begin(), named.end());
    return all;
  }();
  return variants;
}

namespace {

// ---- the expectation: typed by hand, so that a law or layer that gets lost is missed.

struct ExpectedLaw {
  const char* number;
  bool in_float, in_double;
};
constexpr ExpectedLaw kLaws[] = {
    {"1", true, true},  {"1b", true, true}, {"2", true, true},   {"3", true, true},
    {"4", true, true},  {"5", false, true}, {"5b", true, false}, {"6", true, true},
    {"7", true, true},  {"8", true, true},  {"9", true, true},   {"11", true, true},
    {"12", true, true}, {"13", true, true}, {"14", true, true},  {"15", true, true},
};

constexpr const char* kVariants[] = {
    "s4d[mode=convolution]",  "s4d[discretization=bilinear]", "s4d[init=real]",
    "lstm[num_layers=2]",     "lstm[hidden_size=72]",         "gru[num_layers=2]",
    "mingru[log_space=true]", "retnet[variant=paper]",        "deltanet[allow_neg_eigval=true]",
};
// The one cell that is not there: a convolution by FFT rounds otherwise than the steps do.
constexpr const char* kNotSequential = "s4d[mode=convolution]";

// RILL_LAWS_LAYERS is the list of CMakeLists.txt, which also makes the tests.
std::vector<std::string> listed_layers() {
  std::istringstream words(RILL_LAWS_LAYERS);
  std::vector<std::string> names;
  for (std::string name; words >> name;) names.push_back(name);
  return names;
}

}  // namespace

std::vector<std::string> compiled_targets() {
  if (on_device()) return {device_target()};
  // RILL_LAWS_TARGETS is CMake's RILL_CPU_TARGETS.
  if (std::string(RILL_LAWS_TARGETS) == "avx2") return {"avx2"};
  return {"avx512", "avx2", "sse4"};
}

std::vector<std::string> runnable_targets() {
  if (on_device()) return {device_target()};
  const bool sse4 = __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul") &&
                    __builtin_cpu_supports("aes");
  const bool avx2 = sse4 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd");
  std::vector<std::string> targets;
  for (const std::string& target : compiled_targets())
    if (target == "avx512" ? avx512 : target == "avx2" ? avx2 : sse4) targets.push_back(target);
  return targets;
}

std::string cell(const std::string& law, const std::string& layer, DType dtype,
                 const std::string& target) {
  return formatted("{} {} {} {} {}", law, layer, name_of(dtype), on_device() ? "cuda" : "cpu",
                   target);
}

std::set<std::string> expected_cells() {
  std::vector<std::string> names = listed_layers();
  names.insert(names.end(), std::begin(kVariants), std::end(kVariants));
  std::set<std::string> cells;
  for (const std::string& name : names)
    for (const ExpectedLaw& law : kLaws) {
      if (name == kNotSequential && std::string(law.number) == "1b") continue;
      if (law.in_double && runs_here(law.number, DType::kFloat64))
        cells.insert(
            cell(law.number, name, DType::kFloat64, on_device() ? device_target() : "plain"));
      for (const std::string& target : runnable_targets())
        if (law.in_float && runs_here(law.number, DType::kFloat32))
          cells.insert(cell(law.number, name, DType::kFloat32, target));
    }
  return cells;
}

std::vector<std::string> registry_faults() {
  std::vector<std::string> faults;
  const std::vector<std::string> listed = listed_layers();
  for (const std::string& name : listed)
    if (std::ranges::none_of(layer_types(), [&](const LayerType& t) { return t.name == name; }))
      faults.push_back(
          formatted("the registry has no layer '{}' of tests/laws/CMakeLists.txt", name));
  for (const LayerType& type : layer_types()) {
    if (std::ranges::find(listed, type.name) == listed.end())
      faults.push_back(
          formatted("tests/laws/CMakeLists.txt does not list the layer '{}'", type.name));
    // A flag takes laws away; every layer of the list owes all of them.
    const LayerFlags& flags = type.flags;
    if (!flags.stepper || !flags.chunkable || !flags.resets || !flags.sequential)
      faults.push_back(
          formatted("layer '{}' has not all flags: stepper {}, chunkable {}, resets {}, "
                    "sequential {}",
                    type.name, flags.stepper, flags.chunkable, flags.resets, flags.sequential));
  }
  return faults;
}

}  // namespace rill::laws
