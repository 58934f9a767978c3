// Where a key's bits lie in a Bloom filter of cache lines: one line for each key, kBloomProbes bits in it.
#pragma once

#include <cstdint>

namespace cairn {

inline constexpr uint64_t kBloomLineBytes = 64;
inline constexpr uint64_t kBloomLineBits = kBloomLineBytes * 8;
inline constexpr int kBloomProbes = 6;            // best for 8 to 10 bits a key when all of them share a line
inline constexpr uint64_t kBloomBitsPerKey = 10;  // about 1 % false positives

// Which of `lines` (1..2^32) the key with this hash belongs to: the upper half of the hash, scaled.
constexpr uint64_t bloom_line(uint64_t hash, uint64_t lines) { return ((hash >> 32) * lines) >> 32; }

// Calls `visit(bit)` with the bit numbers (0..511) in that line, from the lower half of the hash.
template <class Visit>
constexpr void bloom_bits(uint64_t hash, Visit&& visit) {
  auto h = static_cast<uint32_t>(hash);
  for (int i = 0; i < kBloomProbes; ++i) {
    visit(h >> 23);
    h *= 0x9e3779b9u;  // the golden ratio: a full-period, well-mixing odd multiplier for the upper bits
  }
}

}  // namespace cairn
