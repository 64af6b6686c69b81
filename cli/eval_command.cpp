// rill eval, rill logits, rill info, rill layers
#include "common.h"

#include <rill/core/check.h>
#include <rill/io/npy.h>
#include <rill/train/evaluate.h>

#include <rill/core/format.h>

#include <cmath>
#include <cstring>
#include <optional>

namespace rill::cli {
namespace {

using nlohmann::json;

struct EvalFlags {
  Common common;
  std::string out, data, mode = "parallel", bytes, file;
};

std::unique_ptr<Dataset> data_of(const Model& model, const std::string& given) {
  const ModelConfig& config = model.config();
  const std::string spec = given.empty() ? config.data : given;
  check(!spec.empty(), ErrorCode::kConfig,
        "eval: config.json does not say what the model was trained on; give --data.");
  DatasetOptions options{
      .task = config.task, .task_given = true, .dtype = model.dtype(), .trained = &config};
  for (const std::int64_t column : config.target_columns)
    options.target_columns.push_back(std::to_string(column));
  return open_dataset(spec, options);
}

int run_eval(const EvalFlags& flags) {
  const EvalMode mode = EvalMode::parse(flags.mode);
  const auto model = flags.common.load(flags.out);
  const auto data = data_of(*model, flags.data);
  Exec exec(flags.common.exec_options());
  std::optional<Progress> progress;
  const char* unit = model->config().task == Task::kClassify        ? "sequences"
                     : model->config().task == Task::kLanguageModel ? "bytes"
                                                                    : "rows";
  const auto show = [&](std::int64_t done, std::int64_t total) {
    if (done == 0) progress.emplace(unit, static_cast<double>(total));
    progress->update(static_cast<double>(done));
  };
  const EvalResult result = evaluate(exec, *model, *data, mode, 0, show);
  progress.reset();
  if (flags.common.json) {
    print_json({{"loss", result.loss},
                {"unit", result.unit},
                {"tokens", result.tokens},
                {"accuracy", std::isnan(result.accuracy) ? json() : json(result.accuracy)},
                {"mode", result.mode},
                {"split", result.split}});
    return kSuccess;
  }
  print_to(stdout, "{} {:.6f} {} over {} predictions, mode {}{}\n", result.split, result.loss,
           result.unit, result.tokens, result.mode,
           std::isnan(result.accuracy) ? "" : formatted(", accuracy {:.4f}", result.accuracy));
  return kSuccess;
}

int run_logits(const EvalFlags& flags) {
  const EvalMode mode = EvalMode::parse(flags.mode);
  const auto model = flags.common.load(flags.out);
  check(model->config().task == Task::kLanguageModel, ErrorCode::kConfig,
        "logits: a language model was expected, {} holds one of the task {}.", flags.out,
        to_string(model->config().task));
  const Tensor bytes = read_bytes_file(flags.bytes);
  const std::int64_t length = bytes.numel();
  const std::int64_t vocabulary = model->config().vocab_size;
  Exec exec(flags.common.exec_options());
  const Tensor logits = Tensor::empty({length, vocabulary}, DType::kFloat32);
  State state = model->initial_state(exec, 1);
  {
    Progress progress("bytes", static_cast<double>(length));
    progress.update(0);
    run_mode(exec, *model, bytes.view({1, length}), state, mode,
             [&](std::int64_t first, const Tensor& y) {
               const Tensor near = y.to(Device{});
               std::memcpy(logits.data<float>() + first * vocabulary, near.raw(), near.bytes());
               progress.update(static_cast<double>(first + y.size(1)));
             });
  }
  write_npy(flags.file, logits);
  print_to(stderr, "{}: float32 [{}, {}]\n", flags.file, length, vocabulary);
  return kSuccess;
}

int run_info(const EvalFlags& flags) {
  const auto model = load_model(flags.out);
  const ModelConfig& config = model->config();
  const StateSpec spec = model->state_spec();
  if (flags.common.json) {
    json fields = json::array();
    for (const FieldSpec& field : spec.fields)
      fields.push_back({{"name", field.name},
                        {"shape", field.shape.extents()},
                        {"dtype", name_of(field.dtype)}});
    print_json(
        {{"layer", config.layer},
         {"family", find_layer_type(config.layer).family},
         {"task", to_string(config.task)},
         {"hidden_size", config.hidden_size},
         {"num_hidden_layers", config.num_hidden_layers},
         {"vocab_size", config.task == Task::kLanguageModel ? json(config.vocab_size) : json()},
         {"parameters", model->parameter_count()},
         {"state_bytes", spec.bytes()},
         {"flops_per_token", model->flops_per_token()},
         {"data", config.data},
         {"state", fields}});
    return kSuccess;
  }
  print_to(
      stdout,
      "layer       {} ({})\ntask        {}\nwidth       {}\nblocks      {}\nparameters  {}\nstate  "
      "     {} a stream\n"
      "step        {} floating-point operations\ndata        {}\n",
      config.layer, find_layer_type(config.layer).family, to_string(config.task),
      config.hidden_size, config.num_hidden_layers, model->parameter_count(),
      short_bytes(static_cast<double>(spec.bytes())), short_number(model->flops_per_token()),
      config.data.empty() ? "unknown" : config.data);
  return kSuccess;
}

// A bound in the option's own type; null where it has none.
json bound_json(const OptionSpec& spec, double bound) {
  if (spec.default_value.index() == 2) return bound;
  if (spec.default_value.index() != 1) return nullptr;
  constexpr double kLargest = 9223372036854774784.0;  // of the doubles below 2^63
  return static_cast<std::int64_t>(std::clamp(bound, -kLargest, kLargest));
}

json option_json(const OptionSpec& spec) {
  return {
      {"name", spec.name},
      {"type", spec.type()},
      {"default", std::visit([](const auto& value) { return json(value); }, spec.default_value)},
      {"min", bound_json(spec, spec.min)},
      {"max", bound_json(spec, spec.max)},
      {"choices", spec.choices},
      {"help", spec.help}};
}

int run_layers(const EvalFlags& flags, std::int64_t width) {
  json all = json::array();
  for (const LayerType& type : layer_types()) {
    const auto layer = make_layer(type.name, width);
    json options = json::array();
    for (const OptionSpec& spec : type.options) options.push_back(option_json(spec));
    all.push_back({{"name", type.name},
                   {"family", type.family},
                   {"flags",
                    {{"stepper", type.flags.stepper},
                     {"chunkable", type.flags.chunkable},
                     {"resets", type.flags.resets},
                     {"sequential", type.flags.sequential}}},
                   {"options", options},
                   {"width", width},
                   {"params", layer->parameter_count()},
                   {"state_bytes", layer->state_spec().bytes()},
                   {"flops_per_token", layer->flops_per_token()}});
    if (flags.common.json) continue;
    print_to(stdout, "{:<10} {:<17} {:>10} parameters, {:>10} of state at width {}\n", type.name,
             type.family, layer->parameter_count(),
             short_bytes(static_cast<double>(layer->state_spec().bytes())), width);
    for (const OptionSpec& spec : type.options) {
      std::string choices;
      for (const std::string& choice : spec.choices)
        choices += (choices.empty() ? " one of " : ", ") + choice;
      print_to(stdout, "    --set {}={}  {}{}\n", spec.name, option_json(spec)["default"].dump(),
               spec.help, choices);
    }
  }
  if (flags.common.json) print_json(all);
  return kSuccess;
}

}  // namespace

void add_eval(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = app.add_subcommand("eval", "Loss on held-out data, in either mode");
  flags->common.add_to(*command, true);
  command->add_option("OUT", flags->out, "Folder of a model")->required();
  command->add_option("--data", flags->data, "Other data than it was trained on");
  command->add_option("--mode", flags->mode, "parallel, step or chunk:K")->capture_default_str();
  command->footer(
      "Examples:\n  rill eval run\n  rill eval run --mode step --json\n  rill eval run --mode "
      "chunk:17 --data text:other.txt");
  commands.emplace_back(command, [flags] { return run_eval(*flags); });
}

void add_logits(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command =
      app.add_subcommand("logits", "Logits of a language model over the bytes of a file, as .npy");
  flags->common.add_to(*command, false);
  command->add_option("OUT", flags->out, "Folder of a model")->required();
  command->add_option("--bytes", flags->bytes, "File to read")->required();
  command->add_option("--mode", flags->mode, "parallel, step or chunk:K")->capture_default_str();
  command->add_option("--out", flags->file, "float32 [T, vocabulary], row t after bytes 0..t")
      ->required();
  command->footer(
      "Examples:\n  rill logits run --bytes verse.txt --out logits.npy\n  rill logits run --bytes "
      "verse.txt --mode step --out steps.npy");
  commands.emplace_back(command, [flags] { return run_logits(*flags); });
}

void add_info(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<EvalFlags>();
  CLI::App* command = app.add_subcommand("info", "What a model is made of");
  flags->common.add_to(*command, true);
  command->add_option("OUT", flags->out, "Folder of a model")->required();
  command->footer("Examples:\n  rill info run\n  rill info run --json");
  commands.emplace_back(command, [flags] { return run_info(*flags); });
}

void add_layers(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<EvalFlags>();
  auto width = std::make_shared<std::int64_t>(128);
  CLI::App* command =
      app.add_subcommand("layers", "All layers with their options, parameters and state");
  flags->common.add_to(*command, true);
  command->add_option("--width", *width, "Width at which sizes are given")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  command->footer("Examples:\n  rill layers\n  rill layers --json --width 256");
  commands.emplace_back(command, [flags, width] { return run_layers(*flags, *width); });
}

}  // namespace rill::cli
