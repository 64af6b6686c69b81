// Runs that are stopped, damaged and resumed.
#include "train_support.h"

#include <rill/core/core.h>
#include <rill/tests/fuzz/checkpoint_model.h>
#include <rill/train/run_folder.h>
#include <rill/train/run_log.h>

#include <algorithm>
#include <atomic>
#include <limits>
#include <sstream>

using namespace rill;
using namespace rill::test;
using namespace rill::train_test;

namespace {

struct Setup {
  TemporaryFolder folder;
  NoiseData data;
  ModelConfig config = small_config(data);
  TrainOptions options = small_options();

  std::string out(const std::string& name) const { return (folder / name).string(); }
  TrainResult run(const std::string& name, bool resume, const TrainHooks& hooks = {}) {
    Exec exec({.threads = 1});
    return train(exec, config, data, options, out(name), resume, hooks);
  }
  std::vector<std::string> log(const std::string& name, const std::string& split) {
    std::istringstream lines(read_file(folder / name / "log.jsonl"));
    std::vector<std::string> found;
    for (std::string line; std::getline(lines, line);)
      if (line.find("\"split\":\"" + split + "\"") != std::string::npos) found.push_back(line);
    return found;
  }
};

// A checkpoint once more, with one text field changed and a hash that fits.
void change_text(const std::filesystem::path& file, const std::string& key,
                 const std::string& value) {
  CheckpointWriter writer;
  {
    const auto reader = SafetensorsReader::open(file);
    for (const SafetensorsInfo& info : reader.infos())
      writer.tensor(info.name, reader.tensor(info.name));
    for (const auto& [name, text] : reader.metadata())
      if (name != "rill.hash") writer.text(name, name == key ? value : text);
  }
  writer.write(file);
}

// Training rows of NaN.
class NanData final : public NoiseData {
 public:
  Batch train_batch(std::uint64_t seed, std::int64_t index, std::int64_t batch,
                    std::int64_t length) const override {
    Batch result = NoiseData::train_batch(seed, index, batch, length);
    for (float& value : result.input.span<float>()) value = std::nanf("");
    return result;
  }
};

// The files of a run and what they hold.
std::map<std::string, std::string> files_of(const std::filesystem::path& run) {
  std::map<std::string, std::string> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(run))
    if (entry.is_regular_file()) files[entry.path().filename()] = read_file(entry.path());
  return files;
}

struct Killed {};

}  // namespace

TEST_CASE(
    "resume: stopped after any step, with dropout, a run gives the bits of one that was not") {
  Setup setup;
  setup.config.dropout = 0.2;
  setup.options.accumulate = 2;
  setup.options.steps = 4;
  setup.options.eval_every = 1;
  setup.run("whole", false);
  for (std::int64_t after = 1; after < 4; ++after) {
    const std::string name = std::to_string(after);
    std::atomic<bool> stop{false};
    const TrainHooks hooks{.record = [&](const TrainRecord& r) { stop = r.step >= after; },
                           .stop = &stop};
    CHECK(setup.run(name, false, hooks).stopped);
    CHECK(setup.run(name, true).steps == 4);
    CHECK(weights_of(setup.folder / name) == weights_of(setup.folder / "whole"));
    CHECK(setup.log(name, "train").size() == 4);
    CHECK(setup.log(name, "heldout").size() == 4);
  }
}

TEST_CASE("resume: killed before its first checkpoint, a run goes on as the run it was") {
  Setup setup;
  setup.run("whole", false);
  const TrainHooks hooks{.record = [](const TrainRecord& r) {
    if (r.step == 2) throw Killed();
  }};
  CHECK_THROWS_AS(setup.run("run", false, hooks), Killed);
  const auto saved = saved_run(setup.out("run"));
  REQUIRE(saved);
  CHECK(saved->step == 0);
  CHECK(saved->options.to_json() == setup.options.to_json());
  CHECK(to_json(saved->config) == read_file(setup.folder / "whole" / "config.json"));
  std::filesystem::remove(setup.folder / "run" / "config.json");
  setup.run("run", true);
  CHECK(weights_of(setup.folder / "run") == weights_of(setup.folder / "whole"));
  CHECK(read_file(setup.folder / "run" / "config.json") ==
        read_file(setup.folder / "whole" / "config.json"));
  CHECK(setup.log("run", "train").size() == 3);
}

