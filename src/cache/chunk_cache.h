// Decompressed values in memory, bounded.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "base/sieve.h"
#include "base/types.h"
#include "cairn/bytes.h"

namespace cairn::cache {

// Values by the sequence number of their record: it names one value for ever, so nothing here can be stale, and nothing
// needs to be taken out when a key changes. Holds at most the given number of bytes of values, plus what their pins
// keep alive: give it values that own their bytes, not views of a slab. Sharded; SIEVE evicts, so that chunks which are
// read again outlive those of one long read. Thread-safe.
class ChunkCache {
 public:
  explicit ChunkCache(size_t capacity_bytes);  // 0: keeps nothing
  ~ChunkCache();
  ChunkCache(const ChunkCache&) = delete;
  ChunkCache& operator=(const ChunkCache&) = delete;

  // Nothing if it is not there. A hit sets a bit, under the shard's lock.
  std::optional<Value> find(SeqNo seq);
  // `seq` is not 0.
  // Does nothing if it is there already, or larger than a shard.
  void insert(SeqNo seq, Value value);
  // Of values, and of what it takes to keep them; at most the capacity.
  [[nodiscard]] size_t bytes() const;

 private:
  struct Shard;
  Shard& shard(SeqNo seq);
  std::vector<std::unique_ptr<Shard>> shards_;
};

}  // namespace cairn::cache
