#include <rill/core/check.h>
#include <rill/train/trainer.h>

#include <nlohmann/json.hpp>

#include <fstream>
#include <string>
#include <type_traits>

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

std::int64_t status_field(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name)) return std::stoll(line.substr(name.size())) * 1024;
  return 0;
}

}  // namespace

std::string TrainOptions::to_json() const {
  json root;
  visit_fields(*this, [&](const char* name, const auto& value) { root[name] = value; });
  return root.dump();
}

TrainOptions TrainOptions::from_json(const std::string& text) {
  TrainOptions options;
  const json root = json::parse(text, nullptr, false);
  check(root.is_object(), ErrorCode::kConfig,
        "Training options: a JSON object was expected, '{}' came.", text);
  visit_fields(options, [&](const char* name, auto& value) {
    const bool whole = std::is_integral_v<std::remove_reference_t<decltype(value)>>;
    check(root.contains(name) && (whole ? root[name].is_number_integer() : root[name].is_number()),
          ErrorCode::kConfig, "Training options: a{} number {} was expected, {} came.",
          whole ? " whole" : "", name, root.contains(name) ? root[name].dump() : "nothing");
    root[name].get_to(value);
  });
  return options;
}

std::int64_t peak_rss_bytes() { return status_field("VmHWM:"); }
std::int64_t rss_bytes() { return status_field("VmRSS:"); }

}  // namespace rill
