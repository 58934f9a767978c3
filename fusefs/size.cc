#include "fusefs/size.h"

#include <array>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace cairn::fusefs {
namespace {

constexpr std::string_view kUnits = "KMGTPE";

static_assert(kUnits.size() == 6, "2^60 is the last that fits 64 bits");

// The power of 1024 that a suffix stands for, or -1.
int power_of(std::string_view suffix) {
  if (suffix.empty() || suffix == "B") return 0;
  const char letter = suffix[0] >= 'a' && suffix[0] <= 'z' ? static_cast<char>(suffix[0] - 'a' + 'A') : suffix[0];
  const size_t at = kUnits.find(letter);
  const std::string_view rest = suffix.substr(1);
  if (at == std::string_view::npos || !(rest.empty() || rest == "B" || rest == "iB")) return -1;
  return static_cast<int>(at) + 1;
}

}  // namespace

// from_chars, not strtod: its decimal point does not depend on the locale, and it accepts neither blanks nor "inf".
Result<uint64_t> parse_size(std::string_view text) {
  const auto bad = [text](std::string_view why) {
    return fail(ErrorCode::kInvalid, fmt::format("'{}' {}", text, why));
  };
  constexpr std::string_view kExpected =
      "is not a size; write bytes, or a number with K, M, G or T, for example 64M or 1.5G";
  if (text.empty() || text[0] < '0' || text[0] > '9') return bad(kExpected);

  double number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
  const int power = power_of(text.substr(static_cast<size_t>(parsed.ptr - text.data())));
  if (parsed.ec != std::errc() || power < 0) return bad(kExpected);

  // Exact: multiplying by a power of two only moves the exponent.
  const double bytes = std::ldexp(number, 10 * power);
  constexpr double kMost = 9.0e18;  // below 2^63
  if (!(bytes <= kMost)) return bad("is larger than any size here");
  if (bytes != std::floor(bytes)) return bad("is not a whole number of bytes");
  // Above 2^53 a double skips numbers; plain bytes are exact.
  uint64_t exact = 0;
  const auto whole = std::from_chars(text.data(), text.data() + text.size(), exact);
  if (power == 0 && whole.ptr == parsed.ptr && whole.ec == std::errc()) return exact;
  return static_cast<uint64_t>(bytes);
}

// Two digits tell enough; below ten one more is worth having.
std::string format_size(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  auto number = static_cast<double>(bytes);
  size_t unit = 0;
  for (number /= 1024; number >= 1024 && unit + 1 < kUnits.size(); ++unit) number /= 1024;
  return number < 10 ? fmt::format("{:.1f} {}iB", number, kUnits[unit])
                     : fmt::format("{:.0f} {}iB", number, kUnits[unit]);
}

}  // namespace cairn::fusefs
