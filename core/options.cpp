#include <rill/core/check.h>
#include <rill/core/options.h>

#include <algorithm>
#include <charconv>
#include <cmath>

namespace rill {

OptionSpec OptionSpec::flag(std::string name, bool value, std::string help) {
  return {.name = std::move(name), .default_value = value, .help = std::move(help)};
}

OptionSpec OptionSpec::integer(std::string name, std::int64_t value, std::int64_t min,
                               std::int64_t max, std::string help) {
  return {std::move(name),          value, static_cast<double>(min),
          static_cast<double>(max), {},    std::move(help)};
}

OptionSpec OptionSpec::number(std::string name, double value, double min, double max,
                              std::string help) {
  return {std::move(name), value, min, max, {}, std::move(help)};
}

OptionSpec OptionSpec::choice(std::string name, std::string value, std::vector<std::string> choices,
                              std::string help) {
  return {std::move(name), std::move(value), 0, 0, std::move(choices), std::move(help)};
}

const char* OptionSpec::type() const noexcept {
  constexpr const char* kNames[] = {"bool", "int", "float", "string"};
  return kNames[default_value.index()];
}

namespace {

// A value and what it is, for a sentence.
std::string described(const OptionValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* text = std::get_if<std::string>(&value)) return "the string '" + *text + "'";
  if (const auto* number = std::get_if<double>(&value)) return formatted("the float {}", *number);
  return formatted("the int {}", std::get<std::int64_t>(value));
}

}  // namespace

Options::Options(std::vector<OptionSpec> specs) : specs_(std::move(specs)) {
  for (const OptionSpec& spec : specs_) values_[spec.name] = spec.default_value;
}

bool Options::has(std::string_view name) const noexcept { return values_.contains(name); }

const OptionSpec& Options::spec(std::string_view name) const {
  const auto it = std::ranges::find(specs_, name, &OptionSpec::name);
  if (it == specs_.end()) {
    std::string names;
    for (const OptionSpec& each : specs_) names += (names.empty() ? "" : ", ") + each.name;
    fail(ErrorCode::kConfig, "Option '{}' does not exist; there is: {}.", name,
         names.empty() ? "none" : names);
  }
  return *it;
}

void Options::set(std::string_view name, const OptionValue& given) {
  const OptionSpec& spec = this->spec(name);
  OptionValue value = given;
  if (spec.default_value.index() == 2 && given.index() == 1)
    value = static_cast<double>(std::get<std::int64_t>(given));
  check(value.index() == spec.default_value.index(), ErrorCode::kConfig,
        "Option '{}' is of type {}, {} came.", name, spec.type(), described(given));
  if (const auto* number = std::get_if<double>(&value))
    check(std::isfinite(*number) && *number >= spec.min && *number <= spec.max, ErrorCode::kConfig,
          "Option '{}' lies between {} and {}, {} came.", name, spec.min, spec.max, *number);
  if (const auto* number = std::get_if<std::int64_t>(&value))
    check(static_cast<double>(*number) >= spec.min && static_cast<double>(*number) <= spec.max,
          ErrorCode::kConfig, "Option '{}' lies between {} and {}, {} came.", name, spec.min,
          spec.max, *number);
  if (const auto* text = std::get_if<std::string>(&value)) {
    std::string all;
    for (const std::string& choice : spec.choices) all += (all.empty() ? "" : ", ") + choice;
    check(spec.choices.empty() || std::ranges::find(spec.choices, *text) != spec.choices.end(),
          ErrorCode::kConfig, "Option '{}' is one of {}, '{}' came.", name, all, *text);
  }
  values_.find(name)->second = std::move(value);
}

void Options::set_text(std::string_view name, std::string_view text) {
  const OptionSpec& spec = this->spec(name);
  const auto parse = [&](auto number) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    check(error == std::errc{} && end == text.data() + text.size(), ErrorCode::kConfig,
          "Option '{}' is of type {}, '{}' came.", name, spec.type(), text);
    return number;
  };
  switch (spec.default_value.index()) {
    case 0:
      check(text == "true" || text == "false" || text == "1" || text == "0", ErrorCode::kConfig,
            "Option '{}' is true or false, '{}' came.", name, text);
      return set(name, text == "true" || text == "1");
    case 1:
      return set(name, parse(std::int64_t{0}));
    case 2:
      return set(name, parse(0.0));
    default:
      return set(name, std::string(text));
  }
}

const OptionValue& Options::value(std::string_view name) const {
  this->spec(name);
  return values_.find(name)->second;
}
bool Options::flag(std::string_view name) const { return std::get<bool>(value(name)); }
std::int64_t Options::integer(std::string_view name) const {
  return std::get<std::int64_t>(value(name));
}
double Options::number(std::string_view name) const { return std::get<double>(value(name)); }
const std::string& Options::text(std::string_view name) const {
  return std::get<std::string>(value(name));
}

}  // namespace rill
