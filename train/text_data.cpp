// Bytes of a text file. The last 5 % are held out. Training walks B streams, spread evenly over the
// rest, side by side, so that states carry over from batch to batch; when the streams have met
// their neighbours, a lap ends and the next one starts elsewhere with fresh states.
#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/io/text_file.h>
#include <rill/train/data_kinds.h>
#include <rill/train/fingerprint.h>

namespace rill {
namespace {

class TextData final : public Dataset {
 public:
  explicit TextData(const std::string& file) : bytes_(read_bytes_file(file)) {
    check(bytes_.numel() >= 64, ErrorCode::kValue,
          "text:{}: at least 64 bytes were expected, {} came.", file, bytes_.numel());
    train_ = bytes_.numel() - std::max<std::int64_t>(bytes_.numel() / 20, 2);
  }

  void describe(ModelConfig& config) const override {
    config.task = Task::kLanguageModel;
    config.vocab_size = 256;
  }

  Batch train_batch(std::uint64_t seed, std::int64_t index, std::int64_t batch,
                    std::int64_t length) const override {
    const std::int64_t stream = std::max<std::int64_t>(1, train_ / batch);
    const std::int64_t lap_batches = std::max<std::int64_t>(1, stream / length);
    const std::int64_t lap = index / lap_batches;
    Generator generator(seed, "lap " + std::to_string(lap));
    const auto shift =
        static_cast<std::int64_t>(generator.below(static_cast<std::uint64_t>(train_)));
    Batch result{.input = Tensor::empty({batch, length}, DType::kUInt8),
                 .target = Tensor::empty({batch * length}, DType::kInt64),
                 .continues = index % lap_batches != 0};
    const std::uint8_t* text = bytes_.data<std::uint8_t>();
    std::uint8_t* input = result.input.data<std::uint8_t>();
    std::int64_t* target = result.target.data<std::int64_t>();
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t start = shift + b * stream + index % lap_batches * length;
      for (std::int64_t t = 0; t < length; ++t) {
        input[b * length + t] = text[(start + t) % train_];
        target[b * length + t] = text[(start + t + 1) % train_];
      }
    }
    return result;
  }

  std::int64_t heldout_count() const override { return 1; }
  Example heldout(std::int64_t) const override {
    const std::int64_t length = bytes_.numel() - train_ - 1;
    Example example{Tensor::empty({1, length}, DType::kUInt8),
                    Tensor::empty({length}, DType::kInt64)};
    for (std::int64_t t = 0; t < length; ++t) {
      example.input.data<std::uint8_t>()[t] = bytes_.data<std::uint8_t>()[train_ + t];
      example.target.data<std::int64_t>()[t] = bytes_.data<std::uint8_t>()[train_ + t + 1];
    }
    return example;
  }
  std::int64_t default_length() const override { return std::min<std::int64_t>(256, max_length()); }
  std::int64_t max_length() const override { return train_ - 1; }
  std::string unit() const override { return "nats a byte"; }
  std::string fingerprint() const override {
    return fingerprint_of(formatted("text of {} bytes", bytes_.numel()), hash_of(bytes_));
  }

 private:
  Tensor bytes_;
  std::int64_t train_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> open_text(const std::string& file) {
  return std::make_unique<TextData>(file);
}

}  // namespace rill
