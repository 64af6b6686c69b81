// A saved state: what loads, and what is refused.
#include <limits>
#include <span>
#include <string>

#include <rill/core/state.h>
#include <rill/io/safetensors.h>
#include <rill/tests/support/catch.h>

using namespace rill;

namespace {

const StateSpec kSpec{"test",
                      {{"h", {3}, DType::kFloat32, 0.0},
                       {"m", {1}, DType::kFloat32, -std::numeric_limits<double>::infinity()}}};

State load(const SafetensorsWriter& writer, const StateSpec& spec = kSpec) {
  const std::string bytes = writer.serialize();
  return State::load(SafetensorsReader::view(std::as_bytes(std::span(bytes.data(), bytes.size()))),
                     spec);
}

// The parts of a saved state of two rows, each as a caller wants it.
SafetensorsWriter saved(const char* batch, const Tensor& h, const Tensor& m) {
  SafetensorsWriter writer;
  writer.text("state.version", "1");
  writer.text("state.layer", "test");
  if (batch) writer.text("state.batch", batch);
  writer.tensor("state.h", h);
  writer.tensor("state.m", m);
  return writer;
}

void check_refused(const SafetensorsWriter& writer, const char* sentence,
                   const StateSpec& spec = kSpec) {
  std::string message = "nothing was thrown";
  try {
    load(writer, spec);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kState);
    message = error.what();
  }
  INFO(message);
  CHECK(message.find(sentence) != std::string::npos);
}

}  // namespace

TEST_CASE("a saved state loads, minus infinity as well") {
  SafetensorsWriter writer;
  State::fresh(kSpec, 2).save(writer);
  writer.tensor("model.weight", Tensor::zeros({4}, DType::kFloat32));
  const State state = load(writer);
  CHECK(state.batch() == 2);
  CHECK(state.at("m").data<float>()[1] == -std::numeric_limits<float>::infinity());
}

TEST_CASE("a state without fields keeps its batch") {
  const StateSpec empty{"test", {}};
  SafetensorsWriter writer;
  State::fresh(empty, 5).save(writer);
  CHECK(load(writer, empty).batch() == 5);
}

TEST_CASE("a state of a larger model is refused") {
  StateSpec larger = kSpec;
  larger.fields.push_back({"blocks.1.h", {3}, DType::kFloat32, 0.0});
  SafetensorsWriter writer;
  State::fresh(larger, 2).save(writer);
  check_refused(writer, "blocks.1.h");
}

TEST_CASE("a batch that contradicts the tensors is refused") {
  const Tensor h = Tensor::zeros({2, 3}, DType::kFloat32),
               m = Tensor::zeros({2, 1}, DType::kFloat32);
  CHECK(load(saved("2", h, m)).batch() == 2);
  check_refused(saved("3", h, m), "'h' is float32 [3, 3], float32 [2, 3] came");
  check_refused(saved("-2", h, m), "'-2' came");
  check_refused(saved("2x", h, m), "'2x' came");
  check_refused(saved("", h, m), "'' came");
  check_refused(saved(nullptr, h, m), "holds none");
}

TEST_CASE("a NaN in a state is refused") {
  State state = State::fresh(kSpec, 2);
  state.fields()[0].data<float>()[5] = std::numeric_limits<float>::quiet_NaN();
  SafetensorsWriter writer;
  state.save(writer);
  check_refused(writer, "'h' holds a NaN");
}

TEST_CASE("a position that no run reaches is refused") {
  const StateSpec spec{"test", {{"position", {1}, DType::kInt64, 0.0}}};
  for (const auto& [value, legal] : {std::pair{std::int64_t{1} << 40, true},
                                     {std::int64_t{-1}, false},
                                     {std::numeric_limits<std::int64_t>::max(), false}}) {
    CAPTURE(value);
    State state = State::fresh(spec, 2);
    state.fields()[0].data<std::int64_t>()[1] = value;
    SafetensorsWriter writer;
    state.save(writer);
    if (legal)
      CHECK(load(writer, spec).at("position").data<std::int64_t>()[1] == value);
    else
      check_refused(writer,
                    ("'position' holds numbers from 0 to 4611686018427387904, " +
                     std::to_string(value) + " came")
                        .c_str(),
                    spec);
  }
}
