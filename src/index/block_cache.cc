#include "index/block_cache.h"

#include <algorithm>
#include <atomic>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/sieve.h"

namespace cairn::index {
namespace {

// Bytes of bookkeeping for each block: map node, links, control block, allocator headers.
constexpr size_t kBlockOverhead = 160;
// A shard smaller than this could not hold the filter or block index of an ordinary segment.
constexpr size_t kMinShardBytes = 4u << 20;
constexpr size_t kMaxShards = 16;

struct BlockKey {
  uint64_t owner;
  uint64_t offset;
  friend bool operator==(const BlockKey&, const BlockKey&) = default;
};

// Two rounds of multiply and shift: owners are small numbers and offsets multiples of a few KiB, which alone would fill
// a few buckets.
struct BlockKeyHash {
  size_t operator()(const BlockKey& key) const {
    uint64_t h = key.owner * 0x9e3779b97f4a7c15u + key.offset;
    h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93u;
    return h ^ (h >> 32);
  }
};

using Block = std::shared_ptr<const Bytes>;

static_assert(kBlockOverhead >= sizeof(BlockKey) + sizeof(Block), "what is kept beside the bytes is counted");

struct Shard {
  explicit Shard(size_t capacity) : blocks(capacity) {}
  mutable Mutex mutex;  // a leaf: nothing that locks is called under it
  Sieve<BlockKey, Block, BlockKeyHash> blocks GUARDED_BY(mutex);
};

}  // namespace

class BlockCache::Impl {
 public:
  explicit Impl(size_t capacity_bytes) {
    // At least one, however small the cache: what does not fit is then simply not kept.
    const size_t shards = std::clamp<size_t>(capacity_bytes / kMinShardBytes, 1, kMaxShards);
    for (size_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<Shard>(capacity_bytes / shards));
  }

  // By bits that the shard's own map does not use first.
  Shard& shard(const BlockKey& key) { return *shards_[(BlockKeyHash{}(key) >> 40) % shards_.size()]; }
  const std::vector<std::unique_ptr<Shard>>& shards() const { return shards_; }
  uint64_t next_owner() { return next_owner_.fetch_add(1, std::memory_order_relaxed); }

 private:
  std::atomic<uint64_t> next_owner_{1};
  std::vector<std::unique_ptr<Shard>> shards_;
};

BlockCache::BlockCache(size_t capacity_bytes) : impl_(std::make_unique<Impl>(capacity_bytes)) {}
BlockCache::~BlockCache() = default;

uint64_t BlockCache::next_owner() { return impl_->next_owner(); }

std::shared_ptr<const Bytes> BlockCache::find(uint64_t owner, uint64_t offset) {
  const BlockKey key{owner, offset};
  Shard& shard = impl_->shard(key);
  const MutexLock lock(shard.mutex);
  const Block* block = shard.blocks.find(key);
  return block == nullptr ? nullptr : *block;
}

std::shared_ptr<const Bytes> BlockCache::insert(uint64_t owner, uint64_t offset, Bytes block) {
  const BlockKey key{owner, offset};
  const size_t weight = block.size() + kBlockOverhead;
  // Allocated before the lock is taken, freed after it is given back: a lookup of another block never waits for the
  // allocator.
  auto shared = std::make_shared<const Bytes>(std::move(block));
  std::vector<Block> evicted;  // freed after the lock is released
  Shard& shard = impl_->shard(key);
  const MutexLock lock(shard.mutex);
  // Two threads may have read the same block at once: one copy stays, and both use it.
  if (const Block* present = shard.blocks.find(key); present != nullptr) return *present;
  shard.blocks.insert(key, shared, weight,
                      [&evicted](const BlockKey&, Block&& old) { evicted.push_back(std::move(old)); });
  return shared;
}

void BlockCache::erase_owner(uint64_t owner) {
  for (const auto& shard : impl_->shards()) {
    const MutexLock lock(shard->mutex);
    // Linear in the shard; once for each table that goes.
    shard->blocks.erase_if([owner](const BlockKey& key, const Block&) { return key.owner == owner; });
  }
}

size_t BlockCache::bytes() const {
  size_t sum = 0;
  for (const auto& shard : impl_->shards()) {
    const MutexLock lock(shard->mutex);
    sum += shard->blocks.weight();
  }
  return sum;
}

}  // namespace cairn::index
