#include <rill/core/check.h>
#include <rill/core/state.h>

#include <algorithm>
#include <cstring>

namespace rill {
namespace {

constexpr const char* kVersion = "1";

std::size_t row_bytes(const FieldSpec& field) {
  return static_cast<std::size_t>(field.shape.numel()) * size_of(field.dtype);
}

}  // namespace

std::size_t StateSpec::bytes() const {
  std::size_t sum = 0;
  for (const FieldSpec& field : fields) sum += row_bytes(field);
  return sum;
}

void StateSpec::append(const StateSpec& other, const std::string& prefix) {
  for (FieldSpec field : other.fields) {
    field.name = prefix + field.name;
    fields.push_back(std::move(field));
  }
}

State::State(const State& other) : spec_(other.spec_), batch_(other.batch_) {
  for (const Tensor& field : other.fields_) fields_.push_back(field.clone());
}

State& State::operator=(const State& other) {
  if (this != &other) *this = State(other);
  return *this;
}

State State::fresh(const StateSpec& spec, std::int64_t batch) {
  check(batch >= 0, ErrorCode::kShape, "State::fresh: a batch of at least 0 was expected, {} came.",
        batch);
  State state;
  state.spec_ = spec;
  state.batch_ = batch;
  for (const FieldSpec& field : spec.fields)
    state.fields_.push_back(Tensor::full(field.shape.prepend(batch), field.dtype, field.fresh));
  return state;
}

std::size_t State::bytes() const {
  std::size_t sum = 0;
  for (const Tensor& field : fields_) sum += field.bytes();
  return sum;
}

const Tensor& State::at(std::string_view name) const {
  for (std::size_t i = 0; i < fields_.size(); ++i)
    if (spec_.fields[i].name == name) return fields_[i];
  fail(ErrorCode::kState, "State: there is no field '{}' in a state of '{}'.", name, spec_.layer);
}

State State::select(std::span<const std::int64_t> rows) const {
  for (const std::int64_t row : rows)
    check(row >= 0 && row < batch_, ErrorCode::kState,
          "State::select: a row in [0, {}) was expected, {} came.", batch_, row);
  State result = fresh(spec_, static_cast<std::int64_t>(rows.size()));
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const std::size_t bytes = row_bytes(spec_.fields[f]);
    for (std::size_t i = 0; i < rows.size(); ++i)
      std::memcpy(
          static_cast<char*>(result.fields_[f].raw()) + i * bytes,
          static_cast<const char*>(fields_[f].raw()) + static_cast<std::size_t>(rows[i]) * bytes,
          bytes);
  }
  return result;
}

State State::gather(std::span<const State> states) {
  check(!states.empty(), ErrorCode::kState, "State::gather: at least one state was expected.");
  std::int64_t batch = 0;
  for (const State& state : states) {
    state.check_fits(states[0].spec_, state.batch_, "State::gather");
    batch += state.batch_;
  }
  State result = fresh(states[0].spec_, batch);
  for (std::size_t f = 0; f < result.fields_.size(); ++f) {
    char* out = static_cast<char*>(result.fields_[f].raw());
    for (const State& state : states) {
      std::memcpy(out, state.fields_[f].raw(), state.fields_[f].bytes());
      out += state.fields_[f].bytes();
    }
  }
  return result;
}

State State::to(Device device) const {
  State result = *this;
  for (Tensor& field : result.fields_) field = field.to(device);
  return result;
}

void State::check_fits(const StateSpec& spec, std::int64_t batch, std::string_view op) const {
  check(spec_.layer == spec.layer && fields_.size() == spec.fields.size(), ErrorCode::kState,
        "{}: a state of '{}' with {} fields was expected, one of '{}' with {} came.", op,
        spec.layer, spec.fields.size(), spec_.layer, fields_.size());
  check(batch_ == batch, ErrorCode::kState, "{}: a state of {} rows was expected, one of {} came.",
        op, batch, batch_);
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const FieldSpec& field = spec.fields[f];
    check(spec_.fields[f].name == field.name && fields_[f].dtype() == field.dtype &&
              fields_[f].shape() == field.shape.prepend(batch),
          ErrorCode::kState, "{}: state field {} is {} {} {}, {} {} {} came.", op, f, field.name,
          name_of(field.dtype), to_string(field.shape.prepend(batch)), spec_.fields[f].name,
          name_of(fields_[f].dtype()), to_string(fields_[f].shape()));
  }
}

void State::save(TensorWriter& writer, const std::string& prefix) const {
  writer.text(prefix + "version", kVersion);
  writer.text(prefix + "layer", spec_.layer);
  writer.text(prefix + "batch", std::to_string(batch_));
  for (std::size_t f = 0; f < fields_.size(); ++f)
    writer.tensor(prefix + spec_.fields[f].name, fields_[f]);
}

State State::load(const TensorReader& reader, const StateSpec& spec, const std::string& prefix) {
  check(reader.has_text(prefix + "version") && reader.has_text(prefix + "layer"), ErrorCode::kState,
        "State::load: a saved state was expected, this file holds none.");
  check(reader.text(prefix + "version") == kVersion, ErrorCode::kState,
        "State::load: version {} of the state format was expected, version {} came.", kVersion,
        reader.text(prefix + "version"));
  check(reader.text(prefix + "layer") == spec.layer, ErrorCode::kState,
        "State::load: a state of '{}' was expected, one of '{}' came.", spec.layer,
        reader.text(prefix + "layer"));
  State state;
  state.spec_ = spec;
  for (std::size_t f = 0; f < spec.fields.size(); ++f) {
    const FieldSpec& field = spec.fields[f];
    check(reader.has_tensor(prefix + field.name), ErrorCode::kState,
          "State::load: the field '{}' is missing.", field.name);
    Tensor value = reader.tensor(prefix + field.name);
    check(value.rank() >= 1, ErrorCode::kState, "State::load: the field '{}' has no batch axis.",
          field.name);
    if (f == 0) state.batch_ = value.size(0);
    check(value.dtype() == field.dtype && value.shape() == field.shape.prepend(state.batch_),
          ErrorCode::kState, "State::load: the field '{}' is {} {}, {} {} came.", field.name,
          name_of(field.dtype), to_string(field.shape.prepend(state.batch_)),
          name_of(value.dtype()), to_string(value.shape()));
    state.fields_.push_back(std::move(value));
  }
  if (spec.fields.empty() && reader.has_text(prefix + "batch"))
    state.batch_ = std::strtoll(reader.text(prefix + "batch").c_str(), nullptr, 10);
  return state;
}

}  // namespace rill
