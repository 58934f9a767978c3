#include "index/memtable.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <compare>
#include <cstddef>
#include <cstring>
#include <memory>
#include <new>
#include <type_traits>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"

namespace cairn::index {
namespace {

// Pugh, "Skip Lists: A Probabilistic Alternative to Balanced Trees", CACM 1990, with p = 1/4.
constexpr int kMaxHeight = 12;              // 4^12 entries before lookups slow down
constexpr size_t kArenaBlock = 256u << 10;  // bytes
static_assert(kMaxHeight > 1 && kArenaBlock % alignof(std::max_align_t) == 0);

// The first 16 bytes of a key as two numbers that compare as the bytes do: inode, kind and the front of a name or number.
// Zeros stand for what a short key lacks, so equal fronts say nothing, and different ones everything.
struct Front {
  uint64_t high = 0;
  uint64_t low = 0;
  Front() = default;
  explicit Front(ByteView key) {
    char bytes[16] = {};
    std::copy_n(key.begin(), std::min(key.size(), sizeof bytes), bytes);
    std::memcpy(&high, bytes, 8);
    std::memcpy(&low, bytes + 8, 8);
    if constexpr (std::endian::native == std::endian::little) {
      high = __builtin_bswap64(high);
      low = __builtin_bswap64(low);
    }
  }
  friend auto operator<=>(const Front&, const Front&) = default;
};

// One version of a key. A search goes through a dozen or two of them, each in a cache line of its own: what it looks at comes
// first, and the rest lies behind a pointer. `next` has `height` slots (the struct declares one, the arena gives room for the
// others); behind them come the entry, the key's bytes and the small value. Only `next` changes after publication.
struct Node {
  Front front;
  format::IndexEntry* entry = nullptr;
  const char* key_data = nullptr;
  uint32_t key_length = 0;
  int height = 0;
  std::atomic<Node*> next[1];

  [[nodiscard]] ByteView key() const { return {key_data, key_length}; }
  [[nodiscard]] Node* at(int level) const { return next[level].load(std::memory_order_acquire); }
};

// What is searched for.
struct Target {
  Target(ByteView k, SeqNo s) : front(k), key(k), seq(s) {}
  Front front;
  ByteView key;
  SeqNo seq;
};

constexpr size_t aligned(size_t bytes) { return (bytes + alignof(Node) - 1) & ~(alignof(Node) - 1); }
// Bytes that a node of `height` takes, all that lies behind it included.
constexpr size_t node_size(int height, size_t key_length, size_t small_length) {
  return aligned(sizeof(Node) + sizeof(std::atomic<Node*>) * static_cast<size_t>(height - 1) +
                 sizeof(format::IndexEntry) + key_length + small_length);
}
// Of the largest node: what is given up of a block, at most.
constexpr size_t kMaxNode = node_size(kMaxHeight, format::kMaxKeyLength, format::kMaxInlineValue);

static_assert(kMaxNode < kArenaBlock / 2);

static_assert(alignof(Node) <= alignof(std::max_align_t), "new[] of char is aligned for it");
static_assert(alignof(format::IndexEntry) <= alignof(Node), "it lies behind the slots");
static_assert(std::is_trivially_destructible_v<Node> && std::is_trivially_destructible_v<format::IndexEntry>,
              "the arena frees them without asking");

// Key ascending, newer first.
bool before(const Node& node, const Target& target) {
  if (node.front != target.front) return node.front < target.front;
  const int order = node.key().compare(target.key);
  return order != 0 ? order < 0 : node.entry->seq > target.seq;
}

// Memory that is freed all at once. The writer allocates; anybody may ask for the size.
class Arena {
 public:
  char* allocate(size_t bytes) {
    bytes = aligned(bytes);
    // What is left of a block is given up: at most one node's worth.
    if (bytes > left_) grow(bytes);
    char* const result = at_;
    at_ += bytes;
    left_ -= bytes;
    return result;
  }
  // Nodes of `bytes` altogether can be allocated from now on without asking for memory.
  void reserve(size_t bytes) {
    const auto usable = [](size_t free) { return free > kMaxNode ? free - kMaxNode : 0; };
    size_t have = usable(left_) + spare_.size() * usable(kArenaBlock);
    for (; have < bytes; have += usable(kArenaBlock)) {
      blocks_.reserve(blocks_.size() + spare_.size() + 1);
      spare_.push_back(std::make_unique_for_overwrite<char[]>(kArenaBlock));
      bytes_.fetch_add(kArenaBlock, std::memory_order_relaxed);
    }
  }
  [[nodiscard]] size_t bytes() const { return bytes_.load(std::memory_order_relaxed); }

 private:
  void grow(size_t bytes) {
    if (!spare_.empty() && bytes <= kArenaBlock) {
      blocks_.push_back(std::move(spare_.back()));  // its place is reserved
      spare_.pop_back();
      at_ = blocks_.back().get();
      left_ = kArenaBlock;
      return;
    }
    const size_t size = std::max(bytes, kArenaBlock);
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));  // new[] of char is aligned for anything
    at_ = blocks_.back().get();
    left_ = size;
    bytes_.fetch_add(size, std::memory_order_relaxed);
  }

  std::vector<std::unique_ptr<char[]>> blocks_;
  std::vector<std::unique_ptr<char[]>> spare_;  // of kArenaBlock each, not used yet
  char* at_ = nullptr;
  size_t left_ = 0;
  std::atomic<size_t> bytes_{0};
};

}  // namespace

class Memtable::Impl {
 public:
  Impl() : head_(make_node(kMaxHeight, {}, {})) {}

