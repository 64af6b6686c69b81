// LSTM and GRU against PyTorch's own results (tests/golden/lstm_gru/make_golden.py).
#include "rnn_support.h"

#include <rill/io/safetensors.h>

using namespace rill;
using namespace rill::rnn_test;

namespace {

struct Case {
  const char* file;
  Kind kind;
};

const Case kCases[] = {
    {"lstm", {"", true, 3, 5, 1, 0, true}},
    {"lstm_2_layers", {"", true, 4, 18, 2, 0, true}},
    {"lstm_projection", {"", true, 3, 7, 2, 4, true}},
    {"lstm_lengths", {"", true, 3, 5, 2, 0, true}},
    {"lstm_no_bias", {"", true, 1, 1, 1, 0, false}},
    {"gru", {"", false, 3, 5, 1, 0, true}},
    {"gru_2_layers", {"", false, 4, 18, 2, 0, true}},
    {"gru_lengths", {"", false, 3, 5, 2, 0, true}},
    {"gru_no_bias", {"", false, 1, 1, 1, 0, false}},
};

// "h_l0" is "h.0" in the file, its initial value "h0.0".
std::string in_file(const std::string& field, const char* letter_suffix) {
  return field.substr(0, 1) + letter_suffix + "." + field.substr(3);
}

std::string derivative(const std::string& name) { return std::string("d").append(name); }

class Run {
 public:
  Run(const Case& test, DType dtype)
      : file_(SafetensorsReader::open(std::string(RILL_SOURCE_DIR "/tests/golden/lstm_gru/") +
                                      test.file + ".safetensors")),
        layer_(make_layer(test.kind, dtype)),
        exec_({.dtype = dtype, .threads = 1}) {
    layer_->visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      value.copy_from(file_.tensor(std::string("p.").append(name)));
    });
    if (file_.has_tensor("lengths"))
      for (const std::int64_t length : file_.tensor("lengths").span<std::int64_t>())
        segments_.lengths.push_back(length);
    x_ = value("x");
    state_ = State::fresh(layer_->state_spec(), x_.size(0));
    for (std::size_t f = 0; f < state_.fields().size(); ++f)
      state_.fields()[f].copy_from(value(in_file(name(f), "0")));
  }

  Tensor value(const std::string& name) const { return file_.tensor(name).to(layer_->dtype()); }
  const std::string& name(std::size_t f) const { return state_.spec().fields[f].name; }
  const SequenceLayer& layer() const { return *layer_; }
  State& state() { return state_; }
  const Tensor& x() const { return x_; }
  Exec& exec() { return exec_; }
  Tensor forward() { return layer_->forward(exec_, x_, state_, &segments_); }

 private:
  SafetensorsReader file_;
  std::unique_ptr<SequenceLayer> layer_;
  Exec exec_;
  Segments segments_;
  Tensor x_;
  State state_;
};

}  // namespace

TEST_CASE("lstm and gru give PyTorch's outputs and final states") {
  for (const Case& test : kCases) {
    INFO(test.file);
    Run run(test, DType::kFloat64);
    CHECK(error_of(run.forward(), run.value("y")) <=
          1e-12);  // two double programs, summing in their own orders
    for (std::size_t f = 0; f < run.state().fields().size(); ++f)
      CHECK(error_of(run.state().fields()[f], run.value(in_file(run.name(f), ""))) <= 1e-12);
    on_each_target([&] {
      Run single(test, DType::kFloat32);
      // Twice PyTorch's own float error, and 8 roundings where that happens to be lucky.
      const double bound = 2 * error_of(run.value("y32"), run.value("y")) + 8 * 1.1920929e-7;
      CHECK(error_of(single.forward(), run.value("y")) <= bound);
    });
  }
}

TEST_CASE("lstm and gru give PyTorch's gradients") {
  for (const Case& test : kCases) {
    INFO(test.file);
    Run run(test, DType::kFloat64);
    Tape tape;
    const TapeScope scope(run.exec(), &tape);
    std::vector<Tensor> initial(run.state().fields().begin(), run.state().fields().end());
    tape.watch(run.x());
    for (const Tensor& field : initial) tape.watch(field);
    std::vector<std::pair<Tensor, Tensor>> seeds;
    seeds.emplace_back(run.forward(), run.value("dy"));
    for (std::size_t f = 0; f < initial.size(); ++f)
      seeds.emplace_back(run.state().fields()[f], run.value(derivative(in_file(run.name(f), ""))));
    backward(run.exec(), tape, std::move(seeds));
    CHECK(error_of(tape.gradient(run.x()), run.value("dx")) <= 1e-12);  // as above
    for (std::size_t f = 0; f < initial.size(); ++f)
      CHECK(error_of(tape.gradient(initial[f]), run.value(derivative(in_file(run.name(f), "0")))) <=
            1e-12);
    run.layer().visit_parameters([&](const std::string& name, const Tensor& parameter,
                                     ParameterGroup) {
      INFO(name);
      CHECK(error_of(tape.gradient(parameter), run.value(std::string("g.").append(name))) <= 1e-12);
    });
  }
}
