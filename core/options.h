// Options of a layer: names, types, defaults and ranges, checked in one place for the program,
// files and callers.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace rill {

using OptionValue = std::variant<bool, std::int64_t, double, std::string>;

/// One option. The type is that of the default; numbers lie in [min, max], strings are one of
/// `choices`.
struct OptionSpec {
  std::string name;
  OptionValue default_value;
  double min = 0.0;
  double max = 0.0;
  std::vector<std::string> choices;
  std::string help;

  static OptionSpec flag(std::string name, bool value, std::string help);
  static OptionSpec integer(std::string name, std::int64_t value, std::int64_t min,
                            std::int64_t max, std::string help);
  static OptionSpec number(std::string name, double value, double min, double max,
                           std::string help);
  static OptionSpec choice(std::string name, std::string value, std::vector<std::string> choices,
                           std::string help);
  /// "bool", "int", "float" or "string".
  const char* type() const noexcept;
};

/// Values for a list of specs. Every option has a value: what was set, else the default.
class Options {
 public:
  explicit Options(std::vector<OptionSpec> specs);

  /// Error(kConfig) for a name that is not in the list, another type (an integer is taken for a
  /// float) or a value out of range; the sentence lists what there is. Nothing has changed then.
  void set(std::string_view name, const OptionValue& value);
  /// From text, as in `--set KEY=VALUE`; errors as above.
  void set_text(std::string_view name, std::string_view text);
  bool has(std::string_view name) const noexcept;

  bool flag(std::string_view name) const;  // each: Error(kConfig) for a name not in the list
  std::int64_t integer(std::string_view name) const;
  double number(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const OptionValue& value(std::string_view name) const;
  const std::vector<OptionSpec>& specs() const noexcept { return specs_; }

 private:
  const OptionSpec& spec(std::string_view name) const;

  std::vector<OptionSpec> specs_;
  std::map<std::string, OptionValue, std::less<>> values_;
};

}  // namespace rill