  void reserve(size_t bytes) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    // What of the others' promises is used already is reserved once more: nobody keeps count of that.
    arena_.reserve(promised_ + bytes);
    promised_ += bytes;
  }
  void release(size_t bytes) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    CHECK(promised_ >= bytes);
    promised_ -= bytes;
  }

  void insert(ByteView key, const format::IndexEntry& entry) EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    // The key goes in copied, and everything that can fail for want of memory comes before the first link is changed.
    Node* previous[kMaxHeight];
    const Target target(key, entry.seq);
    Node* const at = find(target, previous);
    if (at != nullptr && at->entry->seq == entry.seq && at->key() == key) return;  // the same record once more
    Node* const node = make_node(random_height(), key, entry);
    // From the bottom: a reader that finds the node on a higher level also finds it below.
    DCHECK(at == nullptr || !before(*at, target));
    for (int level = 0; level < node->height; ++level) {
      node->next[level].store(previous[level]->next[level].load(std::memory_order_relaxed), std::memory_order_relaxed);
      // Publishes the node: a reader that loads this pointer (acquire) sees all that was written into it.
      previous[level]->next[level].store(node, std::memory_order_release);
    }
    entries_.fetch_add(1, std::memory_order_relaxed);
  }

  // The first node that does not stand before the target. `previous`: the last node before it at each level.
  Node* find(const Target& target, Node** previous = nullptr) const {
    // No lock: links only ever change from one node to a new one in between, and nodes stay.
    Node* node = head_;
    for (int level = kMaxHeight - 1;; --level) {
      Node* next = node->at(level);
      while (next != nullptr && before(*next, target)) {
        node = next;
        next = node->at(level);
      }
      if (previous != nullptr) previous[level] = node;
      if (level == 0) return next;
    }
  }

  [[nodiscard]] size_t entries() const { return entries_.load(std::memory_order_relaxed); }
  [[nodiscard]] size_t memory() const { return arena_.bytes(); }

 private:
  Node* make_node(int height, ByteView key, const format::IndexEntry& entry) {
    const size_t slots = sizeof(Node) + sizeof(std::atomic<Node*>) * static_cast<size_t>(height - 1);
    const ByteView small = entry.has_small ? entry.small : ByteView();
    char* const memory = arena_.allocate(slots + sizeof(format::IndexEntry) + key.size() + small.size());
    Node* const node = new (memory) Node;
    node->front = Front(key);
    for (int level = 0; level < height; ++level) new (&node->next[level]) std::atomic<Node*>(nullptr);
    node->entry = new (memory + slots) format::IndexEntry(entry);
    char* const bytes = memory + slots + sizeof(format::IndexEntry);
    CHECK(key.size() <= format::kMaxKeyLength && small.size() <= format::kMaxInlineValue);
    std::copy(key.begin(), key.end(), bytes);
    std::copy(small.begin(), small.end(), bytes + key.size());
    node->entry->small = ByteView(bytes + key.size(), small.size());
    node->key_data = bytes;
    node->key_length = static_cast<uint32_t>(key.size());
    node->height = height;
    return node;
  }

  // One more level with probability 1/4 each. Not from the Env: heights change speed, never an answer.
  int random_height() REQUIRES(mutex_) {
    // xorshift64 (Marsaglia 2003): the low bits are the weakest, so the ones above 16 are used.
    random_ ^= random_ << 13;
    random_ ^= random_ >> 7;
    random_ ^= random_ << 17;
    int height = 1;
    for (uint64_t bits = random_ >> 16; height < kMaxHeight && (bits & 3) == 0; bits >>= 2) ++height;
    return height;
  }

  Mutex mutex_;  // serialises writers; a leaf
  Arena arena_;  // used under mutex_ (and in the constructor); its size may be read by anybody
  uint64_t random_ GUARDED_BY(mutex_) = 0x853c49e6748fea9b;
  size_t promised_ GUARDED_BY(mutex_) = 0;  // bytes
  std::atomic<size_t> entries_{0};
  Node* const head_;  // before every key; holds no entry
};

namespace {

template <class List>
class MemtableIterator final : public Iterator {
 public:
  explicit MemtableIterator(const List& list) : list_(list) {}
  Result<void> seek(ByteView target, SeqNo max_seq) override {
    node_ = list_.find(Target(target, max_seq));
    return {};
  }
  Result<void> next() override {
    DCHECK(node_ != nullptr);
    node_ = node_->at(0);
    return {};
  }
  [[nodiscard]] bool valid() const override { return node_ != nullptr; }
  [[nodiscard]] ByteView key() const override { return node_->key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return *node_->entry; }

 private:
  const List& list_;
  const Node* node_ = nullptr;
};

}  // namespace

Memtable::Memtable() : impl_(std::make_unique<Impl>()) {}
Memtable::~Memtable() = default;

size_t Memtable::memory_of(size_t key_length, size_t small_length) {
  return node_size(kMaxHeight, key_length, small_length);
}
void Memtable::reserve(size_t bytes) { impl_->reserve(bytes); }
void Memtable::release(size_t bytes) { impl_->release(bytes); }
void Memtable::insert(ByteView key, const format::IndexEntry& entry) { impl_->insert(key, entry); }

std::optional<format::IndexEntry> Memtable::get(ByteView key, SeqNo max_seq) const {
  const Node* const node = impl_->find(Target(key, max_seq));
  if (node == nullptr || node->key() != key) return std::nullopt;
  return *node->entry;
}

std::unique_ptr<Iterator> Memtable::iterate() const { return std::make_unique<MemtableIterator<Impl>>(*impl_); }
size_t Memtable::entries() const { return impl_->entries(); }
size_t Memtable::memory() const { return impl_->memory(); }

}  // namespace cairn::index
