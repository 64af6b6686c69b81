// Data sets: what is held out and never trained on, batches by seed, target columns, scaling by a
// model's own numbers, fingerprints.
#include "train_support.h"

#include <rill/core/core.h>
#include <rill/io/npy.h>

#include <cmath>
#include <set>

using namespace rill;
using namespace rill::test;

namespace {

// Text in which each pair of bytes says where it lies: position = 250 * first + second.
std::string counting_text(std::int64_t pairs) {
  std::string text;
  for (std::int64_t i = 0; i < pairs; ++i) {
    text += static_cast<char>(i / 250);
    text += static_cast<char>(i % 250);
  }
  return text;
}

// Rows "t,100+t,-t": values say where they come from.
std::string counting_rows(std::int64_t rows) {
  std::string text = "time,shifted,negative\n";
  for (std::int64_t t = 0; t < rows; ++t)
    text += std::to_string(t) + "," + std::to_string(100 + t) + "," + std::to_string(-t) + "\n";
  return text;
}

std::string big_endian(std::uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16),
          static_cast<char>(value >> 8), static_cast<char>(value)};
}

// `count` images of 2 by 2 pixels, all of the value first + i; labels by turns 0, 1, 2, or `last`
// for the last one.
void write_images(const TemporaryFolder& folder, const std::string& part, int count, int first,
                  int last = 0) {
  std::string images = std::string("\0\0\x08\x03", 4) +
                       big_endian(static_cast<std::uint32_t>(count)) + big_endian(2) +
                       big_endian(2);
  std::string labels =
      std::string("\0\0\x08\x01", 4) + big_endian(static_cast<std::uint32_t>(count));
  for (int i = 0; i < count; ++i) {
    images += std::string(4, static_cast<char>(first + i));
    labels += static_cast<char>(i + 1 == count ? last : i % 3);
  }
  write_file(folder / (part + "-images-idx3-ubyte"), images);
  write_file(folder / (part + "-labels-idx1-ubyte"), labels);
}

bool same_batch(const Batch& a, const Batch& b) {
  return same_bits(a.input, b.input) && same_bits(a.target, b.target) && a.continues == b.continues;
}

DatasetOptions regress(std::vector<std::string> targets) {
  return {.task = Task::kRegress, .task_given = true, .target_columns = std::move(targets)};
}

}  // namespace

TEST_CASE("text: the last 5 % are held out, and no batch reads them") {
  TemporaryFolder folder;
  const std::string text = counting_text(2000);
  write_file(folder / "text", text);
  const auto data = open_dataset("text:" + (folder / "text").string(), {});
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  REQUIRE(data->heldout_count() == 1);
  const Example held = data->heldout(0);
  // 200 of 4000 bytes: 199 predictions, of every byte after the first.
  REQUIRE(held.input.shape() == Shape({1, 199}));
  CHECK(std::memcmp(held.input.raw(), bytes + 3800, 199) == 0);
  for (std::int64_t t = 0; t < 199; ++t)
    CHECK(held.target.data<std::int64_t>()[t] == bytes[3801 + t]);
  std::set<std::int64_t> seen;
  for (std::int64_t index = 0; index < 200; ++index) {
    const Batch batch = data->train_batch(7, index, 3, 50);
    for (std::int64_t i = 0; i < 150; ++i)
      if (i % 50 < 49) {
        const std::uint8_t first = batch.input.data<std::uint8_t>()[i];
        const std::uint8_t second = batch.input.data<std::uint8_t>()[i + 1];
        CHECK(batch.target.data<std::int64_t>()[i] == second);
        if (first < 8 && second >= 8) seen.insert(first * 250 + second);
      }
  }
  CHECK(*seen.rbegin() < 1900);  // the pair at byte 3800
  CHECK(seen.size() > 1800);     // and nearly all of the others, but those with a small second byte
}

TEST_CASE("text: streams go on from batch to batch until a lap ends; seeds and batches repeat") {
  TemporaryFolder folder;
  write_file(folder / "text", counting_text(2000));
  const auto data = open_dataset("text:" + (folder / "text").string(), {});
  CHECK(data->default_length() == 256);
  CHECK(data->max_length() == 3799);
  Batch before = data->train_batch(7, 0, 3, 50);
  CHECK_FALSE(before.continues);
  std::int64_t laps = 1;
  for (std::int64_t index = 1; index < 60; ++index) {
    const Batch batch = data->train_batch(7, index, 3, 50);
    if (batch.continues)
      for (std::int64_t b = 0; b < 3; ++b)
        CHECK(batch.input.data<std::uint8_t>()[b * 50] ==
              before.target.data<std::int64_t>()[b * 50 + 49]);
    laps += !batch.continues;
    before = batch;
  }
  CHECK(laps == 3);  // 3800 / 3 / 50 = 25 batches a lap
  CHECK(same_batch(data->train_batch(7, 31, 3, 50), data->train_batch(7, 31, 3, 50)));
  CHECK_FALSE(same_batch(data->train_batch(7, 31, 3, 50), data->train_batch(8, 31, 3, 50)));
}

