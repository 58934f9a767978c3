// Asserts, for what only a bug of ours can cause. Never for what the world can: bytes read from a disk are decoded,
// system calls and allocations fail, and both give an Error.
//
// CHECK is on in every build: for what costs a few instructions. It prints one line to stderr and aborts; a store is
// built to survive that, and nothing that was acknowledged depends on what would have followed.
// DCHECK is on in debug and sanitizer builds (meson.build decides): for what takes time in proportion to data, or lies
// on a path that runs for each record. Elsewhere its condition is compiled and not evaluated, so it must have no
// effect.
#pragma once

namespace cairn {

#ifdef CAIRN_DCHECKS
inline constexpr bool kDebugChecks = true;
#else
inline constexpr bool kDebugChecks = false;
#endif

// Prints "cairn: bug: CHECK(...) failed at FILE:LINE" and aborts, so that a core or a supervisor can tell. Allocates
// nothing.
[[noreturn]] void check_failed(const char* expression, const char* file, int line) noexcept;

}  // namespace cairn

#define CHECK(condition) \
  (__builtin_expect(!!(condition), 1) ? void(0) : ::cairn::check_failed(#condition, __FILE__, __LINE__))
#define DCHECK(condition) (!::cairn::kDebugChecks ? void(0) : CHECK(condition))
