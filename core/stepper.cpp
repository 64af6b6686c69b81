#include <rill/core/check.h>
#include <rill/core/device_queue.h>
#include <rill/core/float_mode.h>
#include <rill/core/recorder.h>
#include <rill/core/step_graphs.h>
#include <rill/core/stepper.h>
#include <rill/core/tape.h>

#include <cstring>

namespace rill {

const char* to_string(StepStatus status) noexcept {
  switch (status) {
    case StepStatus::kOk:
      return "ok";
    case StepStatus::kEmpty:
      return "the stepper is empty";
    case StepStatus::kInput:
      return "the input's shape or type does not fit";
    case StepStatus::kState:
      return "the state is another layer's or has another batch";
    case StepStatus::kOutput:
      return "the output's shape or type does not fit";
    case StepStatus::kDevice:
      return "the device failed";
  }
  return "?";
}

struct Stepper::Program {
  std::int64_t batch = 0;
  Shape input_shape, output_shape;
  StateSpec spec;
  // What every step compares with, counted once: a step of a small layer takes some fifty
  // nanoseconds.
  std::size_t input_bytes = 0, output_bytes = 0;
  std::vector<std::int64_t> field_numel;
  Tensor input, output;
  std::vector<Tensor> parameters;
  Recorder recorder;
  // Fields that the recorded step left in other memory than it found them in: copied back after
  // every step.
  std::vector<std::pair<int, Tensor>> rebound;

  std::shared_ptr<DeviceQueue> queue;  // null on the CPU
  std::unique_ptr<StepGraphs> graphs;
  std::string error;

  Device device() const { return queue ? queue->device() : Device{}; }
  void point_at(std::span<Tensor> fields);
  void run(std::span<Tensor> fields, const DeviceLaunch* launch);
  void run_on_device(const Place& x, std::span<Tensor> fields, const Place& y);
};

// Where x comes from or y goes to.
struct Stepper::Place {
  Device device;
  void* data;
};

namespace {

constexpr Shape kNoShape{};  // of a stepper that is empty

// While alive, an Exec records; a tape and training are out of the way.
class RecordScope {
 public:
  RecordScope(Exec& exec, Recorder& recorder)
      : exec_(exec), off_(exec, nullptr), ops_(exec), inference_(exec, false) {
    exec.set_recorder(&recorder);
  }
  ~RecordScope() { exec_.set_recorder(nullptr); }

