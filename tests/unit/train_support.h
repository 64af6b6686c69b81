// Shared by the tests of training: data made in memory, and short runs on them.
#pragma once

#include <rill/core/random.h>
#include <rill/io/safetensors.h>
#include <rill/model/model.h>
#include <rill/tests/support/catch.h>
#include <rill/tests/support/compare.h>
#include <rill/tests/support/files.h>
#include <rill/train/trainer.h>

#include <string>
#include <vector>

namespace rill::train_test {

/// Rows of two noisy columns to predict the next of; row b of batch i is row i * batch + b of the
/// data, so that two batches of 2 are one of 4. With `alike`, every batch is the first.
class NoiseData final : public Dataset {
 public:
  explicit NoiseData(DType dtype = DType::kFloat32, bool alike = false, std::uint64_t seed = 1)
      : dtype_(dtype), alike_(alike), seed_(seed) {}

  void describe(ModelConfig& config) const override {
    config.task = Task::kPredictNext;
    config.input_size = config.output_size = 2;
  }
  Batch train_batch(std::uint64_t, std::int64_t index, std::int64_t batch,
                    std::int64_t length) const override {
    Batch result{.input = Tensor::empty({batch, length, 2}, dtype_),
                 .target = Tensor::empty({batch, length, 2}, dtype_)};
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t row = alike_ ? b : index * batch + b;
      result.input.rows(b, 1).copy_from(noise(row, length));
      result.target.rows(b, 1).copy_from(noise(row + 1000, length));
    }
    return result;
  }
  std::int64_t heldout_count() const override { return 1; }
  Example heldout(std::int64_t) const override {
    return {noise(-1, 8).to(dtype_), noise(-2, 8).to(dtype_)};
  }
  std::int64_t default_length() const override { return 8; }
  std::int64_t max_length() const override { return 64; }
  std::string unit() const override { return "squared error (scaled)"; }
  std::string fingerprint() const override { return "noise " + std::to_string(seed_); }

 private:
  Tensor noise(std::int64_t row, std::int64_t length) const {
    const Tensor values = Tensor::empty({1, length, 2}, DType::kFloat64);
    Generator generator(seed_, "row " + std::to_string(row));
    for (double& value : values.span<double>()) value = generator.normal();
    return values;
  }

  DType dtype_;
  bool alike_;
  std::uint64_t seed_;
};

inline ModelConfig small_config(const Dataset& data, const std::string& layer = "gru") {
  ModelConfig config = ModelConfig::for_layer(layer, 16, 1);
  data.describe(config);
  return config;
}

inline TrainOptions small_options() {
  return {.length = 8, .batch = 2, .steps = 3, .eval_every = 100};
}

/// What a run left in its folder.
inline std::string weights_of(const std::filesystem::path& run) {
  return test::read_file(run / "model.safetensors");
}

}  // namespace rill::train_test
