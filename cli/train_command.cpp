// rill train
#include "common.h"

#include <rill/core/check.h>
#include <rill/train/evaluate.h>
#include <rill/train/trainer.h>

#include <rill/core/format.h>

#include <filesystem>
#include <optional>

namespace rill::cli {
namespace {

// The command line, and which of its flags were given.
struct TrainFlags {
  Common common;
  std::string data, out, layer = "mamba", config_file, task;
  std::vector<std::string> sets, targets;
  std::int64_t blocks = 4, width = 128;
  double dropout = 0;
  bool resume = false;
  TrainOptions options;
  CLI::App* app = nullptr;
  std::optional<Task> config_task;  // where the file of --config names one

  bool given(const char* flag) const { return app->count(flag) > 0; }
};

void set_options(ModelConfig& config, const std::vector<std::string>& sets) {
  Options values(find_layer_type(config.layer).options);
  for (const std::string& set : sets) {
    const std::size_t equals = set.find('=');
    check(equals != std::string::npos && equals > 0, ErrorCode::kConfig,
          "--set KEY=VALUE was expected, '{}' came.", set);
    const std::string key = set.substr(0, equals);
    values.set_text(key, std::string_view(set).substr(equals + 1));
    config.options[key] = values.value(key);
  }
}

// The file of --config, by its own name in what is wrong with it.
ModelConfig read_config(TrainFlags& flags) {
  const std::string text = read_text_file(flags.config_file, std::int64_t{16} << 20);
  try {
    ModelConfig config = parse_config(text);
    if (nlohmann::json::parse(text).contains("/rill/task"_json_pointer))
      flags.config_task = config.task;
    return config;
  } catch (const Error& error) {
    constexpr std::string_view kName = "config.json";
    const std::string sentence = error.what();
    if (!sentence.starts_with(kName)) throw;
    throw Error(error.code(), flags.config_file + sentence.substr(kName.size()));
  }
}

ModelConfig model_config(TrainFlags& flags) {
  ModelConfig config;
  if (flags.given("--config")) {
    for (const char* flag : {"--layer", "--blocks", "--width"})
      check(!flags.given(flag), ErrorCode::kConfig, "{} or --config was expected, both came.",
            flag);
    config = read_config(flags);
  } else {
    config = ModelConfig::for_layer(flags.layer, flags.width, flags.blocks);
  }
  set_options(config, flags.sets);
  if (flags.given("--dropout")) config.dropout = flags.dropout;
  return config;
}

// "text:FILE" as it is found from any folder.
std::string with_absolute_path(const std::string& spec) {
  const std::size_t colon = spec.find(':');
  std::error_code error;
  const auto path = std::filesystem::absolute(spec.substr(colon + 1), error).lexically_normal();
  return error ? spec : spec.substr(0, colon + 1) + path.string();
}

// The stored run's options, with what the command line may still change.
TrainOptions resumed_options(const TrainFlags& flags, const TrainOptions& saved) {
  const TrainOptions& now = flags.options;
  const auto same = [&](const char* flag, const auto& was, const auto& is) {
    check(!flags.given(flag) || was == is, ErrorCode::kConfig,
          "--resume: the run in {} has {} {}, {} came.", flags.out, flag, was, is);
  };
  same("--length", saved.length, now.length);
  same("--batch", saved.batch, now.batch);
  same("--accumulate", saved.accumulate, now.accumulate);
  same("--seed", saved.seed, now.seed);
  same("--weight-decay", saved.adam.weight_decay, now.adam.weight_decay);
  same("--warmup", saved.warmup, now.warmup);
  same("--clip", saved.clip, now.clip);
  TrainOptions options = saved;
  if (flags.given("--steps")) {
    options.steps = now.steps;
    options.minutes = 0;
  }
  if (flags.given("--minutes")) options.minutes = now.minutes;
  if (flags.given("--lr")) options.adam.lr = now.adam.lr;
  if (flags.given("--checkpoint-every")) options.checkpoint_every = now.checkpoint_every;
  if (flags.given("--time-chunk")) options.time_chunk = now.time_chunk;
  if (flags.given("--eval-every")) options.eval_every = now.eval_every;
  return options;
}

// Every field of the config.json that a model of `config` writes.
nlohmann::json fields_of(const ModelConfig& config) {
  return nlohmann::json::parse(to_json(Model(config).config())).flatten();
}

// What the command line says of the data and the model, against what the run in --out is.
void check_resumed_model(TrainFlags& flags, const ModelConfig& saved, const Dataset& data) {
  const auto same = [&](const std::string& name, const auto& was, const auto& is) {
    check(was == is, ErrorCode::kConfig, "--resume: the run in {} has {} {}, {} came.", flags.out,
          name, was, is);
  };
  ModelConfig now = saved;
  if (flags.given("--config")) {
    now = model_config(flags);
  } else {
    if (flags.given("--layer")) now.layer = flags.layer;
    if (flags.given("--width")) now.hidden_size = flags.width;
    if (flags.given("--blocks")) now.num_hidden_layers = flags.blocks;
    if (flags.given("--dropout")) now.dropout = flags.dropout;
  }
  // First what decides the rest: its consequences are not to be listed.
  same("the layer", saved.layer, now.layer);
  same("the width", saved.hidden_size, now.hidden_size);
  same("blocks:", saved.num_hidden_layers, now.num_hidden_layers);
  if (!flags.given("--config")) set_options(now, flags.sets);
  data.describe(now);
  now.data = saved.data;
  const nlohmann::json was = fields_of(saved), is = fields_of(now), none = "nothing";
  for (const auto& change : nlohmann::json::diff(was, is)) {
    const std::string key = nlohmann::json::json_pointer(change["path"].get<std::string>()).back();
    same(key.substr(1), was.value(key, none).dump(), is.value(key, none).dump());
  }
}

// The data of a new run with this config, or of one that is resumed: then scaled as they were.
std::unique_ptr<Dataset> data_of(const TrainFlags& flags, const ModelConfig& config, bool resumed) {
  DatasetOptions options{.target_columns = flags.targets, .trained = resumed ? &config : nullptr};
  options.task_given = !flags.task.empty();
  if (options.task_given) options.task = task_from(flags.task);
  check(!resumed || !options.task_given || options.task == config.task, ErrorCode::kConfig,
        "--resume: the run in {} has the task {}, --task {} came.", flags.out,
        to_string(config.task), flags.task);
  if (!options.task_given && (resumed || flags.config_task)) {
    options.task = config.task;
    options.task_given = true;
  }
  if (options.task == Task::kRegress && !flags.given("--target"))
    for (const std::int64_t column : config.target_columns)
      options.target_columns.push_back(std::to_string(column));
  return open_dataset(flags.data, options);
}

// A word as a shell reads it.
std::string shell_word(const std::string& text) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=,+@%-";
  if (!text.empty() && text.find_first_not_of(kPlain) == std::string::npos) return text;
  std::string word = "'";
  for (const char c : text) word += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return word + "'";
}

// Progress of a run whose records these are: steps, or seconds of --minutes.
class TrainProgress {
 public:
  explicit TrainProgress(const TrainOptions& options)
      : timed_(options.minutes > 0),
        progress_(timed_ ? "s" : "steps",
                  timed_ ? 60 * options.minutes : static_cast<double>(options.steps)) {}

