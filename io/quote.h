// Private: names from a hostile file, made fit to stand in a one-line sentence.
#pragma once

#include <rill/core/format.h>

#include <string>
#include <string_view>

namespace rill {

/// 'text' in quotes, control characters and quotes escaped, cut after 80 bytes.
inline std::string quote(std::string_view text) {
  constexpr std::size_t kLongest = 80;
  std::string out = "'";
  for (const char c : text.substr(0, kLongest)) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f || c == '\'' || c == '\\')
      out += formatted("\\x{:02x}", byte);
    else
      out += c;
  }
  if (text.size() > kLongest) out += "...";
  return out + "'";
}

}  // namespace rill