TEST_CASE(
    "resume: stopped in the last evaluation, a run has its weights and lacks that loss alone") {
  Setup setup;
  const double loss = setup.run("whole", false).heldout_loss;
  std::atomic<bool> stop{false};
  const TrainHooks hooks{.record = [&](const TrainRecord& r) { stop = r.step == 3; },
                         .stop = &stop};
  const TrainResult result = setup.run("run", false, hooks);
  CHECK(result.stopped);
  CHECK(result.steps == 3);
  CHECK(setup.log("run", "heldout").empty());
  CHECK(weights_of(setup.folder / "run") == weights_of(setup.folder / "whole"));
  CHECK(setup.run("run", true).heldout_loss == loss);
}

TEST_CASE("train: a run that fails in its first step leaves nothing behind") {
  TemporaryFolder folder;
  const NanData data;
  const auto fails = [&](const std::string& out, bool resume) {
    Exec exec({.threads = 1});
    return sentence_of(ErrorCode::kValue, [&] {
      train(exec, small_config(data), data, small_options(), (folder / out).string(), resume);
    });
  };
  CHECK_THAT(fails("made/for/run", false), Catch::Matchers::Contains("Nothing was saved"));
  CHECK_FALSE(std::filesystem::exists(folder / "made"));
  // What was there before stays.
  std::filesystem::create_directories(folder / "there");
  write_file(folder / "there" / "notes", "mine");
  fails("there", true);
  CHECK(files_of(folder / "there") == std::map<std::string, std::string>{{"notes", "mine"}});
}

TEST_CASE("train: numbers that are not finite are never saved, be it the last step") {
  Setup setup;
  setup.run("run", false);
  const auto before = files_of(setup.folder / "run");
  setup.options.adam.lr = 1e39;
  setup.options.steps = 4;
  using Catch::Matchers::Contains;
  const auto sentence = [&](const std::string& name, bool resume) {
    return sentence_of(ErrorCode::kValue, [&] { setup.run(name, resume); });
  };
  // The loss after the last step.
  CHECK_THAT(sentence("run", true), Contains("held-out") && Contains("of step 3 is untouched"));
  const auto after = files_of(setup.folder / "run");
  CHECK(after.size() == before.size());
  for (const auto& [name, content] : before)
    if (name != "log.jsonl") CHECK((after.contains(name) && after.at(name) == content));
  // The parameters before a checkpoint.
  setup.options.checkpoint_every = 1;
  CHECK_THAT(sentence("new", false),
             Contains("step 1: the tensor model.") && Contains("of step 0 is untouched"));
  CHECK_FALSE(files_of(setup.folder / "new").contains("step-1.safetensors"));
  CHECK(saved_run(setup.out("new"))->step == 0);
}

TEST_CASE("train: options out of range are refused before the folder is made") {
  Setup setup;
  const TrainOptions legal = setup.options;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const auto refused = [&](auto field, auto value) {
    setup.options = legal;
    field(setup.options) = value;
    sentence_of(ErrorCode::kConfig, [&] { setup.run("run", false); });
    CHECK_FALSE(std::filesystem::exists(setup.folder / "run"));
  };
  for (const double value : {nan, -1.0, infinity}) {
    CAPTURE(value);
    refused([](TrainOptions& o) -> double& { return o.adam.lr; }, value);
    refused([](TrainOptions& o) -> double& { return o.adam.weight_decay; }, value);
    refused([](TrainOptions& o) -> double& { return o.warmup; }, value);
    refused([](TrainOptions& o) -> double& { return o.minutes; }, value);
    refused([](TrainOptions& o) -> double& { return o.clip; }, value);
    refused([](TrainOptions& o) -> double& { return o.final_lr; }, value);
  }
  refused([](TrainOptions& o) -> double& { return o.adam.beta1; }, 1.0);
  refused([](TrainOptions& o) -> double& { return o.adam.beta2; }, 1.0);
  refused([](TrainOptions& o) -> std::int64_t& { return o.checkpoint_every; }, 0);
  refused([](TrainOptions& o) -> std::int64_t& { return o.time_chunk; }, -1);
  setup.options = legal;
  Exec exec({.threads = 1});
  sentence_of(ErrorCode::kConfig, [&] { train(exec, setup.config, setup.data, legal, "", false); });
}

