// Sizes as people write them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cairn/result.h"

namespace cairn::fusefs {

// Bytes in "4096", "64K", "1.5G", "2TiB", "100MB": binary units whatever the suffix. kInvalid with a message that repeats the
// text and says what is allowed.
Result<uint64_t> parse_size(std::string_view text);

// "0 B", "1.5 KiB", "12 MiB".
std::string format_size(uint64_t bytes);

}  // namespace cairn::fusefs