  void show(const TrainRecord& r) {
    if (r.split == "train")
      train_ = formatted("step {} loss {:.4f}, {} tokens/s", r.step, r.loss,
                         short_number(r.tokens_per_s));
    else
      heldout_ = formatted(", held out {:.4f}", r.loss);
    progress_.update(timed_ ? r.seconds : static_cast<double>(r.step), train_ + heldout_);
  }

 private:
  bool timed_;
  Progress progress_;
  std::string train_, heldout_;
};

void report(const TrainFlags& flags, const Model& model, const TrainResult& result,
            const Dataset& data) {
  if (flags.common.json) {
    print_json(
        {{"out", flags.out},
         {"steps", result.steps},
         {"seconds", result.seconds},
         {"tokens_per_s", result.tokens_per_s},
         {"parameters", model.parameter_count()},
         {"heldout_loss", result.stopped ? nlohmann::json() : nlohmann::json(result.heldout_loss)},
         {"unit", data.unit()},
         {"stopped", result.stopped}});
  }
  if (result.stopped)
    print_to(
        stderr,
        "Stopped after step {}; all is saved. To go on: rill train --data {} --out {} --resume\n",
        result.steps, shell_word(flags.data), shell_word(flags.out));
  else if (!flags.common.json)
    print_to(stderr, "Done: {} steps in {}, {} tokens/s, held-out loss {:.4f} {}. Model in {}\n",
             result.steps, short_time(result.seconds), short_number(result.tokens_per_s),
             result.heldout_loss, data.unit(), flags.out);
}

int run_train(TrainFlags& flags) {
  std::error_code ignored;
  check(!flags.out.empty(), ErrorCode::kConfig,
        "--out: the name of a folder was expected, '' came.");
  check(flags.resume || !std::filesystem::exists(flags.out, ignored), ErrorCode::kConfig,
        "train: the folder {} exists; give another --out, or --resume to go on with what it holds.",
        flags.out);
  ModelConfig config;
  const auto saved = flags.resume ? saved_run(flags.out) : std::nullopt;
  if (saved) {
    flags.options = resumed_options(flags, saved->options);
    config = saved->config;
  } else {
    config = model_config(flags);
  }
  const auto data = data_of(flags, config, saved.has_value());
  if (saved) {
    check_resumed_model(flags, config, *data);
  } else {
    data->describe(config);
    config.data = with_absolute_path(flags.data);
    if (!flags.given("--length")) flags.options.length = data->default_length();
    if (config.task == Task::kLanguageModel && config.vocab_size > 256)
      print_to(stderr, "The vocabulary of {} stays {}; bytes are its first 256 tokens.\n",
               flags.config_file, config.vocab_size);
  }
  Exec exec(flags.common.exec_options());
  const Model shape(config, DType::kFloat32, 0);
  print_to(stderr, "{}: {} blocks of width {}, {} parameters, {} of state a stream; {}\n",
           config.layer, config.num_hidden_layers, config.hidden_size,
           short_number(static_cast<double>(shape.parameter_count())),
           short_bytes(static_cast<double>(shape.state_spec().bytes())),
           exec.device() == Device{} ? formatted("{} threads, {}", exec.threads(), cpu_target())
                                     : to_string(exec.device()));
  std::optional<TrainProgress> progress(std::in_place, flags.options);
  const TrainHooks hooks{
      .record = [&](const TrainRecord& r) { progress->show(r); },
      .stop = &catch_signals(),
      .remark = [](const std::string& sentence) { print_to(stderr, "{}\n", sentence); }};
  const TrainResult result =
      train(exec, config, *data, flags.options, flags.out, flags.resume, hooks);
  progress.reset();  // ends the bar's line
  report(flags, shape, result, *data);
  return kSuccess;
}

}  // namespace

