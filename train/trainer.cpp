#include <rill/core/check.h>
#include <rill/io/safetensors.h>
#include <rill/io/text_file.h>
#include <rill/model/model.h>
#include <rill/train/evaluate.h>
#include <rill/train/objective.h>
#include <rill/train/run_folder.h>
#include <rill/train/saved_number.h>
#include <rill/train/schedule.h>
#include <rill/train/trainer.h>

#include <chrono>
#include <cmath>
#include <optional>

namespace rill {
namespace {

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Dropout draws by the run's own seed and steps; the caller's come back.
class DropoutScope {
 public:
  DropoutScope(Exec& exec, std::uint64_t seed)
      : exec_(exec), seed_(exec.seed()), step_(exec.step()), time_(exec.time()), ops_(exec) {
    exec.set_seed(seed);
    exec.set_op_number(0);
  }
  ~DropoutScope() {
    exec_.set_seed(seed_);
    exec_.set_step(step_);
    exec_.set_time(time_);
  }
  DropoutScope(const DropoutScope&) = delete;
  DropoutScope& operator=(const DropoutScope&) = delete;

 private:
  Exec& exec_;
  std::uint64_t seed_;
  std::int64_t step_, time_;
  OpNumberScope ops_;
};

// One run: everything that a checkpoint holds, and the loop over steps.
class Run {
 public:
  Run(Exec& exec, const ModelConfig& config, const Dataset& data, const TrainOptions& options,
      const std::string& out, const TrainHooks& hooks)
      : exec_(exec),
        data_(data),
        options_(options),
        hooks_(hooks),
        fingerprint_(data.fingerprint()),
        folder_(out),
        model_(config, exec.dtype(), options.seed),
        adam_([this](const ParameterVisitor& visitor) { model_.visit_parameters(visitor); },
              options.adam),
        state_(model_.initial_state(exec, options.batch)) {}

  TrainResult go(bool resume) {
    if (resume) load();
    folder_.create(to_json(model_.config()));
    folder_.open_log(step_);
    started_ = now_seconds() - seconds_;
    while (!finished() && !stopping()) {
      one_step();
      // The held-out loss first: a checkpoint finds in the log what belongs before it.
      if (step_ % eval_interval() == 0 && !finished()) heldout_loss();
      if (step_ % options_.checkpoint_every == 0 && !finished()) save();
    }
    save();
    const bool stopped = stopping() && !finished();
    const double heldout = stopped ? std::numeric_limits<double>::quiet_NaN() : heldout_loss();
    const double trained = static_cast<double>(step_ - first_step_) * tokens_per_step();
    return {step_, seconds_, trained / std::max(1e-9, seconds_ - first_seconds_), stopped, heldout};
  }

 private:
  bool stopping() const { return hooks_.stop && hooks_.stop->load(std::memory_order_relaxed); }
  double progress() const {
    const double by_steps =
        static_cast<double>(step_) / static_cast<double>(std::max<std::int64_t>(1, options_.steps));
    return options_.minutes > 0 ? seconds_ / (60 * options_.minutes) : by_steps;
  }
  bool finished() const { return options_.minutes > 0 ? progress() >= 1 : step_ >= options_.steps; }
  double tokens_per_step() const {
    return static_cast<double>(options_.batch * options_.length * options_.accumulate);
  }
  std::int64_t eval_interval() const {
    return options_.eval_every > 0 ? options_.eval_every
                                   : std::max<std::int64_t>(1, options_.steps / 10);
  }

  double lr_scale() const {
    // Of this step's end where steps are counted; the clock is read at its start.
    const double step = 1.0 / static_cast<double>(std::max<std::int64_t>(1, options_.steps));
    const double part = std::min(1.0, progress() + (options_.minutes > 0 ? 0.0 : step));
    return rate_at(part, options_.warmup, options_.final_lr);
  }

  void one_step() {
    const double before = now_seconds();
    double loss = 0;
    for (std::int64_t i = 0; i < options_.accumulate; ++i) {
      const std::int64_t index = step_ * options_.accumulate + i;
      exec_.set_step(index);
      const Batch batch = data_.train_batch(options_.seed, index, options_.batch, options_.length);
      if (!batch.continues) {
        state_ = model_.initial_state(exec_, options_.batch);
        time_ = 0;
      }
      exec_.set_time(time_);
      const double part = 1.0 / static_cast<double>(options_.accumulate);
      loss +=
          part * loss_and_gradients(exec_, model_, batch, state_, options_.time_chunk, tape_, part);
      time_ += options_.length;
    }
    exec_.set_time(0);
    const double norm = adam_.gradient_norm(exec_, tape_);
    check(std::isfinite(loss) && std::isfinite(norm), ErrorCode::kValue,
          "train: step {}: the loss is {} and the norm of its gradient {}; a smaller learning rate "
          "may help. The last "
          "checkpoint is untouched.",
          step_ + 1, loss, norm);
    const double scale = lr_scale();
    adam_.step(exec_, tape_, scale,
               options_.clip > 0 && norm > options_.clip ? options_.clip / norm : 1.0);
    tape_.clear();
    ++step_;
    const double after = now_seconds();
    seconds_ = after - started_;
    record({step_, "train", loss, options_.adam.lr * scale, norm,
            tokens_per_step() / std::max(1e-9, after - before), seconds_, peak_rss_bytes()});
  }

