// Runs every law on every layer and its variants, in every precision, on every vector target of
// this processor, and prints
//   LAW number layer dtype backend target ok|FAIL error bound
// A cell that should have run and did not, or that nobody expected, fails the run. With --faults,
// each fault that is put into a layer on purpose must make every law fail that is named beside it.
#include "law.h"

#include <rill/core/format.h>

#include <algorithm>
#include <cstring>
#include <set>

namespace {

using namespace rill;
using namespace rill::laws;

constexpr const char* kUsage =
    "usage: laws [--faults|--list] [--layer NAME] [--law NUMBER] [--leave-out NUMBER] [--report "
    "FILE]\n"
    "  --layer      one layer with its variants, or one variant: s4d[mode=convolution]\n"
    "  --list       print the cells that would run, and miss those that would not\n"
    "  --leave-out  forget a law, as if it were not registered\n"
    "  --report     write the lines to a file as well\n";

struct Arguments {
  std::string layer, law, left_out, report;
  bool faults = false, list = false;

  bool wants_layer(const std::string& name) const {
    return layer.empty() || name == layer || name.starts_with(layer + "[");
  }
  bool wants_law(const std::string& number) const { return law.empty() || law == number; }
};

class Output {
 public:
  explicit Output(const std::string& path) {
    if (path.empty()) return;
    file_ = std::fopen(path.c_str(), "w");
    if (!file_) throw Error(ErrorCode::kSystem, "laws: cannot write " + path);
  }
  ~Output() {
    if (file_) std::fclose(file_);
  }
  Output(const Output&) = delete;
  Output& operator=(const Output&) = delete;

  void line(const std::string& text) {
    for (std::FILE* stream : {stdout, file_}) {
      if (!stream) continue;
      print_to(stream, "{}\n", text);
      std::fflush(stream);
    }
  }

