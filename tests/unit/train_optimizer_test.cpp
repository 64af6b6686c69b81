// AdamW against its published recurrence (tests/golden/adamw/make_golden.py), its groups, the norm
// and clipping of gradients, the learning rate over a run, and batches that are accumulated.
#include "train_support.h"

#include <rill/core/core.h>
#include <rill/train/schedule.h>

#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

using namespace rill;
using namespace rill::test;
using namespace rill::train_test;

namespace {

std::map<std::string, std::vector<double>> golden() {
  std::ifstream file(RILL_SOURCE_DIR "/tests/golden/adamw/adamw.txt");
  REQUIRE(file.good());
  std::map<std::string, std::vector<double>> values;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name, colon;
    words >> name >> colon;
    for (double value = 0; words >> value;) values[name].push_back(value);
  }
  return values;
}

// Parameters with names and groups, and a tape that holds gradients of our choice.
struct Bench {
  explicit Bench(DType dtype, int threads = 1) : exec({.dtype = dtype, .threads = threads}) {}

  const Tensor& add(const std::string& name, const std::vector<double>& values,
                    ParameterGroup group) {
    const Tensor value =
        Tensor::from(values, {static_cast<std::int64_t>(values.size())}).to(exec.dtype()).clone();
    value.set_requires_grad(true);
    parameters.push_back({name, value, group});
    return parameters.back().value;
  }
  AdamW optimizer(const AdamWOptions& options) {
    return AdamW(
        [this](const ParameterVisitor& visitor) {
          for (const auto& p : parameters) visitor(p.name, p.value, p.group);
        },
        options);
  }
  void gradient(const Tensor& of, const std::vector<double>& values) {
    tape.gradients().add(exec, of, Tensor::from(values, of.shape()).to(exec.dtype()).clone());
  }

  struct Parameter {
    std::string name;
    Tensor value;
    ParameterGroup group;
  };
  Exec exec;
  Tape tape;
  std::vector<Parameter> parameters;
};

double element(const Tensor& tensor, std::int64_t i) {
  return tensor.to(DType::kFloat64).data<double>()[i];
}

}  // namespace

TEST_CASE("adamw: values of the published recurrence, group by group") {
  auto expected = golden();
  const auto& o = expected.at("options");
  const AdamWOptions options{.lr = o[0],
                             .ssm_lr_ratio = 0.5,
                             .beta1 = o[1],
                             .beta2 = o[2],
                             .eps = o[3],
                             .weight_decay = o[4]};
  for (const DType dtype : {DType::kFloat64, DType::kFloat32}) {
    CAPTURE(name_of(dtype));
    Bench bench(dtype);
    bench.add("weight", expected.at("weight.0"), ParameterGroup::kDecay);
    bench.add("bias", expected.at("bias.0"), ParameterGroup::kNoDecay);
    bench.add("A_log", expected.at("A_log.0"), ParameterGroup::kStateSpace);
    AdamW adam = bench.optimizer(options);
    const auto& scales = expected.at("scales");
    for (std::size_t k = 0; k < scales.size(); ++k) {
      const std::string step = std::to_string(k + 1);
      // Once in other units, scaled back as clipping does: powers of two change no digit.
      const double units = k == 2 ? 8 : 1;
      for (const auto& p : bench.parameters) {
        std::vector<double> gradient = expected.at(p.name + ".g" + step);
        for (double& value : gradient) value *= units;
        bench.gradient(p.value, gradient);
      }
      adam.step(bench.exec, bench.tape, scales[k], 1 / units);
      bench.tape.clear();
      for (const auto& p : bench.parameters) {
        CAPTURE(p.name, step);
        const auto& values = expected.at(p.name + "." + step);
        const Tensor reference = Tensor::from(values, p.value.shape());
        // A step has some ten roundings, each at most half an epsilon of the values here.
        CHECK(error_of(p.value, reference) < 16 * epsilon_of(dtype));
      }
    }
    CHECK(adam.steps() == static_cast<std::int64_t>(scales.size()));
  }
}

TEST_CASE("adamw: a parameter without a gradient keeps its value and moments") {
  Bench bench(DType::kFloat64);
  const Tensor with = bench.add("with", {1.0}, ParameterGroup::kDecay);
  const Tensor without = bench.add("without", {2.0}, ParameterGroup::kDecay);
  AdamW adam = bench.optimizer({});
  bench.gradient(with, {0.5});
  adam.step(bench.exec, bench.tape, 1.0, 1.0);
  CHECK(element(with, 0) != 1.0);
  CHECK(element(without, 0) == 2.0);
  SafetensorsWriter writer;
  adam.save(writer);
  const std::string bytes = writer.serialize();
  const auto reader = SafetensorsReader::view(bytes_of(bytes));
  CHECK(element(reader.tensor("adam.m.without"), 0) == 0.0);
  CHECK(element(reader.tensor("adam.v.with"), 0) == Approx(0.05 * 0.25));  // (1 - beta2) g^2
}

