#include "tree/chunks.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"

namespace cairn::tree {
namespace {

// Not a hole: a file whose attributes say that it has none.
tl::unexpected<Error> missing(Ino ino, uint64_t index) {
  return fail(ErrorCode::kCorrupt, fmt::format("inode {}: chunk {} or a part of it is missing", ino, index));
}

tl::unexpected<Error> too_long(Ino ino, uint64_t index) {
  return fail(ErrorCode::kCorrupt, fmt::format("inode {}: chunk {} is too long", ino, index));
}

// Calls `visit` for every patch of a chunk, in order. `range` as for Store::get, of the patch's value.
template <class Visit>
Result<void> for_patches(const Tree& tree, const Inode& inode, uint64_t index, Visit visit)
    REQUIRES_SHARED(inode.mutex) {
  // Most files have none, and are read without looking.
  if (!inode.attributes.patched) return {};
  for (uint8_t n = 1; n <= format::kMaxPatches; ++n) {
    const auto value = tree.store.get(format::chunk_key(inode.ino, index, n));
    // Numbered without gaps, so the first that is missing ends them.
    if (!value && value.error().code == ErrorCode::kNotFound) break;
    TRY(value);
    TRY_ASSIGN(const auto patch, format::decode_patch(value->view(), inode.attributes.chunk_size()));
    visit(patch);
  }
  return {};
}

// Adds the keys of the chunk's patches.
Result<void> append_patch_keys(const Tree& tree, const Inode& inode, uint64_t index, std::vector<ChunkKey>& keys)
    REQUIRES_SHARED(inode.mutex) {
  if (!inode.attributes.patched) return {};
  // Numbered without gaps, as above.
  for (uint8_t n = 1; n <= format::kMaxPatches; ++n) {
    const auto size = tree.store.value_size(format::chunk_key(inode.ino, index, n));
    if (!size && size.error().code == ErrorCode::kNotFound) break;
    TRY(size);
    keys.push_back({.index = index, .patch = n});
  }
  return {};
}

// `value` is what the chunk itself has of `range`; puts its patches over it.
Result<Value> with_patches(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range, Value value)
    REQUIRES_SHARED(inode.mutex) {
  // Clipped to a chunk: a length of "whole" must not overflow.
  const uint64_t range_end = range.offset + std::min(range.length, inode.attributes.chunk_size());
  Bytes bytes;
  bool copied = false;
  const auto put = [&](const format::Patch& patch) {
    const uint64_t begin = std::max(patch.offset, range.offset);
    const uint64_t end = std::min(patch.end(), range_end);
    if (begin >= end) return;
    // Copied only if a patch touches the range.
    if (!std::exchange(copied, true)) bytes = value.view();
    patch_bytes(bytes, begin - range.offset, patch.bytes.substr(begin - patch.offset, end - begin));
  };
  TRY(for_patches(tree, inode, index, put));
  return copied ? Value::own(std::move(bytes)) : value;
}

}  // namespace

Result<LoggedChunk> inspect_chunk(const Tree& tree, const Inode& inode, uint64_t index) {
  LoggedChunk out;
  auto size = tree.store.value_size(format::chunk_key(inode.ino, index));
  if (!size && size.error().code == ErrorCode::kNotFound) return out;
  TRY_ASSIGN(out.length, std::move(size));
  TRY(for_patches(tree, inode, index, [&](const format::Patch& patch) {
    out.length = std::max(out.length, patch.end());
    ++out.patches.count;
    out.patches.bytes += patch.bytes.size();
  }));
  return out;
}

Result<uint64_t> chunk_length(const Tree& tree, const Inode& inode, uint64_t index) {
  if (const auto found = inode.chunks.find(index); found != inode.chunks.end()) return found->second.bytes.size();
  const format::Attributes& a = inode.attributes;

  const uint64_t start = index << a.chunk_bits;
  if (start >= a.size) return 0;
  // Known without a look: every chunk is there in full.
  if (is_dense(a)) return std::min(a.chunk_size(), a.size - start);
  TRY_ASSIGN(const LoggedChunk logged, inspect_chunk(tree, inode, index));
  return logged.length;
}

Result<Value> load_chunk(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range) {
  const format::Attributes& a = inode.attributes;
  // One read, verified. A part of a chunk costs as much: it is decompressed whole, and kept in the chunk cache.
  auto value = tree.store.get(format::chunk_key(inode.ino, index), range);
  if (!value && value.error().code == ErrorCode::kNotFound) {
    if (is_dense(a)) return missing(inode.ino, index);
    return Value();
  }
  if (value && a.patched) value = with_patches(tree, inode, index, range, std::move(*value));
  if (!value) return value;
  DCHECK(index << a.chunk_bits < a.size || !is_dense(a));
  const uint64_t there = std::min(a.chunk_size(), a.size - (index << a.chunk_bits));
  const uint64_t wanted = range.offset >= there ? 0 : std::min(range.length, there - range.offset);
  if (is_dense(a) && value->size() < wanted) return missing(inode.ino, index);
  if (value->size() > a.chunk_size()) {
    return too_long(inode.ino, index);
  }
  return value;
}

Result<LoggedKeys> logged_keys(const Tree& tree, const Inode& inode, uint64_t first, uint64_t last, uint64_t max) {
  CHECK(max > format::kMaxPatches);
  LoggedKeys out;
  std::vector<ChunkKey>& keys = out.keys;
  const format::Attributes& a = inode.attributes;
  const uint64_t end = std::min(last, chunks_in(a, a.size));
  // Small files that were appended to. More chunks than these are cheaper to walk over.
  const bool few = first >= end || end - first <= max / (1 + format::kMaxPatches);
  if (is_dense(a) && a.sweep_from == format::kNoSweep && (few || !a.patched)) {
    // A dense file: its keys follow from its size, and no scan is needed.
    uint64_t i = first;
    for (; i < end && keys.size() < max; ++i) {
      const auto found = inode.chunks.find(i);
      if (found != inode.chunks.end() && !found->second.in_log) continue;
      keys.push_back({.index = i});
      TRY(append_patch_keys(tree, inode, i, keys));
    }
    out.complete = i >= end;
    return out;
  }
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kChunk));
  for (cursor.seek(format::chunk_key(inode.ino, first)); cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    if (key.number >= last) break;
    out.complete = keys.size() < max;
    if (!out.complete) {  // the last chunk may have more keys than these
      while (!keys.empty() && keys.back().index == key.number) keys.pop_back();
      break;
    }
    keys.push_back({.index = key.number, .patch = key.patch});
  }
  TRY(cursor.status());
  return out;
}

