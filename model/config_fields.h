// Private: reads typed fields of one JSON object of a config.json.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <vector>

#include <rill/core/check.h>

namespace rill {

using Json = nlohmann::json;

/// Reads typed fields of one object and remembers which keys were read; Error(kConfig) naming the
/// field where its type or range is another.
class Fields {
 public:
  explicit Fields(const Json& object, std::string where)
      : object_(object), where_(std::move(where)) {}

  bool has(const std::string& key) const {
    return object_.contains(key) && !object_.at(key).is_null();
  }
  /// null counts as a value here.
  bool contains(const std::string& key) const { return object_.contains(key); }
  /// The value, without the key counting as read.
  const Json& peek(const std::string& key) const { return object_.at(key); }
  const std::string& where() const noexcept { return where_; }
  const Json& raw(const std::string& key) {
    used_.insert(key);
    return object_.at(key);
  }
  std::int64_t integer(const std::string& key, std::int64_t fallback, std::int64_t min,
                       std::int64_t max) {
    if (!has(key)) return used_.insert(key), fallback;
    const Json& value = raw(key);
    check(value.is_number_integer() || value.is_number_unsigned(), ErrorCode::kConfig,
          "config.json: {}{} is an integer, {} came.", where_, key, value.dump());
    const bool fits = !value.is_number_unsigned() || value.get<std::uint64_t>() <= std::uint64_t{1}
                                                                                       << 62;
    check(fits && value.get<std::int64_t>() >= min && value.get<std::int64_t>() <= max,
          ErrorCode::kConfig, "config.json: {}{} lies between {} and {}, {} came.", where_, key,
          min, max, value.dump());
    return value.get<std::int64_t>();
  }
  std::int64_t required(const std::string& key, std::int64_t min, std::int64_t max) {
    check(has(key), ErrorCode::kConfig, "config.json: the field {}{} is missing.", where_, key);
    return integer(key, 0, min, max);
  }
  double number(const std::string& key, double fallback, double min, double max) {
    if (!has(key)) return used_.insert(key), fallback;
    const Json& value = raw(key);
    check(value.is_number(), ErrorCode::kConfig, "config.json: {}{} is a number, {} came.", where_,
          key, value.dump());
    const double number = value.get<double>();
    check(number >= min && number <= max, ErrorCode::kConfig,
          "config.json: {}{} lies between {} and {}, {} came.", where_, key, min, max, number);
    return number;
  }
  bool flag(const std::string& key, bool fallback) {
    if (!has(key)) return used_.insert(key), fallback;
    const Json& value = raw(key);
    check(value.is_boolean(), ErrorCode::kConfig, "config.json: {}{} is true or false, {} came.",
          where_, key, value.dump());
    return value.get<bool>();
  }
  std::string text(const std::string& key, const std::string& fallback) {
    if (!has(key)) return used_.insert(key), fallback;
    const Json& value = raw(key);
    check(value.is_string(), ErrorCode::kConfig, "config.json: {}{} is a string, {} came.", where_,
          key, value.dump());
    return value.get<std::string>();
  }
  template <class T>
  std::vector<T> list(const std::string& key) {
    std::vector<T> values;
    if (!has(key)) return used_.insert(key), values;
    const Json& array = raw(key);
    check(array.is_array(), ErrorCode::kConfig, "config.json: {}{} is a list, {} came.", where_,
          key, array.dump());
    for (const Json& value : array) {
      check(std::is_floating_point_v<T> ? value.is_number() : value.is_number_integer(),
            ErrorCode::kConfig, "config.json: {}{} is a list of {}, {} came in it.", where_, key,
            std::is_floating_point_v<T> ? "numbers" : "integers", value.dump());
      values.push_back(value.get<T>());
    }
    return values;
  }
  /// An object inside; an empty one where there is none.
  const Json& object(const std::string& key) {
    static const Json empty = Json::object();
    if (!has(key)) return used_.insert(key), empty;
    check(raw(key).is_object(), ErrorCode::kConfig, "config.json: {}{} is an object, {} came.",
          where_, key, raw(key).dump());
    return raw(key);
  }
  /// What no call has named.
  Json unused() const {
    Json rest = Json::object();
    for (const auto& [key, value] : object_.items())
      if (!used_.contains(key)) rest[key] = value;
    return rest;
  }

 private:
  const Json& object_;
  std::string where_;
  std::set<std::string> used_;
};

}  // namespace rill