TEST_CASE("adamw: saved and loaded it goes on with the same bits; what is damaged is named") {
  const auto run = [](bool through_file) {
    Bench bench(DType::kFloat32);
    const Tensor value = bench.add("w", {1.0, -2.0}, ParameterGroup::kDecay);
    AdamW first = bench.optimizer({}), second = bench.optimizer({});
    bench.gradient(value, {0.3, -0.7});
    first.step(bench.exec, bench.tape, 1.0, 1.0);
    if (through_file) {
      SafetensorsWriter writer;
      first.save(writer);
      const std::string bytes = writer.serialize();
      second.load(SafetensorsReader::view(bytes_of(bytes)));
    }
    (through_file ? second : first).step(bench.exec, bench.tape, 0.5, 1.0);
    return value.clone();
  };
  CHECK(same_bits(run(true), run(false)));
  Bench bench(DType::kFloat32);
  bench.add("w", {1.0}, ParameterGroup::kDecay);
  AdamW adam = bench.optimizer({});
  for (const char* steps : {"", "many", "3.5", "-1", "99999999999999999999"}) {
    CAPTURE(steps);
    SafetensorsWriter writer;
    writer.tensor("adam.m.w", Tensor::zeros({1}, DType::kFloat32));
    writer.tensor("adam.v.w", Tensor::zeros({1}, DType::kFloat32));
    writer.text("adam.steps", steps);
    const std::string bytes = writer.serialize();
    CHECK(sentence_of(ErrorCode::kFile, [&] {
            adam.load(SafetensorsReader::view(bytes_of(bytes)));
          }).find("adam.steps") != std::string::npos);
  }
}

TEST_CASE("adamw and the norm: any number of threads gives the same bits") {
  // Tiles, and a last one that is not whole.
  std::vector<double> values(100003), gradients(100003);
  Generator generator(3);
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = generator.normal();
    gradients[i] = generator.normal();
  }
  for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
    Tensor first;
    double first_norm = 0;
    for (const int threads : {1, 2, 3}) {
      Bench bench(dtype, threads);
      const Tensor value = bench.add("w", values, ParameterGroup::kDecay);
      const Tensor small = bench.add("b", {1.0}, ParameterGroup::kNoDecay);
      AdamW adam = bench.optimizer({});
      bench.gradient(value, gradients);
      bench.gradient(small, {3.0});
      const double norm = adam.gradient_norm(bench.exec, bench.tape);
      adam.step(bench.exec, bench.tape, 1.0, 1.0);
      if (threads == 1) {
        first = value;
        first_norm = norm;
      }
      CHECK(norm == first_norm);
      CHECK(same_bits(value, first));
    }
    long double exact = 9;
    for (const double g : gradients) {
      const double read = dtype == DType::kFloat32 ? static_cast<float>(g) : g;
      exact += static_cast<long double>(read) * read;
    }
    // Seven tiles of sums in double: far below this.
    CHECK(first_norm == Approx(static_cast<double>(std::sqrt(exact))).epsilon(1e-13));
  }
}

TEST_CASE("adamw: no gradients, no norm; another dtype is refused") {
  Bench bench(DType::kFloat64);
  const Tensor value = bench.add("w", {1.0}, ParameterGroup::kDecay);
  AdamW adam = bench.optimizer({});
  CHECK(adam.gradient_norm(bench.exec, bench.tape) == 0.0);
  bench.gradient(value, {4.0});
  CHECK(adam.gradient_norm(bench.exec, bench.tape) == 4.0);
  Exec other({.threads = 1});
  sentence_of(ErrorCode::kDType, [&] { adam.gradient_norm(other, bench.tape); });
  sentence_of(ErrorCode::kDType, [&] { adam.step(other, bench.tape, 1.0, 1.0); });
}

