// Large buffers for values that are read, recycled.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "base/mutex.h"
#include "cairn/result.h"

namespace cairn::io {

// Page-aligned memory of its own pages each, fit for direct I/O. A full cache lets a value go for each that comes in: the next read
// takes the pages of the last one that went, with no fault and none of the holes that a heap gets from sizes like these (measured:
// 520 MB resident for 256 MiB of values). What is out is bounded by who holds it; besides at most kIdleBytes lie idle. A buffer may
// outlive the pool's other owners. Thread-safe.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  static constexpr size_t kSmallest = 64 << 10;   // bytes; below it the heap is as good
  static constexpr size_t kIdleBytes = 16 << 20;  // at most

  BufferPool() { idle_.reserve(kIdleMax); }
  ~BufferPool();
  BufferPool(const BufferPool&) = delete;
  BufferPool& operator=(const BufferPool&) = delete;

  // At least `size` bytes, of any content, and not more than an eighth (or a page) above. Needs size >= kSmallest. kOutOfMemory.
  Result<std::shared_ptr<char[]>> take(uint64_t size);
  [[nodiscard]] size_t idle_bytes() const;

 private:
  struct Buffer {
    char* data;
    size_t size;  // whole pages
  };
  static constexpr size_t kIdleMax = kIdleBytes / kSmallest;

  // Keeps it, or unmaps it where enough lie idle. Needs no memory: it runs in a deleter.
  void give_back(Buffer buffer);

  mutable Mutex mutex_;  // a leaf
  // The one that came last is at the back: its bytes may still be in the processor's cache.
  std::vector<Buffer> idle_ GUARDED_BY(mutex_);
  size_t idle_bytes_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::io
