#include <rill/core/check.h>
#include <rill/train/fingerprint.h>
#include <rill/train/run_checkpoint.h>
#include <rill/train/saved_number.h>

#include <cmath>

namespace rill {
namespace {

constexpr const char* kHashKey = "rill.hash";

// Terms of a sum: the order in which tensors and texts come does not matter.
std::uint64_t hash_of_text(std::string_view key, std::string_view value) {
  return hash_of_bytes(value.data(), value.size(), hash_of_bytes(key.data(), key.size()));
}

std::uint64_t hash_of_tensor(std::string_view name, const Tensor& value) {
  return hash_of(value.to(Device{}), hash_of_bytes(name.data(), name.size()));
}

// The first element that a checkpoint may not hold; 0 where there is none.
template <class T>
double fault_in(const Tensor& value, bool infinities) {
  for (const T element : value.to(Device{}).template span<T>())
    if (infinities ? std::isnan(element) : !std::isfinite(element)) return element;
  return 0;
}

}  // namespace

void CheckpointWriter::tensor(std::string_view name, const Tensor& value) {
  if (fault_.empty() && is_floating(value.dtype())) {
    const bool infinities = !name.starts_with("model.") && !name.starts_with("adam.");
    const double fault = value.dtype() == DType::kFloat32
                             ? fault_in<float>(value, infinities)
                             : fault_in<double>(value.to(DType::kFloat64), infinities);
    if (fault != 0)
      fault_ =
          formatted("the tensor {} holds {}", name, std::isnan(fault) ? std::abs(fault) : fault);
  }
  writer_.tensor(name, value);
  hash_ += hash_of_tensor(name, value);
}

void CheckpointWriter::text(std::string_view key, std::string_view value) {
  writer_.text(key, value);
  hash_ += hash_of_text(key, value);
}

SafetensorsWriter CheckpointWriter::whole() const {
  SafetensorsWriter whole = writer_;
  whole.text(kHashKey, formatted("{:016x}", hash_));
  return whole;
}

void check_checkpoint(const SafetensorsReader& reader, std::int64_t step, const std::string& name) {
  check(reader.has_text("rill.checkpoint") && reader.has_text(kHashKey) &&
            reader.has_text("rill.step") && reader.text("rill.step") == std::to_string(step),
        ErrorCode::kFile, "{}: a checkpoint of step {} was expected.", name, step);
  std::uint64_t hash = 0;
  for (const SafetensorsInfo& info : reader.infos())
    hash += hash_of_tensor(info.name, reader.tensor(info.name));
  for (const auto& [key, value] : reader.metadata())
    if (key != kHashKey) hash += hash_of_text(key, value);
  check(formatted("{:016x}", hash) == reader.text(kHashKey), ErrorCode::kFile,
        "{}: what it holds is not what was written.", name);
}

SafetensorsReader open_checkpoint(const std::filesystem::path& path, std::int64_t step) {
  SafetensorsReader reader = SafetensorsReader::open(path);
  check_checkpoint(reader, step, path.string());
  return reader;
}

void save_position(const RunPosition& position, CheckpointWriter& writer) {
  writer.text("rill.checkpoint", "1");
  writer.text("rill.step", std::to_string(position.step));
  writer.text("rill.time", std::to_string(position.time));
  writer.text("rill.seconds", std::to_string(position.seconds));
}

RunPosition load_run(const TensorReader& reader, const Model& model, AdamW& adam, State& state) {
  load_parameters(model, reader, "model.");
  adam.load(reader);
  State carried = State::load(reader, model.state_spec());
  carried.check_fits(model.state_spec(), state.batch(), "train --resume");
  state = std::move(carried);
  return {number_from(reader, "rill.step", kMostSteps), number_from(reader, "rill.time", kMostTime),
          number_from(reader, "rill.seconds", kMostSeconds)};
}

SavedRun saved_run_in(const TensorReader& reader) {
  return {number_from(reader, "rill.step", kMostSteps), parse_config(reader.text("rill.config")),
          TrainOptions::from_json(reader.text("rill.options"))};
}

}  // namespace rill
