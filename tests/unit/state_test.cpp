// State as a value: copied, selected, gathered, saved, and refused where it does not fit.
#include <rill/core/core.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/files.h>

#include <map>

using namespace rill;
using namespace rill::test;

namespace {

// A file of states, in memory.
class Archive : public TensorWriter, public TensorReader {
 public:
  void tensor(std::string_view name, const Tensor& value) override {
    tensors[std::string(name)] = value.clone();
  }
  void text(std::string_view key, std::string_view value) override {
    texts[std::string(key)] = value;
  }
  bool has_tensor(std::string_view name) const override {
    return tensors.contains(std::string(name));
  }
  std::vector<std::string> tensor_names() const override {
    std::vector<std::string> names;
    for (const auto& [name, value] : tensors) names.push_back(name);
    return names;
  }
  Tensor tensor(std::string_view name) const override { return tensors.at(std::string(name)); }
  bool has_text(std::string_view key) const override { return texts.contains(std::string(key)); }
  std::string text(std::string_view key) const override { return texts.at(std::string(key)); }

  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> texts;
};

const StateSpec kSpec{"test", {{"h", {3}, DType::kFloat32, 0.0}, {"t", {1}, DType::kInt64, 5.0}}};

// A state of kSpec whose elements are first, first + 1, ...
State counted(std::int64_t batch, float first) {
  State state = State::fresh(kSpec, batch);
  for (float& value : state.fields()[0].span<float>()) value = first++;
  for (std::int64_t& value : state.fields()[1].span<std::int64_t>())
    value = static_cast<std::int64_t>(first++);
  return state;
}

std::vector<float> h_of(const State& state) {
  const auto span = state.at("h").span<float>();
  return {span.begin(), span.end()};
}

}  // namespace

TEST_CASE("a state is a value") {
  const StateSpec spec{"test",
                       {{"h", {3}, DType::kFloat32, 0.0}, {"m", {1}, DType::kFloat32, -1.0}}};
  State a = State::fresh(spec, 2);
  CHECK(a.at("m").data<float>()[1] == -1.0f);
  State b = a;
  a.fields()[0].data<float>()[4] = 7;
  CHECK(b.at("h").data<float>()[4] == 0);
  const std::int64_t rows[] = {1, 1, 0};
  const State picked = a.select(rows);
  CHECK(picked.batch() == 3);
  CHECK(picked.at("h").data<float>()[1] == 7);
  CHECK(spec.bytes() == 16);
  CHECK_THROWS_AS(a.at("nothing"), Error);
}

TEST_CASE("states are gathered in order, and only those of one spec") {
  const std::vector<State> states = {counted(1, 0), counted(0, 0), counted(2, 10)};
  const State all = State::gather(states);
  CHECK(all.batch() == 3);
  CHECK(h_of(all) == std::vector<float>{0, 1, 2, 10, 11, 12, 13, 14, 15});
  const auto t = all.at("t").span<std::int64_t>();
  CHECK(std::vector(t.begin(), t.end()) == std::vector<std::int64_t>{3, 16, 17});
  // Gathering and selecting undo each other; the parts are copies.
  const std::int64_t last[] = {1, 2};
  const State part = all.select(last);
  CHECK(h_of(part) == h_of(states[2]));
  all.fields()[0].data<float>()[3] = -1;
  CHECK(states[2].at("h").data<float>()[0] == 10);
  const std::int64_t outside[] = {3}, below[] = {-1};
  sentence_of(ErrorCode::kState, [&] { all.select(outside); });
  sentence_of(ErrorCode::kState, [&] { all.select(below); });
  sentence_of(ErrorCode::kState, [] { State::gather({}); });
  StateSpec other = kSpec;
  other.fields[0].shape = {4};
  const std::vector<State> mixed = {counted(1, 0), State::fresh(other, 1)};
  sentence_of(ErrorCode::kState, [&] { State::gather(mixed); });
}

TEST_CASE("a saved state is read back by its own layer and version alone") {
  const State state = counted(2, 7);
  Archive archive;
  state.save(archive);
  const State read = State::load(archive, kSpec);
  CHECK(read.batch() == 2);
  CHECK(h_of(read) == h_of(state));
  read.check_fits(kSpec, 2, "test");
  const auto refused = [&](auto change) {
    Archive changed = archive;
    StateSpec spec = kSpec;
    change(changed, spec);
    return sentence_of(ErrorCode::kState, [&] { State::load(changed, spec); });
  };
  using Catch::Matchers::Contains;
  CHECK_THAT(refused([](Archive& a, StateSpec&) { a.texts["state.version"] = "2"; }),
             Contains("version 2 came"));
  CHECK_THAT(refused([](Archive&, StateSpec& spec) { spec.layer = "gru"; }),
             Contains("'gru' was expected") && Contains("'test' came"));
  CHECK_THAT(refused([](Archive& a, StateSpec&) { a.texts.clear(); }), Contains("holds none"));
  CHECK_THAT(refused([](Archive& a, StateSpec&) { a.tensors.erase("state.t"); }),
             Contains("'t' is missing"));
  CHECK_THAT(refused([](Archive&, StateSpec& spec) { spec.fields[0].shape = {4}; }),
             Contains("'h' is float32 [2, 4]"));
  CHECK_THAT(refused([](Archive&, StateSpec& spec) { spec.fields[0].dtype = DType::kFloat64; }),
             Contains("'h' is float64"));
  refused(
      [](Archive& a, StateSpec&) { a.tensors["state.h"] = Tensor::zeros({}, DType::kFloat32); });
  // Fields of different batches.
  refused([](Archive& a, StateSpec&) {
    a.tensors["state.t"] = Tensor::zeros({3, 1}, DType::kInt64);
  });
}

TEST_CASE("a state that does not fit is refused") {
  const State state = counted(2, 7);
  const auto refused = [&](StateSpec spec, std::int64_t batch) {
    sentence_of(ErrorCode::kState, [&] { state.check_fits(spec, batch, "test"); });
  };
  refused(kSpec, 3);
  StateSpec spec = kSpec;
  spec.layer = "gru";
  refused(spec, 2);
  spec = kSpec;
  spec.fields[1].name = "u";
  refused(spec, 2);
  spec = kSpec;
  spec.fields[1].dtype = DType::kInt32;
  refused(spec, 2);
  spec = kSpec;
  spec.fields.pop_back();
  refused(spec, 2);
  sentence_of(ErrorCode::kShape, [] { State::fresh(kSpec, -1); });
}