 private:
  std::FILE* file_ = nullptr;
};

bool applies(const Law& law, const Subject& subject) {
  return runs_here(law.number, subject.dtype) &&
         (subject.dtype == DType::kFloat64 ? law.in_double : law.in_float) &&
         (!law.applies || law.applies(subject));
}

std::vector<Subject> subjects_of(const Variant& variant, const std::string& fault = {}) {
  const LayerType* type = &find_layer_type(variant.layer);
  std::vector<Subject> subjects;
  if (on_device()) {
    for (const DType dtype : {DType::kFloat32, DType::kFloat64})
      subjects.push_back({type, &variant, dtype, device_target(), fault});
    return subjects;
  }
  for (const std::string& target : available_cpu_targets())
    subjects.push_back({type, &variant, DType::kFloat32, target, fault});
  subjects.push_back({type, &variant, DType::kFloat64, "plain", fault});
  return subjects;
}

// What a law finds; `said` is what was thrown, and then nothing is found.
Finding examine(const Law& law, const Subject& subject, std::string& said) {
  if (!on_device())
    set_cpu_target(subject.target == "plain" ? available_cpu_targets().front() : subject.target);
  choose_order(law.number);
  try {
    return law.check(subject);
  } catch (const std::exception& error) {
    said = error.what();
  }
  return {};
}

// Words of the cell's name: number, layer, ...
bool wanted(const Arguments& arguments, const std::string& cell) {
  const std::size_t first = cell.find(' '), second = cell.find(' ', first + 1);
  return arguments.wants_law(cell.substr(0, first)) &&
         arguments.wants_layer(cell.substr(first + 1, second - first - 1));
}

// Lines for what is not as it should be, apart from the laws themselves.
std::vector<std::string> complaints(const Arguments& arguments, const std::set<std::string>& ran) {
  std::vector<std::string> lines;
  const std::set<std::string> expected = expected_cells();
  for (const std::string& cell : expected)
    if (wanted(arguments, cell) && !ran.contains(cell)) lines.push_back("LAW " + cell + " MISSING");
  for (const std::string& cell : ran)
    if (!expected.contains(cell)) lines.push_back("LAW " + cell + " UNEXPECTED");
  for (const std::string& fault : registry_faults()) lines.push_back("REGISTRY " + fault);
  if (!on_device() && available_cpu_targets() != runnable_targets())
    lines.push_back("TARGETS the processor's own and those that run differ");
  return lines;
}

void print_targets(Output& out) {
  const std::vector<std::string> runnable = runnable_targets();
  for (const std::string& target : compiled_targets())
    out.line(formatted("TARGET {} {}", target,
                       std::ranges::find(runnable, target) != runnable.end()
                           ? "runs"
                           : "compiled, not run: this processor has it not"));
}

int run_laws(const Arguments& arguments, Output& out) {
  int passed = 0, failed = 0;
  std::set<std::string> ran;
  print_targets(out);
  for (const Variant& variant : all_variants()) {
    if (!arguments.wants_layer(variant.name())) continue;
    for (const Subject& subject : subjects_of(variant))
      for (const Law& law : all_laws()) {
        if (!arguments.wants_law(law.number) || law.number == arguments.left_out ||
            !applies(law, subject))
          continue;
        const std::string name = cell(law.number, variant.name(), subject.dtype, subject.target);
        ran.insert(name);
        if (arguments.list) {
          out.line("CELL " + name);
          ++passed;
          continue;
        }
        std::string said;
        const Finding finding = examine(law, subject, said);
        if (!said.empty()) out.line("  threw: " + said);
        out.line(formatted("LAW {} {} {:.3g} {:.3g}", name, finding.ok() ? "ok" : "FAIL",
                           finding.error, finding.bound));
        ++(finding.ok() ? passed : failed);
      }
  }
  for (const std::string& line : complaints(arguments, ran)) {
    out.line(line);
    ++failed;
  }
  out.line(formatted("{} passed, {} failed", passed, failed));
  return failed == 0 && passed > 0 ? 0 : 1;
}

const Law* find_law(const std::string& number) {
  for (const Law& law : all_laws())
    if (law.number == number) return &law;
  return nullptr;
}

// Laws beside which no fault stands: nobody knows whether they can fail.
int run_unproven(Output& out) {
  int failed = 0;
  for (const Law& law : all_laws())
    if (std::ranges::none_of(all_faults(), [&](const Fault& fault) {
          return std::ranges::find(fault.caught_by, law.number) != fault.caught_by.end();
        })) {
      out.line(formatted("FAULT none for law {}", law.number));
      ++failed;
    }
  return failed;
}

int run_faults(const Arguments& arguments, Output& out) {
  int passed = 0, failed = run_unproven(out);
  for (const Variant& variant : all_variants()) {
    // The fault is in the wrapper: the defaults of every layer are enough.
    if (!variant.suffix.empty() || !arguments.wants_layer(variant.name())) continue;
    for (const Fault& fault : all_faults()) {
      for (const Subject& subject : subjects_of(variant, fault.name)) {
        std::string noticed, missed;
        for (const std::string& number : fault.caught_by) {
          const Law* law = find_law(number);
          if (!law) {
            missed += " " + number + " (no such law)";
            continue;
          }
          if (!arguments.wants_law(number) || !applies(*law, subject)) continue;
          std::string said;
          const bool ok = examine(*law, subject, said).ok();
          if (!said.empty())
            missed += " " + number + " (threw: " + said + ")";
          else
            (ok ? missed : noticed) += " " + number;
        }
        if (noticed.empty() && missed.empty()) continue;  // a fault of the other precision
        out.line(formatted("FAULT {} {} {} {}{}{}{}{}", fault.name, variant.name(),
                           name_of(subject.dtype), subject.target,
                           noticed.empty() ? "" : " noticed by law", noticed,
                           missed.empty() ? "" : " NOT NOTICED by law", missed));
        ++(missed.empty() ? passed : failed);
      }
    }
  }
  out.line(formatted("{} passed, {} failed", passed, failed));
  return failed == 0 && passed > 0 ? 0 : 1;
}

bool parse(int argc, char** argv, Arguments& arguments) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--faults" || word == "--list") {
      (word == "--faults" ? arguments.faults : arguments.list) = true;
      continue;
    }
    std::string* value = word == "--layer"       ? &arguments.layer
                         : word == "--law"       ? &arguments.law
                         : word == "--leave-out" ? &arguments.left_out
                         : word == "--report"    ? &arguments.report
                                                 : nullptr;
    if (!value || i + 1 >= argc) return false;
    *value = argv[++i];
  }
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments arguments;
  if (!parse(argc, argv, arguments)) {
    print_to(stderr, "{}", kUsage);
    return 2;
  }
  try {
    if (const int status = prepare(arguments.layer.empty() && arguments.law.empty())) return status;
    Output out(arguments.report);
    return arguments.faults ? run_faults(arguments, out) : run_laws(arguments, out);
  } catch (const std::exception& error) {
    print_to(stderr, "{}\n", error.what());
    return 1;
  }
}
