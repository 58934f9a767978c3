// Changing the size of a regular file.
#include <algorithm>

#include "base/check.h"
#include "base/try.h"
#include "tree/chunks.h"
#include "tree/content.h"

namespace cairn::tree {
namespace {

// More chunks than this are left to the sweeper: a truncation stays short.
constexpr uint64_t kErasedAtOnce = 64;

// Sum of the lengths of the chunks in front of `last`.
Result<uint64_t> stored_before(const Tree& tree, const Inode& inode, uint64_t last) REQUIRES_SHARED(inode.mutex) {
  if (last == 0) return 0;
  uint64_t sum = 0;
  for (const auto& [index, chunk] : inode.chunks) {
    if (index < last) sum += chunk.length();
  }
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kChunk));
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    if (key.number >= last) break;
    if (key.patch != 0 || inode.chunks.contains(key.number)) continue;
    TRY_ASSIGN(const uint64_t length, chunk_length(tree, inode, key.number));
    sum += length;
  }
  TRY(cursor.status());
  return sum;
}

}  // namespace

uint64_t Resize::room(uint64_t chunk_size) {
  return attributes_cost_max() + chunk_cost(chunk_size) + (kErasedAtOnce + 1) * log_cost(format::kChunkKeySize, 1);
}

Result<void> Resize::plan(Inode& inode, uint64_t size) {
  if (size > kMaxFileSize) return fail(ErrorCode::kTooLarge);
  inode.known_patches.reset();
  format::Attributes& next = edit_.draft(inode);
  // First what lies behind, then the chunk that is cut: both are in one batch with the size.
  if (size < inode.attributes.size) {
    TRY(drop_from(inode, chunks_in(inode.attributes, size)));
    TRY(cut_last_chunk(inode, size));
  } else {
    CHECK(!sweep_in_the_way(inode.attributes, size));
  }
  next.size = size;
  // No chunk is left that could have one.
  if (size == 0) next.patched = false;
  return {};
}

// Chunks from `first` on: a few are erased at once, many are left to the sweeper.
Result<void> Resize::drop_from(Inode& inode, uint64_t first) {
  first_dropped_ = first;
  if (inode.attributes.sweep_from == format::kNoSweep) {
    TRY_ASSIGN(const auto logged, logged_keys(tree_, inode, first, UINT64_MAX, kErasedAtOnce));
    const uint64_t erases = logged.keys.size() * erase_cost();
    const uint64_t rest = attributes_cost_max() + chunk_cost(inode.attributes.chunk_size());
    if (logged.complete && erases + rest <= edit_.room_left()) {
      return erase_chunks(tree_, edit_, inode, logged.keys, first, UINT64_MAX);
    }
    // Listed, so that the sweep goes on after a crash; chunks from `first` on read as holes from this batch on.
    edit_.batch().put(format::sweep_key(inode.ino), format::encode_marker());
  }
  sweep_ = true;
  format::Attributes& next = edit_.draft(inode);
  next.sweep_from = first;
  if (is_dense(inode.attributes)) {
    next.stored = std::min(inode.attributes.size, first << inode.attributes.chunk_bits);
  } else {
    TRY_ASSIGN(next.stored, stored_before(tree_, inode, first));
  }
  return {};
}

// What lies behind the new end must be gone when the file grows again.
Result<void> Resize::cut_last_chunk(Inode& inode, uint64_t size) {
  CHECK(size < inode.attributes.size);
  const uint64_t tail = size % inode.attributes.chunk_size();
  if (tail == 0) return {};
  const uint64_t index = size >> inode.attributes.chunk_bits;
  TRY_ASSIGN(const uint64_t length, chunk_length(tree_, inode, index));
  if (length <= tail) return {};
  cut_index_ = index;
  cut_length_ = tail;
  edit_.draft(inode).stored -= length - tail;
  // Whole in memory: apply() cuts it there, and the next commit writes it.
  const auto dirty = inode.chunks.find(index);
  if (dirty != inode.chunks.end() && dirty->second.whole) return {};
  TRY_ASSIGN(const Value rest, load_chunk(tree_, inode, index, {.offset = 0, .length = tail}));
  edit_.batch().put(format::chunk_key(inode.ino, index), rest.view());
  if (!inode.attributes.patched) return {};
  TRY_ASSIGN(const LoggedChunk logged, inspect_chunk(tree_, inode, index));
  erase_patches(edit_.batch(), inode.ino, index, logged.patches);
  return {};
}

void Resize::apply(Inode& inode) {
  if (cut_index_ != UINT64_MAX) {
    if (const auto found = inode.chunks.find(cut_index_); found != inode.chunks.end()) {
      DirtyChunk& chunk = found->second;
      CHECK(cut_length_ < chunk.length());
      if (chunk.whole) {
        chunk.bytes.resize(cut_length_);
        chunk.was_cut = true;
      } else {  // the log has it as a whole now
        drop_chunks(edit_.operation(), inode, cut_index_, cut_index_ + 1);
      }
    }
  }
  drop_chunks(edit_.operation(), inode, first_dropped_, UINT64_MAX);
  tree_.dirty.update(inode);
  if (!sweep_) return;
  CHECK(inode.attributes.sweep_from != format::kNoSweep);
  inode.sweep_next = 0;
  tree_.sweeper.submit(inode.ino);
}

}  // namespace cairn::tree