Result<void> erase_chunks(const Tree& tree, Edit& edit, Inode& inode, const std::vector<ChunkKey>& keys, uint64_t first,
                          uint64_t last) {
  format::Attributes& next = edit.draft(inode);
  uint64_t counted = UINT64_MAX;
  for (const ChunkKey& key : keys) {
    edit.batch().erase(format::chunk_key(inode.ino, key.index, key.patch));
    // Once for each chunk; those that are newer in memory are counted below, with the length they have there.
    if (key.index == std::exchange(counted, key.index) || inode.chunks.contains(key.index)) continue;
    TRY_ASSIGN(const uint64_t length, chunk_length(tree, inode, key.index));
    // Clipped: on a damaged store the sum may be wrong, and must not wrap around.
    next.stored -= std::min(length, next.stored);
  }
  for (auto it = inode.chunks.lower_bound(first); it != inode.chunks.end() && it->first < last; ++it) {
    next.stored -= std::min<uint64_t>(it->second.bytes.size(), next.stored);
  }
  return {};
}

Result<void> ChunkWrites::plan(Inode& inode, uint64_t index, uint64_t begin, ByteView data) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  TRY_ASSIGN(const uint64_t old_length, chunk_length(tree_, inode, index));
  if (old_length > chunk_size) return too_long(inode.ino, index);
  const uint64_t new_length = std::max(old_length, begin + data.size());
  Write& write = writes_.emplace_back();
  write.index = index;
  write.begin = begin;
  write.first_changed = std::min(begin, old_length);
  write.data = data;
  TRY(merge(inode, write, old_length));

  CHECK(new_length <= chunk_size);
  edit_.draft(inode).stored += new_length - old_length;
  return {};
}

