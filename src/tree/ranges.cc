// Holes: making them (fallocate) and finding them (lseek).
#include <algorithm>

#include "base/check.h"
#include "base/try.h"
#include "tree/chunks.h"
#include "tree/content.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kErasedAtOnce = 64;  // chunks in one operation

// Extends the file up to `size`, if it is shorter. Its times move in either case, as with ext4.
Result<void> extend(Tree& tree, Inode& inode, uint64_t size) {
  for (;;) {
    // Chunks behind the old end must be gone before the file covers them again.
    TRY(finish_sweep(tree, inode));
    using Kind = Store::OperationKind;
    TRY_ASSIGN(auto edit, Edit::begin(tree, attributes_cost_max(), size == 0 ? Kind::kFree : Kind::kGrow));
    const WriteLock lock(inode.mutex);
    TRY(require_regular(inode));
    if (inode.attributes.size < size && sweep_in_the_way(inode.attributes, size)) continue;
    format::Attributes& next = edit.draft(inode);
    next.size = std::max(next.size, size);
    next.mtime = next.ctime = edit.now();
    return edit.commit();
  }
}

// Never changes once the inode is loaded.
uint64_t chunk_size_of(Inode& inode) EXCLUDES(inode.mutex) {
  const ReadLock lock(inode.mutex);
  return inode.attributes.chunk_size();
}

// Zeros over what chunk `index` has in begin..end-1.
Result<void> zero_in_chunk(Tree& tree, Inode& inode, uint64_t index, uint64_t begin, uint64_t end) {
  TRY_ASSIGN(auto edit, Edit::begin(tree, attributes_cost_max() + chunk_cost(chunk_size_of(inode))));
  const WriteLock lock(inode.mutex);
  TRY(require_regular(inode));
  TRY_ASSIGN(const uint64_t length, chunk_length(tree, inode, index));
  format::Attributes& next = edit.draft(inode);
  next.mtime = next.ctime = edit.now();
  CHECK(begin < end);
  ChunkWrites writes(tree, edit);
  // Only over what is there: behind it the chunk reads as zeros already.
  const Bytes zeros(length > begin ? std::min(length, end) - begin : 0, '\0');
  if (!zeros.empty()) TRY(writes.plan(inode, index, begin, zeros));
  return writes.commit(inode);
}

// Erases some of the chunks first..last-1, from the front. Gives the first that is left, or `last`.
Result<uint64_t> erase_some(Tree& tree, Inode& inode, uint64_t first, uint64_t last) {
  const uint64_t rest = attributes_cost_max();
  TRY_ASSIGN(auto edit, Edit::begin(tree, rest + kErasedAtOnce * erase_cost(), Store::OperationKind::kFree));
  const uint64_t room = edit.room_left() > rest ? edit.room_left() - rest : 0;
  const WriteLock lock(inode.mutex);
  TRY(require_regular(inode));
  format::Attributes& next = edit.draft(inode);
  next.mtime = next.ctime = edit.now();
  last = std::min(last, chunks_in(inode.attributes, inode.attributes.size));
  // At least one whole chunk with all its patches, or nothing would ever be erased.
  static_assert(format::kMaxPatches + 1 <= kErasedAtOnce, "one chunk with all its patches goes in one operation");
  const uint64_t most = std::clamp<uint64_t>(room / erase_cost(), format::kMaxPatches + 1, kErasedAtOnce);
  TRY_ASSIGN(const auto logged, logged_keys(tree, inode, first, last, most));
  CHECK(logged.complete || !logged.keys.empty());
  const uint64_t end = logged.complete ? last : logged.keys.back().index + 1;
  TRY(erase_chunks(tree, edit, inode, logged.keys, first, end));
  TRY(edit.commit());
  drop_chunks(edit.operation(), inode, first, end);
  tree.dirty.update(inode);
  return end;
}

Result<void> make_hole(Tree& tree, Inode& inode, uint64_t offset, uint64_t end) {
  uint64_t chunk_size = 0;
  {
    const ReadLock lock(inode.mutex);
    TRY(require_regular(inode));
    chunk_size = inode.attributes.chunk_size();
    end = std::min(end, inode.attributes.size);
    // Up to the end of the file the last chunk goes as a whole.
    if (end == inode.attributes.size) end = (end + chunk_size - 1) / chunk_size * chunk_size;
  }
  if (offset >= end) return {};
  CHECK(chunk_size != 0);
  const uint64_t first = offset / chunk_size;
  const uint64_t last = end / chunk_size;
  if (first == last) return zero_in_chunk(tree, inode, first, offset % chunk_size, end % chunk_size);
  if (offset % chunk_size != 0) TRY(zero_in_chunk(tree, inode, first, offset % chunk_size, chunk_size));
  if (end % chunk_size != 0) TRY(zero_in_chunk(tree, inode, last, 0, end % chunk_size));
  for (uint64_t next = (offset + chunk_size - 1) / chunk_size; next < last;) {
    TRY_ASSIGN(const uint64_t end_of_step, erase_some(tree, inode, next, last));
    if (end_of_step <= next) break;  // the file was cut meanwhile
    next = end_of_step;
  }
  return {};
}