 private:
  Exec& exec_;
  TapeScope off_;
  OpNumberScope ops_;
  TrainingScope inference_;
};

Shape without_time(const Shape& shape) {
  std::vector<std::int64_t> extents(shape.extents().begin(), shape.extents().end());
  extents.erase(extents.begin() + 1);
  return Shape(extents);
}

}  // namespace

Stepper::Stepper() noexcept = default;
Stepper::Stepper(Stepper&&) noexcept = default;
Stepper& Stepper::operator=(Stepper&&) noexcept = default;
Stepper::~Stepper() = default;

Stepper Stepper::record(Exec& exec, const Shape& input, DType input_dtype, const StateSpec& spec,
                        std::vector<Tensor> parameters, const StepFunction& function) {
  check(input.rank() >= 2 && input[1] == 1, ErrorCode::kShape,
        "Stepper: an input [batch, 1, ...] was expected, {} came.", to_string(input));
  Stepper stepper;
  stepper.program_ = std::make_unique<Program>();
  Program& program = *stepper.program_;
  program.batch = input[0];
  program.spec = spec;
  program.parameters = std::move(parameters);
  program.input_shape = without_time(input);
  program.input = Tensor::zeros(input, input_dtype, exec.device());
  State placeholder = State::fresh(spec, program.batch).to(exec.device());
  program.recorder.mark_stream(program.input, -1);
  for (std::size_t f = 0; f < spec.fields.size(); ++f)
    program.recorder.mark_stream(placeholder.fields()[f], static_cast<int>(f));
  std::vector<Tensor> fields(placeholder.fields().begin(), placeholder.fields().end());
  {
    const RecordScope scope(exec, program.recorder);
    program.output = function(exec, program.input, fields);
  }
  program.queue = exec.queue();
  if (program.queue) program.graphs = std::make_unique<StepGraphs>(*program.queue);
  program.output_shape = without_time(program.output.shape());
  program.input_bytes = program.input.bytes();
  program.output_bytes = program.output.bytes();
  for (const Tensor& field : placeholder.fields()) program.field_numel.push_back(field.numel());
  for (std::size_t f = 0; f < fields.size(); ++f)
    if (fields[f].raw() != placeholder.fields()[f].raw())
      program.rebound.emplace_back(static_cast<int>(f), fields[f]);
  return stepper;
}

// Patches the pointers to the state.
void Stepper::Program::point_at(std::span<Tensor> fields) {
  std::vector<std::uintptr_t>& arguments = recorder.arguments();
  for (const Recorder::Patch& patch : recorder.patches())
    arguments[patch.word] =
        reinterpret_cast<std::uintptr_t>(fields[static_cast<std::size_t>(patch.buffer)].raw()) +
        patch.delta;
}

// From `input` to `output`; on a device by way of `launch`.
void Stepper::Program::run(std::span<Tensor> fields, const DeviceLaunch* launch) {
  const KernelContext context{nullptr, launch};
  const std::uintptr_t* arguments = recorder.arguments().data();
  for (const Recorder::Call& call : recorder.calls())
    call.invoke(call.kernel, arguments + call.offset, context);
  for (const auto& [f, tensor] : rebound)
    copy_bytes(device(), fields[static_cast<std::size_t>(f)].raw(), device(), tensor.raw(),
               tensor.bytes(), launch ? launch->stream : nullptr);
}

void Stepper::Program::run_on_device(const Place& x, std::span<Tensor> fields, const Place& y) {
  const DeviceStream stream = queue->launch().stream;
  copy_bytes(device(), input.raw(), x.device, x.data, input_bytes, stream);
  if (!graphs->run(fields)) {
    graphs->add(fields, [&](const DeviceLaunch& launch) {
      point_at(fields);
      run(fields, &launch);
    });
    graphs->run(fields);
  }
  copy_bytes(y.device, y.data, device(), output.raw(), output_bytes, stream);
}

StepStatus Stepper::step(const Tensor& x, State& state, const Tensor& y) noexcept {
  if (!program_) return StepStatus::kEmpty;
  const Program& program = *program_;
  const auto lies_well = [&](const Tensor& tensor) {
    return tensor.device() == Device{} || tensor.device() == program.device();
  };
  if (!x.defined() || x.dtype() != program.input.dtype() || x.shape() != program.input_shape ||
      !lies_well(x))
    return StepStatus::kInput;
  if (!y.defined() || y.dtype() != program.output.dtype() || y.shape() != program.output_shape ||
      !lies_well(y))
    return StepStatus::kOutput;
  return step_between({x.device(), x.raw()}, state, {y.device(), y.raw()});
}

StepStatus Stepper::step(std::span<const std::byte> x, State& state,
                         std::span<std::byte> y) noexcept {
  if (!program_) return StepStatus::kEmpty;
  if (x.size() != program_->input_bytes) return StepStatus::kInput;
  if (y.size() != program_->output_bytes) return StepStatus::kOutput;
  return step_between({{}, const_cast<std::byte*>(x.data())}, state, {{}, y.data()});
}

StepStatus Stepper::step_between(const Place& x, State& state, const Place& y) noexcept {
  Program& program = *program_;
  const auto fields = state.fields();
  if (state.batch() != program.batch || fields.size() != program.spec.fields.size() ||
      state.spec().layer != program.spec.layer)
    return StepStatus::kState;
  for (std::size_t f = 0; f < fields.size(); ++f)
    if (fields[f].dtype() != program.spec.fields[f].dtype ||
        fields[f].numel() != program.field_numel[f] || fields[f].device() != program.device())
      return StepStatus::kState;
  if (program.queue) {
    try {
      program.run_on_device(x, fields, y);
      return StepStatus::kOk;
    } catch (const std::exception& error) {
      if (program.error.empty()) program.error = error.what();
      return StepStatus::kDevice;
    }
  }
  program.point_at(fields);
  std::memcpy(program.input.raw(), x.data, program.input_bytes);
  const DenormalsAreZero mode;
  program.run(fields, nullptr);
  std::memcpy(y.data, program.output.raw(), program.output_bytes);
  return StepStatus::kOk;
}

std::int64_t Stepper::batch() const noexcept { return program_ ? program_->batch : 0; }
const Shape& Stepper::input_shape() const noexcept {
  return program_ ? program_->input_shape : kNoShape;
}
const Shape& Stepper::output_shape() const noexcept {
  return program_ ? program_->output_shape : kNoShape;
}
const StateSpec& Stepper::state_spec() const noexcept {
  static const StateSpec none;
  return program_ ? program_->spec : none;
}
const std::string& Stepper::error() const noexcept {
  static const std::string none;
  return program_ ? program_->error : none;
}
std::size_t Stepper::bytes() const noexcept {
  return program_ ? program_->recorder.owned_bytes() : 0;
}

}  // namespace rill
