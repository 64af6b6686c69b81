#include <rill/core/check.h>
#include <rill/model/model.h>
#include <rill/train/evaluate.h>
#include <rill/train/objective.h>
#include <rill/train/run_folder.h>
#include <rill/train/schedule.h>
#include <rill/train/trainer.h>

#include <chrono>
#include <cmath>
#include <optional>

namespace rill {
namespace {

// A loss over fewer images than these would say little.
constexpr std::int64_t kFewestSequences = 64;

double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Model on_device(const Exec& exec, Model model) {
  model.to(exec.device());
  return model;
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
        model_(on_device(exec, Model(config, exec.dtype(), options.seed))),
        adam_([this](const ParameterVisitor& visitor) { model_.visit_parameters(visitor); },
              options.adam),
        state_(model_.initial_state(exec, options.batch)) {}

  TrainResult go(bool resume) {
    resumed_ = resume && load();
    try {
      folder_.create(to_json(model_.config()));
      folder_.open_log(step_);
      // Of step 0 at once: what the run is survives from here on, and a full disk shows.
      if (!resumed_) {
        folder_.put_weights_aside(hooks_.remark);
        save_checkpoint();
      }
      return loop();
    } catch (...) {
      if (!resumed_ && step_ == 0) folder_.remove_made();
      throw;
    }
  }

 private:
  TrainResult loop() {
    started_ = now_seconds() - seconds_;
    if (step_ > 0 && eval_due()) heldout_loss();  // was it stopped in there, it is not in the log
    while (!finished() && !stopping()) {
      one_step();
      // The held-out loss first: a checkpoint finds in the log what belongs before it.
      if (eval_due()) heldout_loss();
      if (step_ % options_.checkpoint_every == 0 && !finished()) save();
    }
    // Before the weights are replaced: where it is not finite, the last ones stand.
    const std::optional<double> heldout = finished() ? heldout_loss() : std::nullopt;
    save();
    const double trained = static_cast<double>(step_ - first_step_) * tokens_per_step();
    return {step_, seconds_, trained / std::max(1e-9, seconds_ - first_seconds_),
            !heldout.has_value(), heldout.value_or(std::numeric_limits<double>::quiet_NaN())};
  }

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
  bool eval_due() const { return step_ % eval_interval() == 0 && !finished(); }

  // Ends the run, with the step and with what stands.
  [[noreturn]] void diverged(std::int64_t step, const std::string& what) const {
    fail(ErrorCode::kValue, "train: step {}: {}; a smaller learning rate may help. {}", step, what,
         !resumed_ && step_ == 0
             ? "Nothing was saved."
             : formatted("The checkpoint of step {} is untouched.", saved_step_));
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
    if (!std::isfinite(loss) || !std::isfinite(norm))
      diverged(step_ + 1,
               formatted("the loss is {} and the norm of its gradient {}", std::abs(loss), norm));
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

  // Of the log where it is there already: a finished run that is resumed adds no second line. None
  // where it was stopped.
  std::optional<double> heldout_loss() {
    if (const auto logged = folder_.logged_heldout(step_)) return logged;
    const double before = now_seconds();
    std::int64_t limit = options_.eval_tokens;
    if (limit > 0 && model_.config().task == Task::kClassify)
      limit = std::max(limit, kFewestSequences * data_.max_length());
    const EvalResult result = evaluate(exec_, model_, data_, {}, limit, nullptr, hooks_.stop);
    const double after = now_seconds();
    started_ += after - before;  // evaluation is not training time
    if (result.stopped) return std::nullopt;
    if (!std::isfinite(result.loss))
      diverged(step_, formatted("the held-out loss is {}", std::abs(result.loss)));  // -nan is nan
    record({step_, "heldout", result.loss, 0, 0,
            static_cast<double>(result.steps) / std::max(1e-9, after - before), seconds_,
            peak_rss_bytes()});
    return result.loss;
  }

  void record(const TrainRecord& line) {
    folder_.log(line);
    if (hooks_.record) hooks_.record(line);
  }

  void save() {
    const double before = now_seconds();
    save_checkpoint();
    save_model(model_, folder_.path());
    started_ += now_seconds() - before;
  }

  void save_checkpoint() {
    CheckpointWriter writer;
    save_position({step_, time_, seconds_}, writer);
    writer.text("rill.config", to_json(model_.config()));
    writer.text("rill.options", options_.to_json());
    writer.text("rill.data", fingerprint_);
    model_.visit_parameters([&](const std::string& name, const Tensor& value, ParameterGroup) {
      writer.tensor("model." + name, value);
    });
    adam_.save(writer);
    state_.save(writer);
    if (!writer.fault().empty()) diverged(step_, writer.fault());
    folder_.save_checkpoint(step_, writer, options_.keep_checkpoints);
    saved_step_ = step_;
  }

  // False where there is no whole checkpoint.
  bool load() {
    const std::optional<SafetensorsReader> reader = folder_.last_checkpoint(hooks_.remark);
    if (!reader) return false;
    const std::string trained_on = reader->has_text("rill.data") ? reader->text("rill.data") : "";
    check(trained_on.empty() || fingerprint_.empty() || trained_on == fingerprint_,
          ErrorCode::kConfig,
          "train: the run in {} was trained on {}, {} came; a run is resumed on its own data.",
          folder_.path(), trained_on, fingerprint_);
    const RunPosition position = load_run(*reader, model_, adam_, state_);
    state_ = state_.to(exec_.device());
    step_ = first_step_ = saved_step_ = position.step;
    time_ = position.time;
    seconds_ = first_seconds_ = position.seconds;
    return true;
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
  std::int64_t step_ = 0, first_step_ = 0, saved_step_ = 0;
  std::int64_t time_ = 0;  // steps since the carried state was fresh
  double seconds_ = 0, first_seconds_ = 0;
  double started_ = 0;
  bool resumed_ = false;
};

}  // namespace

TrainResult train(Exec& exec, const ModelConfig& config, const Dataset& data,
                  const TrainOptions& options, const std::string& out, bool resume,
                  const TrainHooks& hooks) {
  options.validate();
  check(options.length <= data.max_length(), ErrorCode::kConfig,
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
