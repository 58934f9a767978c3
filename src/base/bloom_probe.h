// Where a key's bits lie in a blocked Bloom filter (Putze, Sanders, Singler: "Cache-, Hash- and Space-Efficient Bloom
// Filters", 2007): one cache line for each key, kBloomProbes bits in it. A query costs one cache miss; the price is
// somewhat more false positives than bits spread over all of the filter would give. Tables on disk and the
// filter in memory share it, so what is here is part of the format (FORMAT.md, "Filter").
#pragma once

#include <cstdint>

namespace cairn {

inline constexpr uint64_t kBloomLineBytes = 64;
static_assert((kBloomLineBytes & (kBloomLineBytes - 1)) == 0, "lines are aligned to cache lines");
inline constexpr uint64_t kBloomLineBits = kBloomLineBytes * 8;
inline constexpr int kBloomProbes = 6;            // best for 8 to 10 bits a key when all of them share a line
inline constexpr uint64_t kBloomBitsPerKey = 10;  // about 1 % false positives
static_assert(kBloomLineBits == 512, "bloom_bits() takes nine bits of the hash for each probe");

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
