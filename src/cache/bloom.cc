#include "cache/bloom.h"

#include <algorithm>

#include "base/bloom_probe.h"

namespace cairn::cache {
namespace {

// Below this many bits for each key the false positives, 1 % at ten bits, pass 3 %.
constexpr uint64_t kFewestBitsPerKey = 7;

static_assert(kFewestBitsPerKey < kBloomBitsPerKey);
static_assert(kBloomLineBits == 8 * 64, "a line is eight words");

uint64_t lines_for(uint64_t expected_keys, uint64_t byte_budget) {
  const uint64_t affordable = byte_budget / kBloomLineBytes;
  const uint64_t wanted = expected_keys / kBloomLineBits * kBloomBitsPerKey + kBloomBitsPerKey;
  // 2^32 lines is what bloom_line() can tell apart: 256 GiB.
  return std::clamp<uint64_t>(std::min(wanted, affordable), 1, uint64_t{1} << 32);
}

}  // namespace

UnifiedFilter::UnifiedFilter(uint64_t expected_keys, uint64_t byte_budget)
    : lines_(lines_for(expected_keys, byte_budget)), bits_(std::make_unique<Line[]>(lines_)) {}

// Relaxed is enough: only who learns of the key through some other, synchronising way relies on its bits, and then they
// happened before.
void UnifiedFilter::add(uint64_t hash) {
  Line& line = bits_[bloom_line(hash, lines_)];
  uint64_t masks[8] = {};
  bloom_bits(hash, [&masks](uint32_t bit) { masks[bit / 64] |= uint64_t{1} << bit % 64; });
  bool fresh = false;
  for (size_t word = 0; word < 8; ++word) {
    if ((line.words[word].load(std::memory_order_relaxed) & masks[word]) == masks[word]) continue;
    line.words[word].fetch_or(masks[word], std::memory_order_relaxed);
    fresh = true;
  }
  if (fresh) keys_.fetch_add(1, std::memory_order_relaxed);
}

void UnifiedFilter::prefetch(uint64_t hash) const { __builtin_prefetch(&bits_[bloom_line(hash, lines_)], 1); }

bool UnifiedFilter::may_contain(uint64_t hash) const {
  const Line& line = bits_[bloom_line(hash, lines_)];
  bool all = true;
  bloom_bits(hash, [&line, &all](uint32_t bit) {
    all = all && (line.words[bit / 64].load(std::memory_order_relaxed) >> bit % 64 & 1) != 0;
  });
  return all;
}

bool UnifiedFilter::overfull() const { return keys() > lines_ * kBloomLineBits / kFewestBitsPerKey; }
uint64_t UnifiedFilter::keys() const { return keys_.load(std::memory_order_relaxed); }
uint64_t UnifiedFilter::bytes() const { return lines_ * kBloomLineBytes; }

}  // namespace cairn::cache
