// The memory image of the segment that is being filled, and the bounded pool these come from.
#pragma once

#include <atomic>
#include <cstddef>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "cairn/result.h"

namespace cairn::log {

// Page-aligned anonymous memory of one segment's size. Content is undefined when taken from the pool: whoever writes also
// writes the padding (hazard 10). Synchronisation is the owner's: records are disjoint ranges.
class Slab {
 public:
  // Takes `size` bytes at `data` over, which came from mmap.
  Slab(char* data, size_t size) : data_(data), size_(size) {}
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  // Aligned for direct I/O. Constant for life: readers point into it, and keep it alive by their pin.
  [[nodiscard]] char* data() const { return data_; }
  [[nodiscard]] size_t size() const { return size_; }
  // Has the kernel make the pages up to `until` (whole pages, at most size()), so that writing there later does not wait for them. Changes
  // no byte, may be called beside writers, by one thread at a time; what the kernel cannot do now is done by those who write.
  void touch(size_t until);
  // How far that was done. Any thread.
  [[nodiscard]] size_t touched() const { return touched_.load(std::memory_order_relaxed); }

 private:
  char* data_;
  size_t size_;
  std::atomic<size_t> touched_ = 0;  // bytes
};

// Hands out slabs; one whose last shared_ptr goes comes back. At most `keep` idle slabs stay allocated. The pool may go before
// its slabs do. Thread-safe.
class SlabPool : public std::enable_shared_from_this<SlabPool> {
 public:
  // Idle slabs have their places from the start: giving one back happens in a deleter, which must not need memory.
  SlabPool(size_t slab_size, size_t keep) : slab_size_(slab_size), keep_(keep) { idle_.reserve(keep); }
  // A slab for the caller and whoever shares it. Never waits: there is no bound on how many are out, the log's queue
  // has one. kOutOfMemory.
  Result<std::shared_ptr<Slab>> take();

 private:
  // Keeps it, or frees it where enough lie idle.
  void give_back(std::unique_ptr<Slab> slab);
  const size_t slab_size_;  // bytes
  // Idle slabs, at most: their memory is touched, so they are cheap to fill again and dear to keep.
  const size_t keep_;
  Mutex mu_;  // a leaf
  std::vector<std::unique_ptr<Slab>> idle_ GUARDED_BY(mu_);
};

}  // namespace cairn::log