TEST_CASE("series: the last 10 % of the rows are held out, scaling is that of the rest") {
  TemporaryFolder folder;
  write_file(folder / "rows.csv", counting_rows(100));
  const auto data =
      open_dataset("csv:" + (folder / "rows.csv").string(), {.dtype = DType::kFloat64});
  ModelConfig config;
  data->describe(config);
  CHECK(config.task == Task::kPredictNext);
  REQUIRE(config.input_size == 3);
  CHECK(config.input_scaling.mean[0] == Approx(44.5));  // of 0 ... 89
  CHECK(config.input_scaling.scale[0] == Approx(std::sqrt((90.0 * 90 - 1) / 12)));
  const auto time = [&](double scaled) {
    return std::lround(scaled * config.input_scaling.scale[0] + config.input_scaling.mean[0]);
  };
  const Example held = data->heldout(0);
  REQUIRE(held.input.shape() == Shape({1, 9, 3}));
  for (std::int64_t t = 0; t < 9; ++t) {
    CHECK(time(held.input.data<double>()[3 * t]) == 90 + t);
    CHECK(time(held.target.data<double>()[3 * t]) == 91 + t);
  }
  std::set<long> seen;
  for (std::int64_t index = 0; index < 300; ++index) {
    const Batch batch = data->train_batch(3, index, 2, 5);
    CHECK_FALSE(batch.continues);
    for (std::int64_t i = 0; i < 10; ++i) {
      const long t = time(batch.input.data<double>()[3 * i]);
      CHECK(time(batch.target.data<double>()[3 * i]) == t + 1);
      seen.insert({t, t + 1});
    }
  }
  CHECK(*seen.begin() == 0);
  CHECK(*seen.rbegin() == 89);
  CHECK(same_batch(data->train_batch(3, 8, 2, 5), data->train_batch(3, 8, 2, 5)));
  CHECK_FALSE(same_batch(data->train_batch(3, 8, 2, 5), data->train_batch(4, 8, 2, 5)));
  CHECK_FALSE(same_batch(data->train_batch(3, 8, 2, 5), data->train_batch(3, 9, 2, 5)));
}

TEST_CASE("series: target columns by name or number, in the order asked for") {
  TemporaryFolder folder;
  write_file(folder / "rows.csv", counting_rows(50));
  const std::string spec = "csv:" + (folder / "rows.csv").string();
  for (const std::vector<std::string>& targets :
       {std::vector<std::string>{"negative", "time"}, {"2", "0"}}) {
    ModelConfig config;
    const auto data = open_dataset(spec, regress(targets));
    data->describe(config);
    CHECK(config.target_columns == std::vector<std::int64_t>{2, 0});
    CHECK(config.input_size == 1);
    CHECK(config.input_scaling.mean[0] == Approx(122));   // "shifted" of the first 45 rows
    CHECK(config.output_scaling.mean[0] == Approx(-22));  // "negative"
    CHECK(config.output_scaling.mean[1] == Approx(22));   // "time"
    const Batch batch = data->train_batch(1, 0, 1, 4);
    CHECK(batch.input.shape() == Shape({1, 4, 1}));
    CHECK(batch.target.shape() == Shape({1, 4, 2}));
    // At the same step: the input is the second target, in scaled units.
    CHECK(batch.target.data<float>()[1] == Approx(batch.input.data<float>()[0]));
    CHECK(batch.target.data<float>()[0] == Approx(-batch.input.data<float>()[0]));
  }
  using Catch::Matchers::Contains;
  const auto sentence = [&](const DatasetOptions& options) {
    return sentence_of(ErrorCode::kConfig, [&] { open_dataset(spec, options); });
  };
  CHECK_THAT(sentence(regress({"colour"})), Contains("colour"));
  CHECK_THAT(sentence(regress({"3"})), Contains("from 0 to 2"));
  CHECK_THAT(sentence(regress({"-1"})), Contains("-1"));
  CHECK_THAT(sentence(regress({"time", "0"})), Contains("twice"));
  CHECK_THAT(sentence(regress({"0", "1", "2"})), Contains("none is left"));
  CHECK_THAT(sentence(regress({})), Contains("needs target columns"));
  CHECK_THAT(sentence({.target_columns = {"time"}}), Contains("regress"));
}

