// Any bytes are a checkpoint, or an Error; and so are they once more with a hash that fits, since
// behind it lies what a run takes from the file. What was taken can be written and taken again.
#include <rill/core/error.h>
#include <rill/core/exec.h>
#include <rill/tests/fuzz/checkpoint_model.h>
#include <rill/train/run_checkpoint.h>
#include <rill/train/saved_number.h>

#include <cstdlib>
#include <string>

namespace {

using namespace rill;

SafetensorsReader view(const std::string& bytes) {
  return SafetensorsReader::view(std::as_bytes(std::span(bytes)), "fuzz");
}

std::string with_fitting_hash(const SafetensorsReader& reader) {
  CheckpointWriter writer;
  for (const SafetensorsInfo& info : reader.infos())
    writer.tensor(info.name, reader.tensor(info.name));
  for (const auto& [key, value] : reader.metadata())
    if (key != "rill.hash") writer.text(key, value);
  return writer.serialize();
}

// A run that every input loads into.
struct Run {
  Exec exec{{.threads = 1}};
  Model model{checkpoint_model()};
  AdamW adam{[this](const ParameterVisitor& visitor) { model.visit_parameters(visitor); }, {}};
  State state = model.initial_state(exec, 1);

  RunPosition load(const SafetensorsReader& reader) { return load_run(reader, model, adam, state); }
  std::string save(const RunPosition& position) const {
    CheckpointWriter writer;
    save_position(position, writer);
    model.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      writer.tensor("model." + name, value);
    });
    adam.save(writer);
    state.save(writer);
    return writer.serialize();
  }
};

template <class F>
void try_it(const F& f) {
  try {
    f();
  } catch (const Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Run run;
  std::string whole;
  RunPosition position;
  try_it([&] {
    const auto raw = SafetensorsReader::view(std::as_bytes(std::span(data, size)), "fuzz");
    try_it([&] { check_checkpoint(raw, 2, "fuzz"); });
    whole = with_fitting_hash(raw);
  });
  if (whole.empty()) return 0;
  const SafetensorsReader reader = view(whole);
  try_it([&] { saved_run_in(reader); });
  try {
    check_checkpoint(reader, number_from(reader, "rill.step", kMostSteps), "fuzz");
    position = run.load(reader);
  } catch (const Error&) {
    return 0;
  }
  // Outside of the try: what Rill wrote, Rill reads.
  const std::string written = run.save(position);
  const SafetensorsReader again = view(written);
  check_checkpoint(again, position.step, "fuzz");
  if (run.save(run.load(again)) != written) std::abort();
  return 0;
}
