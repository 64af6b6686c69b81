// Rows of numbers (CSV, npy) as a series. The last 10 % of the rows are held out. Training reads
// windows at random places, each from a fresh state. Columns are scaled to mean 0 and deviation 1
// of the training rows; a constant column by 1.
#include <rill/core/check.h>
#include <rill/core/random.h>
#include <rill/io/csv.h>
#include <rill/io/npy.h>
#include <rill/train/data_kinds.h>
#include <rill/train/fingerprint.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

namespace rill {
namespace {

Scaling measure(const Tensor& rows, std::int64_t count, const std::vector<std::int64_t>& columns) {
  const std::int64_t width = rows.size(1);
  const double* values = rows.data<double>();
  Scaling scaling;
  for (const std::int64_t column : columns) {
    double mean = 0, square = 0;
    for (std::int64_t t = 0; t < count; ++t)
      mean += values[t * width + column] / static_cast<double>(count);
    for (std::int64_t t = 0; t < count; ++t) {
      const double difference = values[t * width + column] - mean;
      square += difference * difference / static_cast<double>(count);
    }
    scaling.mean.push_back(mean);
    scaling.scale.push_back(square > 0 ? std::sqrt(square) : 1.0);
  }
  return scaling;
}

class SeriesData final : public Dataset {
 public:
  SeriesData(const Tensor& rows, const std::vector<std::string>& names,
             const DatasetOptions& options)
      : dtype_(options.dtype), task_(options.task_given ? options.task : Task::kPredictNext) {
    check(rows.size(0) >= 8, ErrorCode::kValue, "Series: at least 8 rows were expected, {} came.",
          rows.size(0));
    for (const double value : rows.span<double>())
      check(std::isfinite(value), ErrorCode::kValue,
            "Series: finite numbers were expected, {} came.", value);
    choose_columns(rows.size(1), names, options);
    fingerprint_ = fingerprint_of(
        formatted("series of {} rows and {} columns", rows.size(0), rows.size(1)), hash_of(rows));
    train_ = rows.size(0) - std::max<std::int64_t>(rows.size(0) / 10, 2);
    input_scaling_ = measure(rows, train_, inputs_);
    output_scaling_ = measure(rows, train_, outputs_);
    if (options.trained) take_scaling(*options.trained);
    input_ = scaled(rows, inputs_, input_scaling_);
    output_ = scaled(rows, outputs_, output_scaling_);
  }

  void describe(ModelConfig& config) const override {
    config.task = task_;
    config.input_size = static_cast<std::int64_t>(inputs_.size());
    config.output_size = static_cast<std::int64_t>(outputs_.size());
    config.input_scaling = input_scaling_;
    config.output_scaling = output_scaling_;
    config.target_columns = task_ == Task::kRegress ? outputs_ : std::vector<std::int64_t>{};
  }

  Batch train_batch(std::uint64_t seed, std::int64_t index, std::int64_t batch,
                    std::int64_t length) const override {
    Batch result{.input = Tensor::empty({batch, length, input_.size(1)}, dtype_),
                 .target = Tensor::empty({batch, length, output_.size(1)}, dtype_)};
    Generator generator(seed, "windows");
    generator.set_position(static_cast<std::uint64_t>(index) << 24);
    for (std::int64_t b = 0; b < batch; ++b) {
      const auto choices = static_cast<std::uint64_t>(train_ - length - ahead() + 1);
      const auto start = static_cast<std::int64_t>(generator.below(choices));
      result.input.rows(b, 1).view({length, input_.size(1)}).copy_from(input_.rows(start, length));
      result.target.rows(b, 1)
          .view({length, output_.size(1)})
          .copy_from(output_.rows(start + ahead(), length));
    }
    return result;
  }

  std::int64_t heldout_count() const override { return 1; }
  Example heldout(std::int64_t) const override {
    const std::int64_t length = input_.size(0) - train_ - ahead();
    return {input_.rows(train_, length).clone().view({1, length, input_.size(1)}),
            output_.rows(train_ + ahead(), length).clone().view({1, length, output_.size(1)})};
  }
  std::int64_t default_length() const override {
    return std::max<std::int64_t>(1, std::min<std::int64_t>(256, max_length() / 2));
  }
  std::int64_t max_length() const override { return train_ - ahead(); }
  std::string unit() const override { return "squared error (scaled)"; }
  std::string fingerprint() const override { return fingerprint_; }

