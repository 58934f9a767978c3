// Little-endian integers with alignment 1: a struct of these is its own layout on disk.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

namespace cairn::format {

static_assert(std::endian::native == std::endian::little, "Le reads its bytes as they lie; port it before big endian");

template <class T>
class Le {
 public:
  constexpr Le() = default;
  constexpr Le(T value) : bytes_(std::bit_cast<std::array<unsigned char, sizeof(T)>>(value)) {}
  constexpr operator T() const { return std::bit_cast<T>(bytes_); }

 private:
  std::array<unsigned char, sizeof(T)> bytes_{};
};

using Le16 = Le<uint16_t>;
using Le32 = Le<uint32_t>;
using Le64 = Le<uint64_t>;

}  // namespace cairn::format
