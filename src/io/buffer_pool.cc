#include "io/buffer_pool.h"

#include <algorithm>
#include <cerrno>
#include <limits>
#include <new>
#include <optional>

#include <fmt/format.h>
#include <sys/mman.h>

#include "base/check.h"
#include "io/env.h"

namespace cairn::io {
namespace {

void unmap(char* data, size_t size) { CHECK(munmap(data, size) == 0); }

tl::unexpected<Error> no_memory(uint64_t size) {
  return fail(ErrorCode::kOutOfMemory, fmt::format("no memory for a value of {} bytes", size));
}

}  // namespace

BufferPool::~BufferPool() {
  for (const Buffer& buffer : idle_) unmap(buffer.data, buffer.size);
}

Result<std::shared_ptr<char[]>> BufferPool::take(uint64_t size) {
  CHECK(size >= kSmallest);
  if (size > std::numeric_limits<size_t>::max() / 2) return no_memory(size);
  const size_t whole = (size + kBlockSize - 1) / kBlockSize * kBlockSize;
  std::optional<Buffer> buffer;
  {
    const MutexLock lock(mutex_);
    const auto fits = [whole](const Buffer& b) { return b.size >= whole && b.size - whole <= whole / 8; };
    if (const auto it = std::find_if(idle_.rbegin(), idle_.rend(), fits); it != idle_.rend()) {
      buffer = *it;
      CHECK(idle_bytes_ >= it->size);
      idle_bytes_ -= it->size;
      idle_.erase(std::next(it).base());
    }
  }
  if (!buffer) {
    void* const data = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) return no_memory(size);
    buffer = Buffer{static_cast<char*>(data), whole};
  }
  DCHECK(buffer->size >= size && buffer->size % kBlockSize == 0);
  try {
    // Given back by the deleter also if there is no memory for the count.
    return std::shared_ptr<char[]>(buffer->data,
                                   [pool = shared_from_this(), b = *buffer](char*) { pool->give_back(b); });
  } catch (const std::bad_alloc&) {
    return no_memory(size);
  }
}

void BufferPool::give_back(Buffer buffer) {
  {
    const MutexLock lock(mutex_);
    CHECK(idle_bytes_ <= kIdleBytes);
    if (idle_.size() < kIdleMax && buffer.size <= kIdleBytes - idle_bytes_) {
      idle_.push_back(buffer);
      idle_bytes_ += buffer.size;
      return;
    }
  }
  unmap(buffer.data, buffer.size);
}

size_t BufferPool::idle_bytes() const {
  const MutexLock lock(mutex_);
  return idle_bytes_;
}

}  // namespace cairn::io
