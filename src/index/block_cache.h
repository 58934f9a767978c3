// Verified blocks of tables in memory, bounded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "cairn/bytes.h"

namespace cairn::index {

// Key of a block: the table object's own unique number (from next_owner(), never reused, so that a recycled file can
// never be confused) and the block's offset. Thread-safe, sharded. Eviction is SIEVE (NSDI '24): a hit only sets a bit.
class BlockCache {
 public:
  // Bytes of blocks and of what it takes to keep them.
  explicit BlockCache(size_t capacity_bytes);
  ~BlockCache();
  // Never 0, and never the same twice.
  uint64_t next_owner();
  // A block stays alive as long as somebody holds it, evicted or not.
  // Null if absent.
  std::shared_ptr<const Bytes> find(uint64_t owner, uint64_t offset);
  // Only what was verified comes in: nobody checks it again. What is larger than a shard is not kept, and only
  // returned.
  // Returns what is in the cache afterwards (somebody else's copy, if it came first).
  std::shared_ptr<const Bytes> insert(uint64_t owner, uint64_t offset, Bytes block);
  // When its table goes. Others may still hold the blocks.
  void erase_owner(uint64_t owner);
  [[nodiscard]] size_t bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::index