// Room for what a plain fallocate wants beyond the end of the file, as far as that can be told in advance.
Result<void> check_room(Tree& tree, const Inode& inode, uint64_t offset, uint64_t length) REQUIRES_SHARED(inode.mutex) {
  const StoreStats stats = tree.store.stats();
  const uint64_t free =
      stats.limit != 0 ? stats.limit - std::min(stats.limit, stats.allocated_bytes) : stats.disk_available;
  const uint64_t end = offset + length;
  // Only what is beyond the end: holes inside may be there already, and are told apart by writing.
  const uint64_t more = end > inode.attributes.size ? std::min(length, end - inode.attributes.size) : 0;
  if (more > free) return fail(ErrorCode::kNoSpace);
  return {};
}

// Whether the file has content of its own in chunk `index`, or the first chunk from there on that has. None: UINT64_MAX.
Result<uint64_t> next_data(const Tree& tree, const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex) {
  uint64_t found = UINT64_MAX;
  if (const auto it = inode.chunks.lower_bound(index); it != inode.chunks.end()) found = it->first;
  const uint64_t last = chunks_in(inode.attributes, inode.attributes.size);
  TRY_ASSIGN(const auto logged, logged_keys(tree, inode, index, last, format::kMaxPatches + 1));
  if (!logged.keys.empty()) found = std::min(found, logged.keys.front().index);
  return found;
}

// The first chunk from `index` on that is a hole; the end of the file is one.
Result<uint64_t> next_hole(const Tree& tree, const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex) {
  const uint64_t last = chunks_in(inode.attributes, inode.attributes.size);
  if (is_dense(inode.attributes)) return last;
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kChunk));
  cursor.seek(format::chunk_key(inode.ino, index));
  for (; index < last; ++index) {
    const bool logged = cursor.valid() && cursor.key() == format::chunk_key(inode.ino, index);
    if (logged) cursor.seek(format::chunk_key(inode.ino, index + 1));
    if (!logged && !inode.chunks.contains(index)) break;
  }
  TRY(cursor.status());
  return index;
}

}  // namespace

Result<void> fallocate(Tree& tree, Ino ino, uint32_t flags, uint64_t offset, uint64_t length) {
  constexpr uint32_t kKnown = kFallocKeepSize | kFallocPunch | kFallocZero;
  if ((flags & ~kKnown) != 0) return fail(ErrorCode::kUnsupported);
  const bool punch = (flags & kFallocPunch) != 0;
  const bool zero = (flags & kFallocZero) != 0;
  const bool keep_size = (flags & kFallocKeepSize) != 0;
  if ((punch && zero) || (punch && !keep_size)) return fail(ErrorCode::kUnsupported);
  if (length == 0) return fail(ErrorCode::kInvalid);
  if (offset > kMaxFileSize || length > kMaxFileSize - offset) return fail(ErrorCode::kTooLarge);
  const InodeRef inode = tree.inodes.get(ino);
  {
    const ReadLock lock(inode->mutex);
    TRY(require_regular(*inode));
    if (!punch) TRY(check_room(tree, *inode, offset, length));
  }
  if (punch || zero) TRY(make_hole(tree, *inode, offset, offset + length));
  return extend(tree, *inode, keep_size ? 0 : offset + length);
}

Result<uint64_t> seek(Tree& tree, Ino ino, uint64_t offset, SeekWhat what) {
  const InodeRef inode = tree.inodes.get(ino);
  const ReadLock lock(inode->mutex);
  TRY(require_regular(*inode));
  const format::Attributes a = inode->attributes;
  if (offset >= a.size) return fail(ErrorCode::kNoDevice);
  const uint64_t index = offset >> a.chunk_bits;
  if (what == SeekWhat::kData) {
    TRY_ASSIGN(const uint64_t data, next_data(tree, *inode, index));
    if (data == UINT64_MAX) return fail(ErrorCode::kNoDevice);
    return std::max(offset, data << a.chunk_bits);
  }
  TRY_ASSIGN(const uint64_t hole, next_hole(tree, *inode, index));
  return std::clamp(hole << a.chunk_bits, offset, a.size);
}

}  // namespace cairn::tree