TEST_CASE("resume: damaged checkpoints are passed over, and it is said") {
  Setup setup;
  setup.options.checkpoint_every = 1;
  setup.run("run", false);
  const auto run = setup.folder / "run";
  const std::string weights = weights_of(run);
  std::vector<std::string> remarks;
  const TrainHooks hooks{.remark = [&](const std::string& remark) { remarks.push_back(remark); }};
  // The second half is zeros: the header is whole.
  const auto zero_half = [&](const std::string& name) {
    std::string bytes = read_file(run / "checkpoints" / name);
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(bytes.size() / 2), bytes.end(), '\0');
    write_file(run / "checkpoints" / name, bytes);
  };
  zero_half("step-3.safetensors");
  write_file(run / "checkpoints" / "step-9.safetensors", "torn");
  CHECK(saved_run(setup.out("run"))->step == 2);
  setup.run("run", true, hooks);
  REQUIRE(remarks.size() == 2);
  CHECK_THAT(remarks[0], Catch::Matchers::Contains("step-9"));
  CHECK_THAT(remarks[1], Catch::Matchers::Contains("step-3"));
  CHECK(weights_of(run) == weights);
  // A changed text.
  std::string bytes = read_file(run / "checkpoints" / "step-3.safetensors");
  bytes.replace(bytes.find("noise 1"), 7, "noise 2");
  write_file(run / "checkpoints" / "step-3.safetensors", bytes);
  CHECK(saved_run(setup.out("run"))->step == 2);
  // None is left: the run starts over, and the weights that were there are kept.
  for (const char* name : {"step-1.safetensors", "step-2.safetensors"}) zero_half(name);
  write_file(run / "model.safetensors", "trained long");
  remarks.clear();
  setup.run("run", true, hooks);
  REQUIRE(remarks.size() == 6);
  CHECK_THAT(remarks[4], Catch::Matchers::Contains("starts over"));
  CHECK_THAT(remarks[5], Catch::Matchers::Contains("model.safetensors.before"));
  CHECK(read_file(run / "model.safetensors.before") == "trained long");
  CHECK(weights_of(run) == weights);
}

TEST_CASE("resume: a run that is finished gains no line in its log") {
  Setup setup;
  const double loss = setup.run("run", false).heldout_loss;
  const std::string log = read_file(setup.folder / "run" / "log.jsonl");
  REQUIRE(setup.log("run", "heldout").size() == 1);
  CHECK(setup.run("run", true).heldout_loss == loss);
  CHECK(read_file(setup.folder / "run" / "log.jsonl") == log);
  // One that lost its last line gets it.
  write_file(setup.folder / "run" / "log.jsonl", setup.log("run", "train")[0] + "\n");
  CHECK(setup.run("run", true).heldout_loss == loss);
  CHECK(setup.log("run", "heldout").size() == 1);
}

TEST_CASE("resume: other data are refused, and nothing is touched") {
  Setup setup;
  setup.run("run", false);
  const std::string weights = weights_of(setup.folder / "run");
  setup.data = NoiseData(DType::kFloat32, false, 2);
  const std::string sentence = sentence_of(ErrorCode::kConfig, [&] { setup.run("run", true); });
  CHECK_THAT(sentence,
             Catch::Matchers::Contains("noise 1") && Catch::Matchers::Contains("noise 2"));
  CHECK(weights_of(setup.folder / "run") == weights);
}

TEST_CASE("resume: damaged numbers in a checkpoint are named") {
  Setup setup;
  setup.run("run", false);
  const auto file = setup.folder / "run" / "checkpoints" / "step-3.safetensors";
  for (const auto& [key, value] : {std::pair{"rill.time", ""},
                                   {"rill.time", "soon"},
                                   {"rill.seconds", "nan"},
                                   {"rill.seconds", "1e999"},
                                   {"rill.time", "-4"},
                                   {"rill.time", "9223372036854775807"},
                                   {"adam.steps", "9223372036854775807"},
                                   {"adam.steps", "3 or 4"}}) {
    CAPTURE(key, value);
    const std::string before = SafetensorsReader::open(file).text(key);
    change_text(file, key, value);
    const std::string sentence = sentence_of(ErrorCode::kFile, [&] { setup.run("run", true); });
    CHECK_THAT(sentence, Catch::Matchers::Contains(key));
    change_text(file, key, before);
  }
  for (const char* options : {"", "{}", "[1]", R"({"length": "many"})", R"({"length": 1.5})"}) {
    change_text(file, "rill.options", options);
    sentence_of(ErrorCode::kConfig, [&] { saved_run(setup.out("run")); });
  }
}

