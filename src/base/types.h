// Numbers that must not be mixed up, as types of their own with only the arithmetic that means something.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace cairn {

// A 64-bit number of one kind. `value` is for encoding and printing.
template <class Tag>
struct Number {
  uint64_t value = 0;

  constexpr Number() = default;
  constexpr explicit Number(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(Number, Number) = default;
  [[nodiscard]] constexpr Number next(uint64_t n = 1) const { return Number(value + n); }
  [[nodiscard]] constexpr Number prev(uint64_t n = 1) const { return Number(value - n); }
};

using SegmentId = Number<struct SegmentIdTag>;  // 1.. ; 0 = none. Never reused while anything may name it.
using TableId = Number<struct TableIdTag>;      // 1.. ; 0 = none
using SeqNo = Number<struct SeqNoTag>;          // 1.. ; 0 = before everything
using CommitNo = Number<struct CommitNoTag>;    // 1.. ; 0 = before everything

// The largest sequence number: "see everything".
inline constexpr SeqNo kMaxSeq{UINT64_MAX};

// Sequence numbers first..last, both included; empty when last < first.
struct SeqRange {
  SeqNo first{1};
  SeqNo last{0};
  [[nodiscard]] constexpr bool empty() const { return last < first; }
  [[nodiscard]] constexpr bool contains(SeqNo seq) const { return first <= seq && seq <= last; }
  friend constexpr bool operator==(const SeqRange&, const SeqRange&) = default;
};

}  // namespace cairn

template <class Tag>
struct std::hash<cairn::Number<Tag>> {
  size_t operator()(cairn::Number<Tag> n) const noexcept { return std::hash<uint64_t>{}(n.value); }
};
