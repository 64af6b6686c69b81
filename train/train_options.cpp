#include <rill/core/check.h>
#include <rill/io/quote.h>
#include <rill/train/saved_number.h>
#include <rill/train/trainer.h>

#include <nlohmann/json.hpp>

#include <fstream>
#include <limits>
#include <string>
#include <type_traits>
#include <utility>

namespace rill {
namespace {

using nlohmann::json;

// One list of fields for both directions.
template <class Options, class Visit>
void visit_fields(Options& o, const Visit& visit) {
  visit("length", o.length);
  visit("batch", o.batch);
  visit("steps", o.steps);
  visit("minutes", o.minutes);
  visit("warmup", o.warmup);
  visit("final_lr", o.final_lr);
  visit("clip", o.clip);
  visit("accumulate", o.accumulate);
  visit("time_chunk", o.time_chunk);
  visit("checkpoint_every", o.checkpoint_every);
  visit("keep_checkpoints", o.keep_checkpoints);
  visit("eval_every", o.eval_every);
  visit("eval_tokens", o.eval_tokens);
  visit("seed", o.seed);
  visit("lr", o.adam.lr);
  visit("ssm_lr_ratio", o.adam.ssm_lr_ratio);
  visit("beta1", o.adam.beta1);
  visit("beta2", o.adam.beta2);
  visit("eps", o.adam.eps);
  visit("weight_decay", o.adam.weight_decay);
}

// False for what is no such number, or lies outside of its type.
bool read_number(const json& from, std::int64_t& to) {
  if (!from.is_number_integer() ||
      (from.is_number_unsigned() && from.get<std::uint64_t>() >> 63 != 0))
    return false;
  from.get_to(to);
  return true;
}
bool read_number(const json& from, std::uint64_t& to) {
  if (!from.is_number_unsigned()) return false;
  from.get_to(to);
  return true;
}
bool read_number(const json& from, double& to) {
  if (!from.is_number()) return false;
  from.get_to(to);
  return true;
}

// Arrays and objects are not written out: it is done by recursion, and they nest as they like.
std::string described(const json& value) {
  return value.is_structured() ? std::string("an ") + value.type_name() : quote(value.dump());
}

std::int64_t status_field(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  return 0;
}

}  // namespace

void TrainOptions::validate() const {
  // Written so that NaN is out of every range.
  const auto range = [](const char* name, auto value, auto min, auto max) {
    check(value >= min && value <= max, ErrorCode::kConfig,
          "train: {} lies between {} and {}, {} came.", name, min, max, value);
  };
  constexpr double kLargest = std::numeric_limits<double>::max();
  for (const auto& [name, value] : {std::pair{"length", length},
                                    {"batch", batch},
                                    {"accumulate", accumulate},
                                    {"checkpoint_every", checkpoint_every}})
    range(name, value, std::int64_t{1}, kMostSteps);
  for (const auto& [name, value] : {std::pair{"steps", steps},
                                    {"time_chunk", time_chunk},
                                    {"keep_checkpoints", keep_checkpoints},
                                    {"eval_every", eval_every},
                                    {"eval_tokens", eval_tokens}})
    range(name, value, std::int64_t{0}, kMostSteps);
  for (const auto& [name, value] : {std::pair{"minutes", minutes},
                                    {"clip", clip},
                                    {"lr", adam.lr},
                                    {"ssm_lr_ratio", adam.ssm_lr_ratio},
                                    {"eps", adam.eps},
                                    {"weight_decay", adam.weight_decay}})
    range(name, value, 0.0, kLargest);
  range("warmup", warmup, 0.0, 1.0);
  range("final_lr", final_lr, 0.0, 1.0);
  range("beta1", adam.beta1, 0.0, 1 - 1e-12);  // moments are divided by 1 - beta^t
  range("beta2", adam.beta2, 0.0, 1 - 1e-12);
}

std::string TrainOptions::to_json() const {
  json root;
  visit_fields(*this, [&](const char* name, const auto& value) { root[name] = value; });
  return root.dump();
}

TrainOptions TrainOptions::from_json(const std::string& text) {
  TrainOptions options;
  const json root = json::parse(text, nullptr, false);
  check(root.is_object(), ErrorCode::kConfig,
        "Training options: a JSON object was expected, {} came.", quote(text));
  visit_fields(options, [&](const char* name, auto& value) {
    const auto found = root.find(name);
    check(found != root.end() && read_number(*found, value), ErrorCode::kConfig,
          "Training options: a{} number {} was expected, {} came.",
          std::is_integral_v<std::remove_reference_t<decltype(value)>> ? " whole" : "", name,
          found == root.end() ? "nothing" : described(*found));
  });
  return options;
}

std::int64_t peak_rss_bytes() { return status_field("VmHWM:"); }
std::int64_t rss_bytes() { return status_field("VmRSS:"); }

}  // namespace rill
