#include "cache/chunk_cache.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cairn::cache {
namespace {

constexpr size_t kValueOverhead = 160;       // bytes: map node, links, control block, allocator headers
constexpr size_t kMinShardBytes = 4u << 20;  // so that a shard holds some chunks of any size that is sensible
constexpr size_t kMaxShards = 16;

static_assert(kValueOverhead >= sizeof(SeqNo) + sizeof(Value), "what is kept beside the bytes is counted");
}  // namespace

struct ChunkCache::Shard {
  explicit Shard(size_t capacity) : values(capacity) {}
  mutable Mutex mutex;  // a leaf
  Sieve<SeqNo, Value> values GUARDED_BY(mutex);
};

ChunkCache::ChunkCache(size_t capacity_bytes) {
  const size_t shards = std::clamp<size_t>(capacity_bytes / kMinShardBytes, 1, kMaxShards);
  for (size_t i = 0; i < shards; ++i) shards_.push_back(std::make_unique<Shard>(capacity_bytes / shards));
}

ChunkCache::~ChunkCache() = default;

// Mixed, because what is cached may be every second or fourth number only.
ChunkCache::Shard& ChunkCache::shard(SeqNo seq) {
  return *shards_[(seq.value * 0x9e3779b97f4a7c15u >> 32) % shards_.size()];
}

std::optional<Value> ChunkCache::find(SeqNo seq) {
  Shard& home = shard(seq);
  const MutexLock lock(home.mutex);
  // Copies a pointer; the bytes are shared with whoever reads them.
  const Value* value = home.values.find(seq);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

void ChunkCache::insert(SeqNo seq, Value value) {
  CHECK(seq != SeqNo{});
  const size_t weight = value.size() + kValueOverhead;
  std::vector<Value> evicted;  // freed after the lock is released
  Shard& home = shard(seq);
  const MutexLock lock(home.mutex);
  // Two readers may have missed at once. A sequence number means one value for ever, so either copy is right.
  if (home.values.find(seq) != nullptr) return;
  home.values.insert(seq, std::move(value), weight,
                     [&evicted](SeqNo, Value&& old) { evicted.push_back(std::move(old)); });
}

size_t ChunkCache::bytes() const {
  size_t sum = 0;
  for (const auto& home : shards_) {
    const MutexLock lock(home->mutex);
    sum += home->values.weight();
  }
  return sum;
}

}  // namespace cairn::cache
