// IDX images (MNIST, Fashion-MNIST) as sequences of pixels, row by row. The test files are the
// held-out part; every epoch draws the training images in another order.
#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/io/idx.h>
#include <rill/train/data_kinds.h>
#include <rill/train/fingerprint.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>

namespace rill {
namespace {

class ImageData final : public Dataset {
 public:
  ImageData(const std::string& directory, const DatasetOptions& options)
      : dtype_(options.dtype),
        train_(read_idx_images(directory, "train")),
        test_(read_idx_images(directory, "t10k")) {
    check(train_.images.size(0) >= 1 && test_.images.size(0) >= 1, ErrorCode::kValue,
          "idx:{}: at least one image for training and one for testing were expected.", directory);
    check(train_.images.size(1) == test_.images.size(1) &&
              train_.images.size(2) == test_.images.size(2),
          ErrorCode::kValue, "idx:{}: training images are {}, test images {}.", directory,
          to_string(train_.images.shape()), to_string(test_.images.shape()));
    const auto labels = train_.labels.span<std::uint8_t>();
    classes_ = 1 + *std::max_element(labels.begin(), labels.end());
    if (options.trained) {
      check(options.trained->input_size == 1 && options.trained->output_size >= classes_,
            ErrorCode::kConfig,
            "idx:{}: the model reads {} columns and knows {} classes, the images have 1 and {}.",
            directory, options.trained->input_size, options.trained->output_size, classes_);
      classes_ = options.trained->output_size;
      scaling_ = options.trained->input_scaling;
    } else {
      measure();
    }
    const auto tested = test_.labels.span<std::uint8_t>();
    for (std::size_t i = 0; i < tested.size(); ++i)
      check(tested[i] < classes_, ErrorCode::kValue,
            "idx:{}: labels lie in [0, {}), that of test image {} is {}.", directory, classes_, i,
            tested[i]);
  }

  void describe(ModelConfig& config) const override {
    config.task = Task::kClassify;
    config.input_size = 1;
    config.output_size = classes_;
    config.input_scaling = scaling_;
  }

  Batch train_batch(std::uint64_t seed, std::int64_t index, std::int64_t batch,
                    std::int64_t length) const override {
    check(length == max_length(), ErrorCode::kConfig,
          "idx: images are sequences of {} pixels, a length of {} came.", max_length(), length);
    Batch result{.input = Tensor::empty({batch, length, 1}, dtype_),
                 .target = Tensor::empty({batch}, DType::kInt64)};
    const std::int64_t images = train_.images.size(0);
    std::int64_t epoch = index * batch / images;
    std::vector<std::int64_t> order = order_of(seed, epoch);
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t drawn = index * batch + b;
      if (drawn / images != epoch) order = order_of(seed, epoch = drawn / images);
      const std::int64_t image = order[static_cast<std::size_t>(drawn % images)];
      fill(train_.images, image, result.input.rows(b, 1));
      result.target.data<std::int64_t>()[b] = train_.labels.data<std::uint8_t>()[image];
    }
    return result;
  }

  std::int64_t heldout_count() const override { return test_.images.size(0); }
  Example heldout(std::int64_t i) const override {
    Example example{Tensor::empty({1, max_length(), 1}, dtype_), Tensor::empty({1}, DType::kInt64)};
    fill(test_.images, i, example.input);
    example.target.data<std::int64_t>()[0] = test_.labels.data<std::uint8_t>()[i];
    return example;
  }
  std::int64_t default_length() const override { return max_length(); }
  std::int64_t max_length() const override { return train_.images.size(1) * train_.images.size(2); }
  std::string unit() const override { return "nats a sequence"; }
  std::string fingerprint() const override {
    std::uint64_t hash = hash_of(train_.images);
    for (const Tensor* part : {&train_.labels, &test_.images, &test_.labels})
      hash = hash_of(*part, hash);
    return fingerprint_of(
        formatted("{} and {} images of {} by {} pixels", train_.images.size(0),
                  test_.images.size(0), train_.images.size(1), train_.images.size(2)),
        hash);
  }

 private:
  void measure() {
    double sum = 0, square = 0;
    const auto pixels = train_.images.span<std::uint8_t>();
    for (const std::uint8_t pixel : pixels) {
      sum += pixel;
      square += static_cast<double>(pixel) * pixel;
    }
    const double mean = sum / static_cast<double>(pixels.size());
    const double variance = square / static_cast<double>(pixels.size()) - mean * mean;
    scaling_ = {{mean}, {variance > 0 ? std::sqrt(variance) : 1.0}};
  }

  void fill(const Tensor& images, std::int64_t image, const Tensor& out) const {
    const std::int64_t pixels = max_length();
    const std::uint8_t* in = images.data<std::uint8_t>() + image * pixels;
    const double mean = scaling_.mean.empty() ? 0.0 : scaling_.mean[0];
    const double scale = scaling_.scale.empty() ? 1.0 : scaling_.scale[0];
    for (std::int64_t i = 0; i < pixels; ++i) {
      const double value = (in[i] - mean) / scale;
      if (dtype_ == DType::kFloat64)
        out.data<double>()[i] = value;
      else
        out.data<float>()[i] = static_cast<float>(value);
    }
  }

  // Fisher-Yates by a counter-based generator: the order of an epoch is a function of (seed,
  // epoch).
  std::vector<std::int64_t> order_of(std::uint64_t seed, std::int64_t epoch) const {
    const std::lock_guard lock(mutex_);
    if (order_seed_ == seed && order_epoch_ == epoch) return order_;
    order_.resize(static_cast<std::size_t>(train_.images.size(0)));
    std::iota(order_.begin(), order_.end(), 0);
    Generator generator(seed, "epoch " + std::to_string(epoch));
    for (std::size_t i = order_.size(); i > 1; --i)
      std::swap(order_[i - 1], order_[generator.below(i)]);
    order_seed_ = seed;
    order_epoch_ = epoch;
    return order_;
  }

  DType dtype_;
  IdxImages train_, test_;
  std::int64_t classes_ = 0;
  Scaling scaling_;
  mutable std::mutex mutex_;
  mutable std::vector<std::int64_t> order_;
  mutable std::uint64_t order_seed_ = 0;
  mutable std::int64_t order_epoch_ = -1;
};

}  // namespace

std::unique_ptr<Dataset> open_images(const std::string& directory, const DatasetOptions& options) {
  return std::make_unique<ImageData>(directory, options);
}

}  // namespace rill