TEST_CASE("resume: a damaged log gives its whole lines, whatever they hold") {
  const std::string ours = R"({"step":2,"split":"train","loss":1})";
  const std::string heldout = R"({"loss":0.5,"split":"heldout","step":3})";
  const std::string deep(1 << 20, '[');
  std::string text = ours + "\n" + heldout + "\n";
  const std::string kept = text;
  for (const std::string& line :
       {std::string(""), std::string("[]"), std::string("3"), std::string("\xff\xfe"),
        std::string(R"({"step":4,"split":"train"})"),  // past the step
        std::string(R"({"step":-1})"), std::string(R"({"step":1.5})"),
        std::string(R"({"step":"1"})"), std::string(R"({"step":18446744073709551615})"),
        std::string(R"({"step":9223372036854775808,"split":"heldout","loss":1})"),
        std::string("{\"step\":1,\"split\":\"\xff\"}"), R"({"step":1,"split":)" + deep})
    text += line + "\n";
  LoggedLines lines = lines_until(text + R"({"step":3,"split":"heldout","lo)", 3);
  CHECK(lines.text == kept);
  CHECK(lines.heldout == std::map<std::int64_t, double>{{3, 0.5}});
  // Nested ones are no loss of ours, and no copy is made of them: it would take a stack's depth.
  const std::string nested = deep + std::string(deep.size(), ']');
  lines = lines_until(R"({"step":1,"split":)" + nested + R"(,"loss":)" + nested + "}", 3);
  CHECK(lines.heldout.empty());
}

TEST_CASE("training options: numbers out of their type, and values of every kind, are refused") {
  const std::string whole = small_options().to_json();
  const auto with = [&](const std::string& key, const std::string& value) {
    const std::size_t at = whole.find("\"" + key + "\":") + key.size() + 3;
    return std::string(whole).replace(at, whole.find_first_of(",}", at) - at, value);
  };
  CHECK(TrainOptions::from_json(with("batch", "7")).batch == 7);
  const std::string deep(1 << 20, '[');
  for (const auto& [key, value] :
       {std::pair<std::string, std::string>{"batch", "18446744073709551615"},
        {"batch", "9223372036854775808"},
        {"seed", "-1"},
        {"lr", "\"fast\""},
        {"lr", "null"},
        {"lr", deep + std::string(deep.size(), ']')}}) {
    const std::string sentence =
        sentence_of(ErrorCode::kConfig, [&] { TrainOptions::from_json(with(key, value)); });
    CHECK_THAT(sentence, Catch::Matchers::Contains("number " + key));
    CHECK(sentence.size() < 200);
  }
  CHECK(sentence_of(ErrorCode::kConfig, [&] { TrainOptions::from_json(deep); }).size() < 200);
}

// The fuzz target would read nothing, and say nothing of it.
TEST_CASE("the checkpoint that fuzzing starts from is one of its model") {
  Exec exec({.threads = 1});
  const Model model(checkpoint_model());
  AdamW adam([&](const ParameterVisitor& visitor) { model.visit_parameters(visitor); }, {});
  State state = model.initial_state(exec, 1);
  const auto reader =
      open_checkpoint(RILL_SOURCE_DIR "/tests/fuzz/corpus/checkpoint/step-2.safetensors", 2);
  CHECK(load_run(reader, model, adam, state).step == 2);
  CHECK(saved_run_in(reader).options.length == 4);
}

TEST_CASE("training options as text and back") {
  TrainOptions options = small_options();
  options.seed = ~std::uint64_t{0};
  options.minutes = 1.5;
  options.adam.lr = 0.1;
  const TrainOptions read = TrainOptions::from_json(options.to_json());
  CHECK(read.to_json() == options.to_json());
  CHECK(read.seed == options.seed);
}

TEST_CASE("run folder: what a killed process left half-written goes, other files stay") {
  Setup setup;
  setup.run("run", false);
  const auto run = setup.folder / "run";
  for (const char* name : {".config.json.tmp-7-0", ".model.safetensors.tmp-123-4",
                           ".log.jsonl.tmp-9-1", "checkpoints/.step-2.safetensors.tmp-55-3"})
    write_file(run / name, "half");
  for (const char* name : {".notes.tmp-1-1", "model.safetensors.tmp-1-1", ".gitignore"})
    write_file(run / name, "mine");
  setup.run("run", true);
  CHECK_FALSE(std::filesystem::exists(run / ".config.json.tmp-7-0"));
  CHECK_FALSE(std::filesystem::exists(run / ".model.safetensors.tmp-123-4"));
  CHECK_FALSE(std::filesystem::exists(run / ".log.jsonl.tmp-9-1"));
  CHECK_FALSE(std::filesystem::exists(run / "checkpoints/.step-2.safetensors.tmp-55-3"));
  CHECK(read_file(run / ".notes.tmp-1-1") == "mine");
  CHECK(read_file(run / "model.safetensors.tmp-1-1") == "mine");
  CHECK(read_file(run / ".gitignore") == "mine");
}
