// model.safetensors.index.json: {"metadata": {...}, "weight_map": {tensor: file}}.
#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include <rill/core/check.h>
#include <rill/io/safetensors.h>

#include "quote.h"

namespace rill {
namespace {

using nlohmann::json;

constexpr int kDeepest = 64;

/// A shard lies beside its index: nothing that could lead elsewhere is a file name.
bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name.find("..") == std::string_view::npos &&
         std::ranges::none_of(name, [](char c) { return c == '/' || c == '\\' || c == '\0'; });
}

/// Parses with a limit on depth and with an eye on repeated keys, which a JSON object would
/// swallow.
json parse_json(std::string_view text, const std::string& file) {
  std::vector<std::set<std::string>> keys;
  const auto watch = [&](int depth, json::parse_event_t event, json& value) {
    check(depth <= kDeepest, ErrorCode::kFile, "The index {} nests deeper than {}.", file,
          kDeepest);
    if (event == json::parse_event_t::object_start) keys.emplace_back();
    if (event == json::parse_event_t::object_end) keys.pop_back();
    if (event == json::parse_event_t::key)
      check(keys.back().insert(value.get<std::string>()).second, ErrorCode::kFile,
            "The index {} has the key {} twice.", file, quote(value.get<std::string>()));
    return true;
  };
  try {
    return json::parse(text, watch);
  } catch (const json::parse_error& error) {
    fail(ErrorCode::kFile, "The index {} is not valid JSON at byte {}.", file, error.byte);
  } catch (const json::exception&) {
    fail(ErrorCode::kFile, "The index {} is not valid JSON.",
         file);  // a number past the largest double
  }
}

}  // namespace

std::vector<std::pair<std::string, std::string>> parse_safetensors_index(std::string_view text,
                                                                         const std::string& name) {
  const std::string file = quote(name);
  // nlohmann takes a zero byte for the end of the text.
  check(text.find('\0') == std::string_view::npos, ErrorCode::kFile,
        "The index {} holds a zero byte.", file);
  const json index = parse_json(text, file);
  check(index.is_object() && index.contains("weight_map") && index["weight_map"].is_object(),
        ErrorCode::kFile, "The index {} has no object 'weight_map'.", file);
  std::vector<std::pair<std::string, std::string>> weight_map;
  for (const auto& [tensor, shard] : index["weight_map"].items()) {
    check(shard.is_string() && is_plain_file_name(shard.get_ref<const std::string&>()),
          ErrorCode::kFile,
          "The index {} gives the tensor {} the shard {}; the name of a file in the same folder "
          "was expected.",
          file, quote(tensor),
          quote(shard.is_string() ? shard.get<std::string>() : shard.type_name()));
    weight_map.emplace_back(tensor, shard.get<std::string>());
  }
  check(!weight_map.empty(), ErrorCode::kFile, "The index {} lists no tensors.", file);
  std::ranges::sort(weight_map);
  return weight_map;
}

}  // namespace rill
