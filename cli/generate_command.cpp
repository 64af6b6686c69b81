// rill generate: text step by step, in constant memory.
#include "common.h"

#include <rill/core/check.h>
#include <rill/io/safetensors.h>
#include <rill/model/sampler.h>

#include <rill/core/format.h>

#include <cstdio>
#include <cstdlib>

namespace rill::cli {
namespace {

struct GenerateFlags {
  Common common;
  std::string out, prompt, load_file, save_file;
  std::int64_t tokens = 200;
  SamplerOptions sampling{.temperature = 0.8};
  std::uint64_t seed = 0;
  CLI::App* app = nullptr;
};

constexpr std::int64_t kBytes = 256;  // tokens that can be printed

// One stream: model, state, sampler and the token that was given out but not yet read.
class Stream {
 public:
  Stream(const GenerateFlags& flags, const Model& model)
      : model_(model),
        exec_(flags.common.exec_options()),
        stepper_(model.prepare_step(exec_, 1)),
        state_(model.initial_state(exec_, 1)),
        sampler_(flags.sampling, flags.seed),
        token_(Tensor::empty({1}, DType::kInt32)),
        logits_(Tensor::empty({1, model.config().vocab_size}, DType::kFloat32)) {}

  void load(const std::string& file, const GenerateFlags& flags) {
    const SafetensorsReader reader = SafetensorsReader::open(file);
    state_ = State::load(reader, model_.state_spec()).to(exec_.device());
    state_.check_fits(model_.state_spec(), 1, "generate --load-state");
    const auto number = [&](const char* key) {
      const std::string text = reader.text(key);
      char* end = nullptr;
      const long long value = std::strtoll(text.c_str(), &end, 10);
      check(!text.empty() && *end == '\0', ErrorCode::kState,
            "generate: {} of {} is a number, '{}' came.", key, file, text);
      return value;
    };
    const auto seed = static_cast<std::uint64_t>(number("sampler.seed"));
    sampler_ = Sampler(flags.sampling, flags.app->count("--seed") > 0 ? flags.seed : seed);
    sampler_.set_position(static_cast<std::uint64_t>(number("sampler.position")));
    const long long pending = number("pending");
    check(pending >= 0 && pending < kBytes, ErrorCode::kState,
          "generate: the pending token of {} lies in [0, {}), {} came.", file, kBytes, pending);
    read(pending);
  }

  void save(const std::string& file) const {
    SafetensorsWriter writer;
    state_.save(writer);
    writer.text("sampler.seed", std::to_string(static_cast<std::int64_t>(sampler_.seed())));
    writer.text("sampler.position", std::to_string(sampler_.position()));
    writer.text("pending", std::to_string(pending_));
    writer.write(file);
  }

  // The prompt in parallel mode; its last logits are the first to sample from.
  void prefill(const std::string& prompt) {
    const Tensor bytes = Tensor::from(std::vector<std::uint8_t>(prompt.begin(), prompt.end()),
                                      {1, static_cast<std::int64_t>(prompt.size())});
    constexpr double kQuiet = 1.0;  // seconds: most prompts are read sooner
    Progress progress("bytes of the prompt", static_cast<double>(prompt.size()), kQuiet);
    progress.update(0);
    model_.forward_tiles(exec_, bytes, state_, 1024, [&](std::int64_t first, const Tensor& y) {
      progress.update(static_cast<double>(first + y.size(1)));
      logits_.copy_from(y.view({y.size(1), y.size(2)}).rows(y.size(1) - 1, 1));
    });
  }

  void read(std::int64_t token) {
    token_.data<std::int32_t>()[0] = static_cast<std::int32_t>(token);
    const StepStatus status = stepper_.step(token_, state_, logits_);
    check(status == StepStatus::kOk, ErrorCode::kState, "generate: {}. {}", to_string(status),
          stepper_.error());
  }

  std::int64_t next() {
    if (pending_ >= 0) read(pending_);
    pending_ = sampler_.sample(logits_.span<float>().first(kBytes));
    return pending_;
  }

