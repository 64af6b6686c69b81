// RetNet, GLA, DeltaNet and mLSTM against their authors' own modules in PyTorch
// (tests/golden/{retnet,gla,deltanet,mlstm}/make_golden.py): outputs, final states, all gradients.
#include <functional>
#include <memory>

#include "matrix_state_support.h"

#include <rill/io/safetensors.h>
#include <rill/rnn/rnn.h>
#include <rill/tests/support/catch.h>

using namespace rill;
using namespace rill::matrix_test;

namespace {

struct Golden {
  const char* file;
  std::function<std::unique_ptr<SequenceLayer>(DType)> make;
};

const std::vector<Golden>& goldens() {
  static const std::vector<Golden> all = {
      {"retnet/fla",
       [](DType dtype) {
         return std::make_unique<RetNet>(RetNetConfig{.width = 16, .num_heads = 2}, dtype, 0);
       }},
      {"retnet/paper",
       [](DType dtype) {
         return std::make_unique<RetNet>(RetNetConfig{.width = 16, .num_heads = 2, .paper = true},
                                         dtype, 0);
       }},
      {"gla/gla",
       [](DType dtype) {
         return std::make_unique<Gla>(GlaConfig{.width = 16, .num_heads = 2}, dtype, 0);
       }},
      {"deltanet/deltanet",
       [](DType dtype) {
         return std::make_unique<DeltaNet>(DeltaNetConfig{.width = 16, .num_heads = 2}, dtype, 0);
       }},
      {"deltanet/negative",
       [](DType dtype) {
         return std::make_unique<DeltaNet>(
             DeltaNetConfig{.width = 16, .num_heads = 2, .allow_neg_eigval = true}, dtype, 0);
       }},
      {"mlstm/mlstm",
       [](DType dtype) { return std::make_unique<Mlstm>(MlstmConfig{.width = 16}, dtype, 0); }}};
  return all;
}

// Outputs, states and gradients of the layer with the file's parameters, against the file's.
void compare(const Golden& golden, DType dtype, double bound) {
  INFO(golden.file << " " << name_of(dtype) << " " << cpu_target());
  const auto file = SafetensorsReader::open(std::string(RILL_SOURCE_DIR "/tests/golden/") +
                                            golden.file + ".safetensors");
  const auto layer = golden.make(dtype);
  layer->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    value.copy_from(file.tensor("p." + name));
  });
  const Tensor x = file.tensor("x").to(dtype).clone();
  Exec exec({.dtype = dtype, .threads = 2});
  Tape tape;
  tape.watch(x);
  State state = layer->initial_state(exec, x.size(0));
  Tensor y;
  {
    const TapeScope scope(exec, &tape);
    y = layer->forward(exec, x, state);
  }
  CHECK(error(y, file.tensor("y")) < bound);
  for (std::size_t f = 0; f < state.fields().size(); ++f) {
    const std::string name = "s." + state.spec().fields[f].name;
    if (!file.has_tensor(name)) continue;
    INFO(name);
    CHECK(error(state.fields()[f], file.tensor(name)) < bound);
  }
  backward(exec, tape, {{y, file.tensor("dy").to(dtype)}});
  CHECK(error(tape.gradient(x), file.tensor("dx")) < 10 * bound);  // two passes' roundings
  layer->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
    INFO(name);
    CHECK(error(tape.gradient(value), file.tensor("d." + name)) < 10 * bound);  // as above
  });
}

}  // namespace

TEST_CASE("layers with matrix states equal their authors' modules") {
  const std::string before = cpu_target();
  for (const Golden& golden : goldens()) {
    compare(golden, DType::kFloat64, 1e-12);  // two double programs, summing in their own orders
    for (const std::string& target : available_cpu_targets()) {
      set_cpu_target(target);
      compare(golden, DType::kFloat32, 2e-5);  // norms of small heads magnify float's rounding
    }
    set_cpu_target(before);
  }
}
