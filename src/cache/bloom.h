// One filter over everything the store holds, in memory: it answers most lookups of absent keys at once.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

namespace cairn::cache {

// A Bloom filter of cache lines, of a size fixed at construction. Keys are given as their hashes (index::Table::hash).
// Nothing can be taken out; who wants to forget erased keys builds a new one.
//
// Add a key *before* it enters the index (hazard 9): then whoever can know that the key is there, because the index or
// another thread told it, also sees its bits. Thread-safe without locks.
class UnifiedFilter {
 public:
  // Room for `expected_keys` at 10 bits each, but at most `byte_budget` bytes (at least one line of 64).
  UnifiedFilter(uint64_t expected_keys, uint64_t byte_budget);
  UnifiedFilter(const UnifiedFilter&) = delete;
  UnifiedFilter& operator=(const UnifiedFilter&) = delete;

  void add(uint64_t hash);
  // Has the processor fetch what add() of it will change, so that several keys cost about one cache miss.
  void prefetch(uint64_t hash) const;
  // False: certainly never added.
  [[nodiscard]] bool may_contain(uint64_t hash) const;
  // More keys were added than it can tell apart well: more than about 3 % of answers for absent keys are now wrong.
  [[nodiscard]] bool overfull() const;
  [[nodiscard]] uint64_t keys() const;  // added, about: what was already a false positive is not counted
  [[nodiscard]] uint64_t bytes() const;

 private:
  struct alignas(64) Line {
    std::atomic<uint64_t> words[8] = {};
  };

  const uint64_t lines_;
  const std::unique_ptr<Line[]> bits_;
  std::atomic<uint64_t> keys_{0};
};

}  // namespace cairn::cache
