#include <rill/train/run_log.h>

#include <nlohmann/json.hpp>

namespace rill {
namespace {

using nlohmann::json;

// The step of a line, -1 where it has none. Values are looked at where they lie: copies of arrays
// are made by recursion, and they nest as they like.
std::int64_t step_of(const json& line) {
  if (!line.is_object()) return -1;
  const auto step = line.find("step");
  // Negative numbers are integers that are not unsigned.
  if (step == line.end() || !step->is_number_unsigned()) return -1;
  const auto number = step->get<std::uint64_t>();
  return number >> 63 == 0 ? static_cast<std::int64_t>(number) : -1;
}

bool is_heldout(const json& line) {
  const auto split = line.find("split");
  return split != line.end() && split->is_string() &&
         split->get_ref<const std::string&>() == "heldout";
}

}  // namespace

std::string log_line(const TrainRecord& record) {
  json line = {{"step", record.step},           {"split", record.split},
               {"loss", record.loss},           {"lr", record.lr},
               {"grad_norm", record.grad_norm}, {"tokens_per_s", record.tokens_per_s},
               {"seconds", record.seconds},     {"peak_rss_bytes", record.peak_rss_bytes}};
  if (record.split != "train") line["lr"] = line["grad_norm"] = nullptr;
  return line.dump() + "\n";
}

LoggedLines lines_until(std::string_view text, std::int64_t last) {
  LoggedLines lines;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    const json value = json::parse(line, nullptr, false);
    const std::int64_t step = step_of(value);
    if (step < 0 || step > last) continue;
    lines.text.append(line) += '\n';
    const auto loss = value.find("loss");
    if (is_heldout(value) && loss != value.end() && loss->is_number())
      lines.heldout[step] = loss->get<double>();
  }
  return lines;
}

}  // namespace rill
