#include <rill/core/check.h>
#include <rill/core/device_queue.h>
#include <rill/core/state.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace rill {
namespace {

constexpr const char* kVersion = "1";
constexpr std::int64_t kMostCounted = std::int64_t{1} << 62;

std::size_t row_bytes(const FieldSpec& field) {
  return static_cast<std::size_t>(field.shape.numel()) * size_of(field.dtype);
}

std::int64_t parse_batch(const std::string& text) {
  std::int64_t batch = -1;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, batch);
  check(error == std::errc{} && rest == end && batch >= 0, ErrorCode::kState,
        "State::load: the batch is a number of at least 0, '{}' came.", text);
  return batch;
}

// Fields of a larger model are no reason to read its first ones: the rest of the stack would be
// missing.
void check_no_other_fields(const TensorReader& reader, const StateSpec& spec,
                           const std::string& prefix) {
  for (const std::string& name : reader.tensor_names()) {
    if (!name.starts_with(prefix)) continue;
    const auto is_field = [&](const FieldSpec& field) { return prefix + field.name == name; };
    check(std::ranges::any_of(spec.fields, is_field), ErrorCode::kState,
          "State::load: a state with {} fields was expected, one with the field '{}' besides came: "
          "it is another model's.",
          spec.fields.size(), name.substr(prefix.size()));
  }
}

// Infinities are legal: max-stabilised recurrences start at one.
template <class T>
bool holds_nan(const Tensor& field) {
  return std::ranges::any_of(field.span<T>(), [](T value) { return std::isnan(value); });
}
bool holds_nan(const Tensor& field) {
  if (field.dtype() == DType::kFloat32) return holds_nan<float>(field);
  return field.dtype() == DType::kFloat64 && holds_nan<double>(field);
}

// Whole numbers count steps; more are added to them, and the sum must not overflow.
void check_counts(const Tensor& field, const std::string& name) {
  if (field.dtype() != DType::kInt64) return;
  for (const std::int64_t value : field.span<std::int64_t>())
    check(value >= 0 && value <= kMostCounted, ErrorCode::kState,
          "State::load: the field '{}' holds numbers from 0 to {}, {} came.", name, kMostCounted,
          value);
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

State State::empty(const StateSpec& spec, std::int64_t batch, Device device) {
  State state;
  state.spec_ = spec;
  state.batch_ = batch;
  for (const FieldSpec& field : spec.fields)
    state.fields_.push_back(Tensor::empty(field.shape.prepend(batch), field.dtype, device));
  return state;
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
  State result = empty(spec_, static_cast<std::int64_t>(rows.size()), device());
  for (std::size_t f = 0; f < fields_.size(); ++f) {
    const std::size_t bytes = row_bytes(spec_.fields[f]);
    const auto* from = static_cast<const char*>(fields_[f].raw());
    auto* to = static_cast<char*>(result.fields_[f].raw());
    for (std::size_t i = 0; i < rows.size(); ++i)
      copy_bytes(device(), to + i * bytes, device(),
                 from + static_cast<std::size_t>(rows[i]) * bytes, bytes);
  }
  return result;
}

State State::gather(std::span<const State> states) {
  check(!states.empty(), ErrorCode::kState, "State::gather: at least one state was expected.");
  std::int64_t batch = 0;
  for (const State& state : states) {
    state.check_fits(states[0].spec_, state.batch_, "State::gather");
    check(state.device() == states[0].device(), ErrorCode::kState,
          "State::gather: states on one device were expected, on {} and {} they came.",
          to_string(states[0].device()), to_string(state.device()));
    batch += state.batch_;
  }
  State result = empty(states[0].spec_, batch, states[0].device());
  for (std::size_t f = 0; f < result.fields_.size(); ++f) {
    char* out = static_cast<char*>(result.fields_[f].raw());
    for (const State& state : states) {
      const Tensor& field = state.fields_[f];
      copy_bytes(result.device(), out, field.device(), field.raw(), field.bytes());
      out += field.bytes();
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

void State::check_on(Device device, std::string_view op) const {
  check(fields_.empty() || this->device() == device, ErrorCode::kDevice,
        "{}: a state on {} was expected, one on {} came.", op, to_string(device),
        to_string(this->device()));
}

void State::save(TensorWriter& writer, const std::string& prefix) const {
  writer.text(prefix + "version", kVersion);
  writer.text(prefix + "layer", spec_.layer);
  writer.text(prefix + "batch", std::to_string(batch_));
  for (std::size_t f = 0; f < fields_.size(); ++f)
    writer.tensor(prefix + spec_.fields[f].name, fields_[f]);
}

State State::load(const TensorReader& reader, const StateSpec& spec, const std::string& prefix) {
  check(reader.has_text(prefix + "version") && reader.has_text(prefix + "layer") &&
            reader.has_text(prefix + "batch"),
        ErrorCode::kState, "State::load: a saved state was expected, this file holds none.");
  check(reader.text(prefix + "version") == kVersion, ErrorCode::kState,
        "State::load: version {} of the state format was expected, version {} came.", kVersion,
        reader.text(prefix + "version"));
  check(reader.text(prefix + "layer") == spec.layer, ErrorCode::kState,
        "State::load: a state of '{}' was expected, one of '{}' came.", spec.layer,
        reader.text(prefix + "layer"));
  check_no_other_fields(reader, spec, prefix);
  State state;
  state.spec_ = spec;
  state.batch_ = parse_batch(reader.text(prefix + "batch"));
  for (const FieldSpec& field : spec.fields) {
    check(reader.has_tensor(prefix + field.name), ErrorCode::kState,
          "State::load: the field '{}' is missing.", field.name);
    Tensor value = reader.tensor(prefix + field.name);
    check(value.dtype() == field.dtype && value.shape() == field.shape.prepend(state.batch_),
          ErrorCode::kState, "State::load: the field '{}' is {} {}, {} {} came.", field.name,
          name_of(field.dtype), to_string(field.shape.prepend(state.batch_)),
          name_of(value.dtype()), to_string(value.shape()));
    check(!holds_nan(value), ErrorCode::kState, "State::load: the field '{}' holds a NaN.",
          field.name);
    check_counts(value, field.name);
    state.fields_.push_back(std::move(value));
  }
  return state;
}

}  // namespace rill
