// The memory image of the segment that is being filled, and the bounded pool these come from.
#pragma once

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
  Slab(char* data, size_t size) : data_(data), size_(size) {}
  ~Slab();
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;
  [[nodiscard]] char* data() const { return data_; }
  [[nodiscard]] size_t size() const { return size_; }

 private:
  char* data_;
  size_t size_;
};

// Hands out slabs; one whose last shared_ptr goes comes back. At most `keep` idle slabs stay allocated. The pool may go before
// its slabs do. Thread-safe.
class SlabPool : public std::enable_shared_from_this<SlabPool> {
 public:
  SlabPool(size_t slab_size, size_t keep) : slab_size_(slab_size), keep_(keep) {}
  // kOutOfMemory.
  Result<std::shared_ptr<Slab>> take();

 private:
  void give_back(std::unique_ptr<Slab> slab);
  const size_t slab_size_;  // bytes
  const size_t keep_;
  Mutex mu_;  // a leaf
  std::vector<std::unique_ptr<Slab>> idle_ GUARDED_BY(mu_);
};

}  // namespace cairn::log