Result<void> ChunkWrites::merge(Inode& inode, Write& write, uint64_t old_length) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  const uint64_t end = write.begin + write.data.size();
  const auto found = inode.chunks.find(write.index);
  DirtyChunk* const dirty = found == inode.chunks.end() ? nullptr : &found->second;
  LoggedChunk logged{.length = old_length, .patches = {}};
  if (dirty == nullptr && old_length != 0 && inode.attributes.patched) {
    TRY_ASSIGN(logged, inspect_chunk(tree_, inode, write.index));
  }
  // Full to its end: it will not be appended to, so it need not wait.
  if (end == chunk_size) return log_change(inode, write, dirty, logged);

  DirtyChunk& next = write.chunk;
  next.in_log = dirty != nullptr ? dirty->in_log : old_length != 0;
  next.patches = dirty != nullptr ? dirty->patches : logged.patches;
  const uint64_t needed = kept_for(std::max(old_length, end), chunk_size, next.patches);
  const uint64_t have = dirty != nullptr ? dirty->kept : 0;
  const uint64_t more = needed > have ? needed - have : 0;
  if (edit_.room_left() < more || (more != 0 && !edit_.operation().keep(more))) {
    return log_change(inode, write, dirty, logged);
  }

  write.buffer = true;
  next.kept = more;
  if (next.in_log) edit_.draft(inode).patched = true;  // as it may become one
  if (dirty != nullptr) {
    write.in_place = true;
    // So that apply() cannot fail; doubling, so that appending stays cheap.
    if (dirty->bytes.capacity() < end) {
      dirty->bytes.reserve(std::min(chunk_size, std::max(end, 2 * dirty->bytes.capacity())));
    }
    return {};
  }
  return load_old(inode, write, dirty, old_length, next.bytes);
}

// Puts the change into the batch: as a patch, or the whole chunk.
Result<void> ChunkWrites::log_change(Inode& inode, Write& write, const DirtyChunk* dirty, const LoggedChunk& logged) {
  const uint64_t end = write.begin + write.data.size();
  const uint64_t old_length = dirty != nullptr ? dirty->bytes.size() : logged.length;
  const PatchCount patches = dirty != nullptr ? dirty->patches : logged.patches;
  // Nothing of the old content is left: it need not be read, and may even be damaged.
  const bool whole = write.begin == 0 && end >= old_length;
  const uint64_t changed = end - write.first_changed;
  CHECK(write.first_changed <= write.begin && end > write.first_changed);
  if (dirty == nullptr && !whole && worth_a_patch(patches, changed, std::max(end, old_length))) {
    patch_bytes(write.bytes, write.begin - write.first_changed, write.data);
    const format::Patch patch{.offset = write.first_changed, .bytes = write.bytes};
    edit_.batch().put(format::chunk_key(inode.ino, write.index, static_cast<uint8_t>(patches.count + 1)),
                      format::encode_patch(patch));
    edit_.draft(inode).patched = true;
    return {};
  }
  if (whole) {
    edit_.batch().put_ref(format::chunk_key(inode.ino, write.index), write.data);
  } else {
    TRY(load_old(inode, write, dirty, old_length, write.bytes));
    edit_.batch().put_ref(format::chunk_key(inode.ino, write.index), write.bytes);
  }
  erase_patches(edit_.batch(), inode.ino, write.index, patches);
  return {};
}

// The chunk as it is, with the change.
Result<void> ChunkWrites::load_old(Inode& inode, const Write& write, const DirtyChunk* dirty, uint64_t old_length,
                                   Bytes& bytes) {
  bytes.reserve(std::max(old_length, write.begin + write.data.size()));
  if (dirty != nullptr) {
    bytes = dirty->bytes;
  } else if (old_length != 0) {
    TRY_ASSIGN(const Value old, load_chunk(tree_, inode, write.index, {}));
    bytes = old.view();
  }
  patch_bytes(bytes, write.begin, write.data);
  return {};
}

Result<void> ChunkWrites::commit(Inode& inode) {
  // The log first, then memory: what the log has refused nobody may see.
  if (auto committed = edit_.commit(); !committed) {
    undo();
    return committed;
  }
  for (Write& write : writes_) apply(inode, write);
  writes_.clear();
  tree_.dirty.update(inode);
  return {};
}

void ChunkWrites::undo() {
  // Room that keep() took for what will not be buffered.
  for (const Write& write : writes_) edit_.operation().reclaim(write.chunk.kept);
  writes_.clear();
}

void ChunkWrites::apply(Inode& inode, Write& write) {
  if (!write.buffer) {
    // The log has it newer now than memory.
    drop_chunks(edit_.operation(), inode, write.index, write.index + 1);
    return;
  }
  const uint64_t end = write.begin + write.data.size();
  if (!write.in_place) {
    write.chunk.changed_begin = write.first_changed;
    write.chunk.changed_end = end;
    inode.chunks[write.index] = std::move(write.chunk);
    return;
  }
  DirtyChunk& chunk = inode.chunks.at(write.index);
  chunk.kept += write.chunk.kept;
  chunk.changed_begin = std::min(chunk.changed_begin, write.first_changed);
  chunk.changed_end = std::max(chunk.changed_end, end);
  DCHECK(chunk.bytes.capacity() >= end);
  patch_bytes(chunk.bytes, write.begin, write.data);
}

}  // namespace cairn::tree