 private:
  // Steps between an input row and its target.
  std::int64_t ahead() const { return task_ == Task::kPredictNext ? 1 : 0; }

  void choose_columns(std::int64_t width, const std::vector<std::string>& names,
                      const DatasetOptions& options) {
    inputs_.resize(static_cast<std::size_t>(width));
    std::iota(inputs_.begin(), inputs_.end(), 0);
    if (task_ == Task::kPredictNext) {
      check(options.target_columns.empty(), ErrorCode::kConfig,
            "Series: target columns go with the task regress; next predicts all columns.");
      outputs_ = inputs_;
      return;
    }
    check(!options.target_columns.empty(), ErrorCode::kConfig,
          "Series: the task regress needs target columns, by name or number from 0.");
    for (const std::string& target : options.target_columns) {
      const auto named = std::ranges::find(names, target);
      std::int64_t column = named - names.begin();
      if (named == names.end()) {
        const char* end = target.data() + target.size();
        check(std::from_chars(target.data(), end, column).ptr == end && !target.empty() &&
                  column >= 0 && column < width,
              ErrorCode::kConfig,
              "Series: target column '{}' is neither a name nor a number from 0 to {}.", target,
              width - 1);
      }
      check(std::ranges::find(outputs_, column) == outputs_.end(), ErrorCode::kConfig,
            "Series: target column '{}' came twice.", target);
      outputs_.push_back(column);
      std::erase(inputs_, column);
    }
    check(!inputs_.empty(), ErrorCode::kConfig,
          "Series: all {} columns are targets, none is left as input.", width);
  }

  void take_scaling(const ModelConfig& config) {
    check(config.input_size == static_cast<std::int64_t>(inputs_.size()) &&
              config.output_size == static_cast<std::int64_t>(outputs_.size()),
          ErrorCode::kConfig,
          "Series: the model reads {} columns and gives {}, the data have {} and {}.",
          config.input_size, config.output_size, inputs_.size(), outputs_.size());
    input_scaling_ = config.input_scaling;
    output_scaling_ = config.output_scaling;
  }

  Tensor scaled(const Tensor& rows, const std::vector<std::int64_t>& columns,
                const Scaling& scaling) const {
    const Tensor result =
        Tensor::empty({rows.size(0), static_cast<std::int64_t>(columns.size())}, DType::kFloat64);
    double* out = result.data<double>();
    for (std::int64_t t = 0; t < rows.size(0); ++t)
      for (std::size_t c = 0; c < columns.size(); ++c)
        *out++ = (rows.data<double>()[t * rows.size(1) + columns[c]] - scaling.mean[c]) /
                 scaling.scale[c];
    return result.to(dtype_);
  }

  DType dtype_;
  Task task_;
  std::vector<std::int64_t> inputs_, outputs_;  // columns
  Scaling input_scaling_, output_scaling_;
  Tensor input_, output_;  // [rows, columns], scaled
  std::string fingerprint_;
  std::int64_t train_ = 0;
};

}  // namespace

std::unique_ptr<Dataset> open_csv_series(const std::string& file, const DatasetOptions& options) {
  CsvTable table = read_csv(file, DType::kFloat64);
  return std::make_unique<SeriesData>(table.values, table.columns, options);
}

std::unique_ptr<Dataset> open_npy_series(const std::string& file, const DatasetOptions& options) {
  Tensor values = read_npy(file);
  check(values.rank() == 1 || values.rank() == 2, ErrorCode::kValue,
        "npy:{}: an array [rows] or [rows, columns] was expected, {} came.", file,
        to_string(values.shape()));
  check(is_floating(values.dtype()), ErrorCode::kDType,
        "npy:{}: floating-point numbers were expected, {} came.", file, name_of(values.dtype()));
  if (values.rank() == 1) values = values.view(values.shape().append(1));
  return std::make_unique<SeriesData>(values.to(DType::kFloat64), std::vector<std::string>{},
                                      options);
}

}  // namespace rill