void add_train(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<TrainFlags>();
  CLI::App* command = app.add_subcommand("train", "Train a model on text, images or series");
  flags->app = command;
  flags->common.add_to(*command, true);
  TrainOptions& o = flags->options;
  command->add_option("--data", flags->data, "text:FILE, idx:DIR, csv:FILE or npy:FILE")
      ->required();
  command->add_option("--out", flags->out, "Folder of the run; made anew, or --resume")->required();
  command->add_option("--layer", flags->layer, "Layer; `rill layers` lists them")
      ->capture_default_str();
  command->add_option("--blocks", flags->blocks, "Residual blocks")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  command->add_option("--width", flags->width, "Model width D")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->add_option("--set", flags->sets, "KEY=VALUE: an option of the layer; repeatable")
      ->allow_extra_args(false);
  command->add_option("--config", flags->config_file,
                      "config.json instead of --layer, --blocks, --width");
  command->add_option("--length", o.length,
                      "Steps of a training sequence (256; images: all pixels)");
  command->add_option("--batch", o.batch, "Sequences a batch")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--steps", o.steps, "Steps of the optimiser")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  command->add_option("--minutes", o.minutes, "Train so long instead of --steps")
      ->check(Positive());
  command->add_option("--lr", o.adam.lr, "Peak learning rate")
      ->check(Positive())
      ->capture_default_str();
  command
      ->add_option("--weight-decay", o.adam.weight_decay,
                   "Of weights; not of norms, biases, A, dt, Mamba's D, S4D's B")
      ->check(NonNegative())
      ->capture_default_str();
  command->add_option("--warmup", o.warmup, "Part of the run with a growing rate")
      ->check(Fraction())
      ->capture_default_str();
  command->add_option("--clip", o.clip, "Largest global norm of the gradient; 0: none")
      ->check(NonNegative())
      ->capture_default_str();
  command->add_option("--accumulate", o.accumulate, "Batches a step")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  command->add_option("--dropout", flags->dropout, "Of what blocks add to the residual")
      ->check(Fraction())
      ->check(CLI::Range(0.0, 0.999))
      ->capture_default_str();
  command->add_option("--seed", o.seed, "Seed of parameters, data order and dropout")
      ->check([](const std::string& text) {  // std::stoull takes -1
        return text.starts_with('-')
                   ? formatted("a number of at least 0 was expected, '{}' came.", text)
                   : std::string();
      })
      ->capture_default_str();
  command->add_option("--checkpoint-every", o.checkpoint_every, "Steps between checkpoints")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->capture_default_str();
  command
      ->add_option("--eval-every", o.eval_every,
                   "Steps between held-out losses (default: ten in a run)")
      ->check(CLI::NonNegativeNumber);
  command
      ->add_option("--time-chunk", o.time_chunk,
                   "Exact gradients with the activations of so many steps in memory (0: all)")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--task", flags->task,
                      "lm, next, classify or regress (default by data: lm for text, next for csv "
                      "and npy, classify for idx)");
  command
      ->add_option("--target", flags->targets,
                   "Target columns of regress: names or numbers from 0, separated by commas")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->add_flag("--resume", flags->resume,
                    "Go on from the last whole checkpoint in --out; --steps, --minutes, --lr, "
                    "--time-chunk, --eval-every and --checkpoint-every may be new");
  command->footer(
      "Examples:\n"
      "  rill train --data text:data/kjv.txt --out run --minutes 3\n"
      "  rill train --data csv:temps.csv --task regress --target temp --layer lstm --width 32 "
      "--out temps\n"
      "  rill train --data idx:/usr/share/datasets/fashion-mnist --layer s4d --out fashion\n"
      "  rill train --data text:data/kjv.txt --out run --resume");
  commands.emplace_back(command, [flags] { return run_train(*flags); });
}

}  // namespace rill::cli
