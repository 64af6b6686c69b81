// Runs every law on every layer, in every precision, on every vector target of this processor, and
// prints
//   LAW number layer dtype backend target ok|FAIL error bound
// A cell that the law applies to and that did not run fails the run. With --faults, each fault that
// is put into a layer on purpose must make a law fail.
#include "law.h"

#include <rill/core/format.h>

#include <cstring>
#include <set>

namespace {

using namespace rill;
using namespace rill::laws;

bool applies(const Law& law, const LayerType& type) { return !law.applies || law.applies(type); }

std::vector<Subject> subjects_of(const LayerType& type) {
  std::vector<Subject> subjects;
  for (const std::string& target : available_cpu_targets())
    subjects.push_back({&type, DType::kFloat32, target, {}});
  subjects.push_back({&type, DType::kFloat64, "plain", {}});
  return subjects;
}

Finding examine(const Law& law, const Subject& subject) {
  set_cpu_target(subject.target == "plain" ? available_cpu_targets().front() : subject.target);
  Finding finding;
  try {
    finding = law.check(subject);
  } catch (const std::exception& error) {
    print_to(stdout, "  {} on {}: {}\n", law.number, subject.type->name, error.what());
    finding.add(false);
  }
  return finding;
}

std::string cell(const Law& law, const Subject& subject) {
  return formatted("{} {} {} cpu {}", law.number, subject.type->name, name_of(subject.dtype),
                   subject.target);
}

struct Filter {
  std::string layer, law;
};

int run_laws(const Filter& filter) {
  int passed = 0, failed = 0;
  std::set<std::string> ran;
  for (const LayerType& type : layer_types()) {
    if (!filter.layer.empty() && filter.layer != type.name) continue;
    for (const Subject& subject : subjects_of(type))
      for (const Law& law : all_laws()) {
        if (!filter.law.empty() && filter.law != law.number) continue;
        if (!applies(law, type) ||
            !(subject.dtype == DType::kFloat64 ? law.in_double : law.in_float))
          continue;
        const Finding finding = examine(law, subject);
        print_to(stdout, "LAW {} {} {:.3g} {:.3g}\n", cell(law, subject),
                 finding.ok() ? "ok" : "FAIL", finding.error, finding.bound);
        std::fflush(stdout);
        ran.insert(cell(law, subject));
        ++(finding.ok() ? passed : failed);
      }
  }
  if (filter.law.empty())
    for (const LayerType& type : layer_types())
      for (const Subject& subject : subjects_of(type))
        for (const Law& law : all_laws()) {
          const bool wanted = filter.layer.empty() || filter.layer == type.name;
          const bool in_dtype = subject.dtype == DType::kFloat64 ? law.in_double : law.in_float;
          if (!wanted || !in_dtype || !applies(law, type) || ran.contains(cell(law, subject)))
            continue;
          print_to(stdout, "LAW {} MISSING\n", cell(law, subject));
          ++failed;
        }
  print_to(stdout, "{} passed, {} failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

int run_faults(const Filter& filter) {
  int passed = 0, failed = 0;
  for (const LayerType& type : layer_types()) {
    if (!filter.layer.empty() && filter.layer != type.name) continue;
    for (const Fault& fault : all_faults()) {
      const Subject subject{&type, DType::kFloat64, "plain", fault.name};
      std::string noticed;
      for (const Law& law : all_laws())
        if (noticed.empty() && applies(law, type) && law.in_double &&
            std::ranges::find(fault.caught_by, law.number) != fault.caught_by.end() &&
            !examine(law, subject).ok())
          noticed = law.number;
      print_to(stdout, "FAULT {} {} {}\n", fault.name, type.name,
               noticed.empty() ? "NOT NOTICED" : "noticed by law " + noticed);
      ++(noticed.empty() ? failed : passed);
    }
  }
  print_to(stdout, "{} passed, {} failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Filter filter;
  bool faults = false;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--faults") == 0) {
      faults = true;
    } else if (std::strcmp(argv[i], "--layer") == 0 && i + 1 < argc) {
      filter.layer = argv[++i];
    } else if (std::strcmp(argv[i], "--law") == 0 && i + 1 < argc) {
      filter.law = argv[++i];
    } else {
      print_to(stderr, "usage: laws [--faults] [--layer NAME] [--law NUMBER]\n");
      return 2;
    }
  }
  return faults ? run_faults(filter) : run_laws(filter);
}
