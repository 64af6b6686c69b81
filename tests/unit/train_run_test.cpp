// Runs that are stopped, damaged and resumed.
#include "train_support.h"

#include <rill/core/core.h>
#include <rill/train/run_folder.h>

#include <algorithm>
#include <atomic>
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

// The last checkpoint of a run once more, with one text field changed.
void change_text(const std::filesystem::path& file, const std::string& key,
                 const std::string& value) {
  SafetensorsWriter writer;
  {
    const auto reader = SafetensorsReader::open(file);
    for (const SafetensorsInfo& info : reader.infos())
      writer.tensor(info.name, reader.tensor(info.name));
    for (const auto& [name, text] : reader.metadata())
      writer.text(name, name == key ? value : text);
  }
  writer.write(file);
}

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
    sentence_of(ErrorCode::kConfig, [&] { saved_train_options(setup.out("run")); });
  }
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
