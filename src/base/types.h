// Numbers that must not be mixed up, as types of their own with only the arithmetic that means something.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace cairn {

// A 64-bit number of one kind. `value` is for encoding and printing. Numbers of different kinds do not convert, compare
// or add.
template <class Tag>
struct Number {
  uint64_t value = 0;

  constexpr Number() = default;
  constexpr explicit Number(uint64_t v) : value(v) {}
  friend constexpr auto operator<=>(Number, Number) = default;
  // n further on, or back. Wraps around like the integer does: who counts down makes sure that there is something
  // below.
  [[nodiscard]] constexpr Number next(uint64_t n = 1) const { return Number(value + n); }
  [[nodiscard]] constexpr Number prev(uint64_t n = 1) const { return Number(value - n); }
};

// All are counted upwards by whoever hands them out, from persisted counters, and never come from a clock (hazard 13).
using SegmentId = Number<struct SegmentIdTag>;  // 1.. ; 0 = none. Never reused while anything may name it.
using TableId = Number<struct TableIdTag>;      // 1.. ; 0 = none
using SeqNo = Number<struct SeqNoTag>;          // 1.. ; 0 = before everything
// Commits are numbered without gaps through the whole log, so a missing one shows.
using CommitNo = Number<struct CommitNoTag>;  // 1.. ; 0 = before everything

// The largest sequence number: "see everything". Never given to a record.
inline constexpr SeqNo kMaxSeq{UINT64_MAX};

// Sequence numbers first..last, both included; empty when last < first.
// An empty range still has a place: {n, n - 1} is what a segment that holds nothing yet owns before n.
struct SeqRange {
  SeqNo first{1};
  SeqNo last{0};
  [[nodiscard]] constexpr bool empty() const { return last < first; }
  [[nodiscard]] constexpr bool contains(SeqNo seq) const { return first <= seq && seq <= last; }
  // Bytewise: two empty ranges at different places differ.
  friend constexpr bool operator==(const SeqRange&, const SeqRange&) = default;
};

}  // namespace cairn

template <class Tag>
struct std::hash<cairn::Number<Tag>> {
  size_t operator()(cairn::Number<Tag> n) const noexcept { return std::hash<uint64_t>{}(n.value); }
};
