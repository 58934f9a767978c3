// Little-endian integers with alignment 1: a struct of these is its own layout on disk.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace cairn::format {

static_assert(std::endian::native == std::endian::little, "Le reads its bytes as they lie; port it before big endian");

// Any bytes are a valid Le, also when copied out of a file; its value is to be checked by the decoder.
// Default-constructed it is 0. Converts in both directions without a word, so a disk struct is filled and read like any
// other. Assigning narrows silently: encoders check ranges.
template <class T>
class Le {
 public:
  constexpr Le() = default;
  // bit_cast and not a loop of shifts: g++ 12 makes one move of the first, and leaves the second a loop.
  constexpr Le(T value) : bytes_(std::bit_cast<std::array<unsigned char, sizeof(T)>>(value)) {}
  constexpr operator T() const { return std::bit_cast<T>(bytes_); }

 private:
  std::array<unsigned char, sizeof(T)> bytes_{};
};

using Le16 = Le<uint16_t>;
using Le32 = Le<uint32_t>;
using Le64 = Le<uint64_t>;
static_assert(sizeof(Le16) == 2 && sizeof(Le32) == 4 && sizeof(Le64) == 8, "no padding");
static_assert(alignof(Le64) == 1, "may lie at any offset");

}  // namespace cairn::format