  // Of the log where it is there already: a finished run that is resumed adds no second line.
  double heldout_loss() {
    if (const auto logged = folder_.logged_heldout(step_)) return *logged;
    const double before = now_seconds();
    const EvalResult result = evaluate(exec_, model_, data_, {}, options_.eval_tokens);
    const double after = now_seconds();
    started_ += after - before;  // evaluation is not training time
    record({step_, "heldout", result.loss, 0, 0,
            static_cast<double>(result.tokens) / std::max(1e-9, after - before), seconds_,
            peak_rss_bytes()});
    return result.loss;
  }

  void record(const TrainRecord& line) {
    folder_.log(line);
    if (hooks_.record) hooks_.record(line);
  }

  void save() {
    const double before = now_seconds();
    SafetensorsWriter writer;
    writer.text("rill.checkpoint", "1");
    writer.text("rill.step", std::to_string(step_));
    writer.text("rill.time", std::to_string(time_));
    writer.text("rill.seconds", std::to_string(seconds_));
    writer.text("rill.options", options_.to_json());
    writer.text("rill.data", fingerprint_);
    model_.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      writer.tensor("model." + name, value);
    });
    adam_.save(writer);
    state_.save(writer);
    folder_.save_checkpoint(step_, writer, options_.keep_checkpoints);
    save_model(model_, folder_.path());
    started_ += now_seconds() - before;
  }

  void load() {
    const std::optional<SafetensorsReader> reader = folder_.last_checkpoint();
    if (!reader) return;
    const std::string trained_on = reader->has_text("rill.data") ? reader->text("rill.data") : "";
    check(trained_on.empty() || fingerprint_.empty() || trained_on == fingerprint_,
          ErrorCode::kConfig,
          "train: the run in {} was trained on {}, {} came; a run is resumed on its own data.",
          folder_.path(), trained_on, fingerprint_);
    load_parameters(model_, *reader, "model.");
    adam_.load(*reader);
    state_ = State::load(*reader, model_.state_spec());
    state_.check_fits(model_.state_spec(), options_.batch, "train --resume");
    step_ = first_step_ = number_from<std::int64_t>(*reader, "rill.step");
    time_ = number_from<std::int64_t>(*reader, "rill.time");
    seconds_ = first_seconds_ = number_from<double>(*reader, "rill.seconds");
  }

  Exec& exec_;
  const Dataset& data_;
  TrainOptions options_;
  const TrainHooks& hooks_;
  std::string fingerprint_;
  RunFolder folder_;
  Model model_;
  AdamW adam_;
  State state_;
  Tape tape_;
  std::int64_t step_ = 0, first_step_ = 0;
  std::int64_t time_ = 0;  // steps since the carried state was fresh
  double seconds_ = 0, first_seconds_ = 0;
  double started_ = 0;
};

}  // namespace

TrainResult train(Exec& exec, const ModelConfig& config, const Dataset& data,
                  const TrainOptions& options, const std::string& out, bool resume,
                  const TrainHooks& hooks) {
  check(options.batch >= 1 && options.accumulate >= 1 && options.steps >= 0 &&
            options.checkpoint_every >= 1,
        ErrorCode::kConfig,
        "train: batch, accumulate and checkpoint_every are at least 1 and steps at least 0; {}, "
        "{}, {} and {} came.",
        options.batch, options.accumulate, options.checkpoint_every, options.steps);
  check(options.length >= 1 && options.length <= data.max_length(), ErrorCode::kConfig,
        "train: these data give sequences of 1 to {} steps, a length of {} came.",
        data.max_length(), options.length);
  RunFolder::check_free(out, resume);
  // What the data refuse, they refuse before the folder is made.
  data.train_batch(options.seed, 0, options.batch, options.length);
  const DropoutScope dropout(exec, options.seed);
  Run run(exec, config, data, options, out, hooks);
  return run.go(resume);
}

}  // namespace rill