  std::size_t state_bytes() const { return state_.bytes(); }

 private:
  const Model& model_;
  Exec exec_;
  Stepper stepper_;
  State state_;
  Sampler sampler_;
  Tensor token_, logits_;
  std::int64_t pending_ = -1;
};

int run_generate(const GenerateFlags& flags) {
  const bool loads = !flags.load_file.empty();
  check(loads || !flags.prompt.empty(), ErrorCode::kConfig,
        "generate: --prompt TEXT (at least one byte) or --load-state F was expected.");
  const auto model = flags.common.load(flags.out);
  const ModelConfig& config = model->config();
  check(config.task == Task::kLanguageModel, ErrorCode::kConfig,
        "generate: a language model over bytes was expected, {} holds a model of the task {}.",
        flags.out, to_string(config.task));
  // A larger vocabulary is one of bytes where Rill trained it on a text; others need a tokenizer.
  const bool of_bytes = config.vocab_size == kBytes ||
                        (config.vocab_size > kBytes && config.data.starts_with("text:"));
  check(of_bytes, ErrorCode::kConfig,
        "generate: a language model over the 256 bytes was expected, the one in {} has a "
        "vocabulary of {}.",
        flags.out, config.vocab_size);
  check(flags.save_file.empty() || flags.tokens > 0, ErrorCode::kConfig,
        "generate: --save-state needs at least one token.");
  Stream stream(flags, *model);
  if (loads) stream.load(flags.load_file, flags);
  if (!flags.prompt.empty()) stream.prefill(flags.prompt);
  const auto start = std::chrono::steady_clock::now();
  for (std::int64_t i = 0; i < flags.tokens; ++i) {
    const int byte = static_cast<int>(stream.next());
    check(std::fputc(byte, stdout) != EOF && std::fflush(stdout) == 0, ErrorCode::kSystem,
          "generate: byte {} cannot be written to stdout.", i);
  }
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (!flags.save_file.empty()) stream.save(flags.save_file);
  print_to(stderr, "\n{} tokens in {}, {} tokens/s; state {}\n", flags.tokens, short_time(seconds),
           short_number(static_cast<double>(flags.tokens) / std::max(1e-9, seconds)),
           short_bytes(static_cast<double>(stream.state_bytes())));
  return kSuccess;
}

}  // namespace

void add_generate(CLI::App& app, std::vector<std::pair<CLI::App*, Run>>& commands) {
  auto flags = std::make_shared<GenerateFlags>();
  CLI::App* command = app.add_subcommand("generate", "Text from a language model, step by step");
  flags->app = command;
  flags->common.add_to(*command, false);
  command->add_option("OUT", flags->out, "Folder of a model")->required();
  command->add_option("--prompt", flags->prompt, "Text to go on from");
  command->add_option("--tokens", flags->tokens, "Bytes to generate")
      ->check(NonNegative())
      ->capture_default_str();
  command->add_option("--temperature", flags->sampling.temperature, "0: always the likeliest byte")
      ->check(NonNegative())
      ->capture_default_str();
  command->add_option("--top-k", flags->sampling.top_k, "Choose among the K likeliest (0: all)")
      ->check(NonNegative())
      ->capture_default_str();
  command
      ->add_option("--top-p", flags->sampling.top_p,
                   "Choose among the fewest that reach this probability")
      ->check(Positive())
      ->check(Fraction())
      ->capture_default_str();
  command->add_option("--seed", flags->seed,
                      "Seed of the draws (default: 0, or the loaded state's)");
  command->add_option("--save-state", flags->save_file,
                      "Keep the stream's state, sampler and pending token in F");
  command->add_option("--load-state", flags->load_file, "Go on from F");
  command->footer(
      "Examples:\n  rill generate run --prompt \"In the beginning\" --tokens 500\n"
      "  rill generate run --prompt \"And\" --temperature 0 --save-state half.state\n"
      "  rill generate run --load-state half.state --tokens 50");
  commands.emplace_back(command, [flags] { return run_generate(*flags); });
}

}  // namespace rill::cli