TEST_CASE(
    "learning rate: a linear warm-up, a cosine down to the last rate, never beyond the peak") {
  CHECK(rate_at(0.05, 0.1, 0.02) == Approx(0.5));
  CHECK(rate_at(0.1, 0.1, 0.02) == Approx(1.0));
  CHECK(rate_at(0.55, 0.1, 0.02) == Approx(0.51));  // half of the way down: (1 + 0.02) / 2
  CHECK(rate_at(0.325, 0.1, 0.0) == Approx((1 + std::sqrt(0.5)) / 2));
  CHECK(rate_at(1.0, 0.1, 0.02) == Approx(0.02));
  CHECK(rate_at(0.0, 0.0, 0.02) == Approx(1.0));
  CHECK(rate_at(0.5, 1.0, 0.02) == Approx(0.5));
  CHECK(rate_at(1.0, 1.0, 0.02) == Approx(1.0));
  for (const double warmup : {0.0, 1e-6, 1e-4, 9e-4, 1e-3, 0.05, 1.0})
    for (const double part : {0.0, 1e-7, 1e-5, 5e-4, 1e-3, 0.3, 1.0}) {
      CAPTURE(warmup, part);
      CHECK(rate_at(part, warmup, 0.02) > 0.0);
      CHECK(rate_at(part, warmup, 0.02) <= 1.0);
    }
}

TEST_CASE("train: the log's learning rates are those of the schedule") {
  const NoiseData data;
  TemporaryFolder folder;
  TrainOptions options = small_options();
  options.steps = 10;
  options.warmup = 0.2;
  std::vector<double> rates;
  const TrainHooks hooks{.record = [&](const TrainRecord& record) {
    if (record.split == "train") rates.push_back(record.lr / options.adam.lr);
  }};
  Exec exec({.threads = 1});
  train(exec, small_config(data), data, options, (folder / "run").string(), false, hooks);
  REQUIRE(rates.size() == 10);
  CHECK(rates[0] == Approx(0.5));
  CHECK(rates[1] == Approx(1.0));
  CHECK(rates[5] == Approx(0.51));
  CHECK(rates[9] == Approx(0.02));
}

TEST_CASE("train: accumulated batches are one larger batch") {
  const NoiseData data(DType::kFloat64);
  TemporaryFolder folder;
  std::vector<double> losses;
  const TrainHooks hooks{.record = [&](const TrainRecord& record) {
    losses.push_back(record.loss);
    if (record.split == "train") losses.push_back(record.grad_norm);
  }};
  for (const std::int64_t batches : {1, 2, 4}) {
    TrainOptions options = small_options();
    options.batch = 4 / batches;
    options.accumulate = batches;
    Exec exec({.dtype = DType::kFloat64, .threads = 1});
    train(exec, small_config(data), data, options, (folder / std::to_string(batches)).string(),
          false, hooks);
  }
  REQUIRE(losses.size() == 3 * 7);
  for (std::size_t i = 0; i < 7; ++i) {
    // Sums in another order, in double, over three steps.
    CHECK(losses[7 + i] == Approx(losses[i]).epsilon(1e-10));
    CHECK(losses[14 + i] == Approx(losses[i]).epsilon(1e-10));
  }
}

TEST_CASE("train: a gradient that is too long is cut to the norm asked for") {
  // AdamW's steps hardly see the scale of a gradient; its first moments do.
  const NoiseData data(DType::kFloat64);
  TemporaryFolder folder;
  const auto run = [&](double clip) {
    TrainOptions options = small_options();
    options.steps = 1;
    options.clip = clip;
    const std::string out = (folder / std::to_string(clip)).string();
    double norm = 0;
    const TrainHooks hooks{.record = [&](const TrainRecord& record) {
      if (record.split == "train") norm = record.grad_norm;
    }};
    Exec exec({.dtype = DType::kFloat64, .threads = 1});
    train(exec, small_config(data), data, options, out, false, hooks);
    const auto checkpoint = SafetensorsReader::open(out + "/checkpoints/step-1.safetensors");
    double moments = 0;
    for (const SafetensorsInfo& info : checkpoint.infos())
      if (info.name.starts_with("adam.m."))
        for (const double m : checkpoint.tensor(info.name).to(DType::kFloat64).span<double>())
          moments += m * m;
    // After one step m = (1 - beta1) g.
    return std::pair{norm, std::sqrt(moments) / (1 - options.adam.beta1)};
  };
  const auto [norm, unclipped] = run(0);
  REQUIRE(norm > 0.1);
  CHECK(unclipped == Approx(norm).epsilon(1e-10));
  const auto [same, clipped] = run(norm / 10);
  CHECK(same == norm);  // the log tells it before it is cut
  CHECK(clipped == Approx(norm / 10).epsilon(1e-10));
  const auto [again, untouched] = run(norm * 10);
  CHECK(untouched == unclipped);
  CHECK(again == norm);
}
