// The bytes of a simulated file, in shared pages.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "cairn/bytes.h"

namespace cairn::io {

inline constexpr uint64_t kPageSize = 4096;   // what disk space is counted in
inline constexpr uint64_t kSectorSize = 512;  // what a crash leaves old or new, never mixed
inline constexpr uint64_t kSectorsPerPage = kPageSize / kSectorSize;
inline constexpr uint64_t kSimFileSizeMax = uint64_t{1} << 32;  // bytes; what goes beyond is EFBIG
static_assert(kPageSize % kSectorSize == 0 && kSimFileSizeMax % kPageSize == 0);

// A page never changes once it is in a content, so that any number of disk states can share it.
using Page = std::array<char, kPageSize>;
using PagePtr = std::shared_ptr<const Page>;  // null: a hole

// How many are touched by `bytes` from the start of a file.
inline constexpr uint64_t page_count(uint64_t bytes) { return (bytes + kPageSize - 1) / kPageSize; }
inline constexpr uint64_t sector_count(uint64_t bytes) { return (bytes + kSectorSize - 1) / kSectorSize; }

// A size and pages. Copying costs one pointer per page; writing replaces pages. A page may lie beyond the size only
// while a crash state is being put together. Not thread-safe.
class SimContent {
 public:
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] uint64_t allocated_pages() const { return allocated_; }
  [[nodiscard]] uint64_t page_limit() const { return pages_.size(); }  // no page at this index or above
  [[nodiscard]] PagePtr page(uint64_t index) const { return index < pages_.size() ? pages_[index] : nullptr; }

  // Fills `buffer` from `offset` as far as the size goes; returns how much.
  size_t read(uint64_t offset, std::span<char> buffer) const;
  // Extends the size where needed.
  void write(uint64_t offset, ByteView bytes);
  // Allocates the holes in the range; the size stays.
  void allocate(uint64_t offset, uint64_t length);
  // Makes holes of whole pages, zeros of parts; the size stays.
  void punch(uint64_t offset, uint64_t length);
  // As truncate(2): drops what lies behind.
  void resize(uint64_t size);

  // These two leave the size as it is.
  void set_page(uint64_t index, PagePtr page);
  // Copies one sector, numbered from the start of the file, out of `source`; null is zeros.
  void set_sector(uint64_t sector, const PagePtr& source);

 private:
  // A new page with the same bytes (zeros for a hole), for a change that set_page() then puts in.
  std::shared_ptr<Page> writable_copy(uint64_t index) const;
  void zero(uint64_t offset, uint64_t end);  // within one page

  uint64_t size_ = 0;
  uint64_t allocated_ = 0;  // pages that are not null
  // By index; shorter than the size wherever the end is a hole.
  std::vector<PagePtr> pages_;
};

}  // namespace cairn::io
