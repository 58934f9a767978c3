// CHECK: what only a bug of ours can cause. On in every build; prints one line to stderr and aborts.
#pragma once

namespace cairn {

[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace cairn

#define CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? void(0) : ::cairn::check_failed(#condition, __FILE__, __LINE__))
