#include "io/sim_content.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace cairn::io {
namespace {

// What is allocated and was never written. One for all, as it never changes.
const PagePtr& zero_page() {
  static const PagePtr page = std::make_shared<const Page>(Page{});
  return page;
}

}  // namespace

size_t SimContent::read(uint64_t offset, std::span<char> buffer) const {
  // Clipped to the size: pages beyond it exist only in half-built crash states.
  if (offset >= size_) return 0;
  const size_t length = std::min<uint64_t>(buffer.size(), size_ - offset);
  for (size_t done = 0; done < length;) {
    const uint64_t in_page = (offset + done) % kPageSize;
    const size_t n = std::min<uint64_t>(kPageSize - in_page, length - done);
    const PagePtr source = page((offset + done) / kPageSize);
    if (source == nullptr) {
      std::memset(buffer.data() + done, 0, n);
    } else {
      std::memcpy(buffer.data() + done, source->data() + in_page, n);
    }
    done += n;
  }
  return length;
}

void SimContent::write(uint64_t offset, ByteView bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const uint64_t index = (offset + done) / kPageSize;
    const uint64_t in_page = (offset + done) % kPageSize;
    const size_t n = std::min<uint64_t>(kPageSize - in_page, bytes.size() - done);
    const std::shared_ptr<Page> copy = writable_copy(index);
    std::memcpy(copy->data() + in_page, bytes.data() + done, n);
    set_page(index, copy);
    done += n;
  }
  // Writing nothing does not extend a file, as write(2).
  if (!bytes.empty()) size_ = std::max<uint64_t>(size_, offset + bytes.size());
}

void SimContent::allocate(uint64_t offset, uint64_t length) {
  for (uint64_t index = offset / kPageSize; index < page_count(offset + length); ++index) {
    // Allocated and zero differ from a hole in what they take of the disk, not in what is read.
    if (page(index) == nullptr) set_page(index, zero_page());
  }
}

void SimContent::punch(uint64_t offset, uint64_t length) {
  // As fallocate(2) does: whole pages become holes, parts of pages zeros.
  const uint64_t end = std::min(offset + length, pages_.size() * kPageSize);
  while (offset < end) {
    const uint64_t next = std::min(end, (offset / kPageSize + 1) * kPageSize);
    zero(offset, next);
    offset = next;
  }
}

void SimContent::zero(uint64_t offset, uint64_t end) {
  const uint64_t index = offset / kPageSize;
  CHECK(offset <= end && end <= (index + 1) * kPageSize);
  if (page(index) == nullptr) return;
  if (end - offset == kPageSize) {
    set_page(index, nullptr);
    return;
  }
  const std::shared_ptr<Page> copy = writable_copy(index);
  std::memset(copy->data() + offset % kPageSize, 0, end - offset);
  set_page(index, copy);
}

void SimContent::resize(uint64_t size) {
  size_ = size;
  // Bytes behind the new end are gone at once: extending the file again shows zeros, never what was there.
  const uint64_t keep = page_count(size);
  for (uint64_t index = keep; index < pages_.size(); ++index) set_page(index, nullptr);
  if (keep < pages_.size()) pages_.resize(keep);
  if (size % kPageSize != 0) zero(size, keep * kPageSize);
  DCHECK(page_count(size_) >= pages_.size());
}

void SimContent::set_page(uint64_t index, PagePtr page) {
  CHECK(index < page_count(kSimFileSizeMax));
  // A hole behind the last page is what is there anyway.
  if (index >= pages_.size()) {
    if (page == nullptr) return;
    pages_.resize(index + 1);
  }
  DCHECK(pages_[index] == nullptr || allocated_ > 0);
  if (pages_[index] != nullptr) --allocated_;
  if (page != nullptr) ++allocated_;
  pages_[index] = std::move(page);
}

void SimContent::set_sector(uint64_t sector, const PagePtr& source) {
  const uint64_t index = sector / kSectorsPerPage;
  // Zeros into a hole change nothing, and must not allocate: a crash never takes more room than the run did.
  if (source == nullptr && page(index) == nullptr) return;
  const uint64_t in_page = sector % kSectorsPerPage * kSectorSize;
  const std::shared_ptr<Page> copy = writable_copy(index);
  std::memcpy(copy->data() + in_page, (source == nullptr ? zero_page() : source)->data() + in_page, kSectorSize);
  set_page(index, copy);
}

std::shared_ptr<Page> SimContent::writable_copy(uint64_t index) const {
  // Always a copy, also where nobody shares the page: pages never change, so that states can be forked for nothing.
  const PagePtr old = page(index);
  return old == nullptr ? std::make_shared<Page>(Page{}) : std::make_shared<Page>(*old);
}

}  // namespace cairn::io