TEST_CASE("series and images: a trained model's scaling is taken, not that of the data") {
  TemporaryFolder folder;
  write_file(folder / "rows.csv", counting_rows(50));
  const std::string spec = "csv:" + (folder / "rows.csv").string();
  ModelConfig trained;
  open_dataset(spec, {})->describe(trained);
  trained.input_scaling = trained.output_scaling = {{1, 2, 3}, {10, 20, 30}};
  ModelConfig config;
  const auto data = open_dataset(spec, {.trained = &trained});
  data->describe(config);
  CHECK(config.input_scaling.scale == trained.input_scaling.scale);
  CHECK(data->heldout(0).input.data<float>()[0] == Approx((45 - 1) / 10.0));
  trained.input_size = 2;
  sentence_of(ErrorCode::kConfig, [&] { open_dataset(spec, {.trained = &trained}); });

  write_images(folder, "train", 6, 10);
  write_images(folder, "t10k", 3, 100);
  ModelConfig classifier{.input_size = 1, .output_size = 5, .input_scaling = {{50}, {25}}};
  const auto images = open_dataset("idx:" + folder.path().string(), {.trained = &classifier});
  CHECK(images->heldout(1).input.data<float>()[3] == Approx((101 - 50) / 25.0));
  images->describe(config);
  CHECK(config.output_size == 5);
}

TEST_CASE("images: the test files are held out, an epoch shows every image once") {
  TemporaryFolder folder;
  write_images(folder, "train", 6, 10);
  write_images(folder, "t10k", 3, 100);
  const auto data = open_dataset("idx:" + folder.path().string(), {.dtype = DType::kFloat64});
  ModelConfig config;
  data->describe(config);
  CHECK(config.output_size == 3);
  const auto pixel = [&](const double* x) {
    return std::lround(*x * config.input_scaling.scale[0] + config.input_scaling.mean[0]);
  };
  REQUIRE(data->heldout_count() == 3);
  for (std::int64_t i = 0; i < 3; ++i)
    CHECK(pixel(data->heldout(i).input.data<double>()) == 100 + i);
  std::vector<std::vector<long>> epochs(3);
  for (std::int64_t index = 0; index < 9; ++index) {
    const Batch batch = data->train_batch(5, index, 2, 4);
    for (std::int64_t b = 0; b < 2; ++b)
      epochs[static_cast<std::size_t>((2 * index + b) / 6)].push_back(
          pixel(batch.input.data<double>() + 4 * b));
  }
  CHECK((epochs[0] != epochs[1] || epochs[1] != epochs[2]));  // another order
  for (std::vector<long>& epoch : epochs) {
    std::ranges::sort(epoch);
    CHECK(epoch == std::vector<long>{10, 11, 12, 13, 14, 15});
  }
  CHECK(same_batch(data->train_batch(5, 4, 2, 4), data->train_batch(5, 4, 2, 4)));
}

TEST_CASE("images: a test label that no training image has is refused at once") {
  TemporaryFolder folder;
  write_images(folder, "train", 6, 10);
  write_images(folder, "t10k", 4, 100, 7);
  const std::string sentence =
      sentence_of(ErrorCode::kValue, [&] { open_dataset("idx:" + folder.path().string(), {}); });
  CHECK_THAT(sentence, Catch::Matchers::Contains("image 3 is 7"));
}

TEST_CASE("fingerprints tell data apart, wherever they lie") {
  TemporaryFolder folder;
  const auto of = [](const std::string& kind, const std::filesystem::path& path) {
    return open_dataset(kind + ":" + path.string(), {})->fingerprint();
  };
  const std::string text = counting_text(100);
  write_file(folder / "a", text);
  write_file(folder / "b", text);
  write_file(folder / "longer", text + "x");
  CHECK(of("text", folder / "a") == of("text", folder / "b"));
  CHECK_THAT(of("text", folder / "a"), Catch::Matchers::Contains("text of 200 bytes"));
  CHECK(of("text", folder / "a") != of("text", folder / "longer"));
  std::set<std::string> seen = {of("text", folder / "a")};
  for (std::size_t i = 0; i < text.size(); ++i) {  // any byte, any place in its word
    std::string other = text;
    other[i] = static_cast<char>(other[i] ^ (1 << (i % 8)));
    write_file(folder / "b", other);
    seen.insert(of("text", folder / "b"));
  }
  CHECK(seen.size() == text.size() + 1);
  write_file(folder / "rows.csv", counting_rows(20));
  write_file(folder / "more.csv", counting_rows(21));
  CHECK(of("csv", folder / "rows.csv") != of("csv", folder / "more.csv"));
  Tensor values = Tensor::zeros({20, 3}, DType::kFloat64);
  for (std::int64_t t = 0; t < 20; ++t) {
    values.data<double>()[3 * t] = static_cast<double>(t);
    values.data<double>()[3 * t + 1] = static_cast<double>(100 + t);
    values.data<double>()[3 * t + 2] = static_cast<double>(-t);
  }
  write_npy((folder / "rows.npy").string(), values);
  CHECK_THAT(of("npy", folder / "rows.npy"),
             Catch::Matchers::StartsWith("series of 20 rows and 3"));
  write_images(folder, "train", 6, 10);
  write_images(folder, "t10k", 3, 100);
  const std::string images = of("idx", folder.path());
  write_images(folder, "t10k", 3, 101);
  CHECK(images != of("idx", folder.path()));
}
