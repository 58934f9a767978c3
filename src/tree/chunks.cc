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

// Null if the log has to be asked.
const PatchCount* known_patches(const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex) {
  const auto& known = inode.known_patches;
  return known && known->index == index ? &known->patches : nullptr;
}

// Adds the keys of the chunk's patches.
Result<void> append_patch_keys(const Tree& tree, const Inode& inode, uint64_t index, std::vector<ChunkKey>& keys)
    REQUIRES_SHARED(inode.mutex) {
  if (!inode.attributes.patched) return {};
  if (const auto* known = known_patches(inode, index)) {
    for (uint8_t n = 1; n <= known->count; ++n) keys.push_back({.index = index, .patch = n});
    return {};
  }
  // Numbered without gaps, as above.
  for (uint8_t n = 1; n <= format::kMaxPatches; ++n) {
    const auto size = tree.store.value_size(format::chunk_key(inode.ino, index, n));
    if (!size && size.error().code == ErrorCode::kNotFound) break;
    TRY(size);
    keys.push_back({.index = index, .patch = n});
  }
  return {};
}

// `value` is what the chunk itself has of `range`; puts its patches and then `parts` over it.
Result<Value> with_changes(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range,
                           const std::vector<DirtyPart>& parts, Value value) REQUIRES_SHARED(inode.mutex) {
  // Clipped to a chunk: a length of "whole" must not overflow.
  const uint64_t range_end = range.offset + std::min(range.length, inode.attributes.chunk_size());
  Bytes bytes;
  bool copied = false;
  const auto put = [&](uint64_t offset, ByteView changed) {
    const uint64_t begin = std::max(offset, range.offset);
    const uint64_t end = std::min(offset + changed.size(), range_end);
    if (begin >= end) return;
    // Copied only if a change touches the range.
    if (!std::exchange(copied, true)) bytes = value.view();
    patch_bytes(bytes, begin - range.offset, changed.substr(begin - offset, end - begin));
  };
  TRY(for_patches(tree, inode, index, [&](const format::Patch& patch) { put(patch.offset, patch.bytes); }));
  for (const DirtyPart& part : parts) put(part.begin, part.bytes);
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
  if (const auto found = inode.chunks.find(index); found != inode.chunks.end()) return found->second.length();
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
  const auto found = inode.chunks.find(index);
  const DirtyChunk* const dirty = found == inode.chunks.end() ? nullptr : &found->second;
  if (dirty != nullptr && dirty->whole) {
    // Copied: it may change once the mutex is free.
    return range.offset < dirty->bytes.size() ? Value::own(dirty->bytes.substr(range.offset, range.length)) : Value();
  }
  // One read, verified. A part of a chunk costs as much: it is decompressed whole, and kept in the chunk cache.
  auto value = tree.store.get(format::chunk_key(inode.ino, index), range);
  if (!value && value.error().code == ErrorCode::kNotFound) {
    if (dirty != nullptr || is_dense(a)) return missing(inode.ino, index);
    return Value();
  }
  static const std::vector<DirtyPart> no_parts;
  const std::vector<DirtyPart>& parts = dirty != nullptr ? dirty->parts : no_parts;
  if (value && a.patched) value = with_changes(tree, inode, index, range, parts, std::move(*value));
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
  inode.known_patches.reset();
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
    next.stored -= std::min<uint64_t>(it->second.length(), next.stored);
  }
  return {};
}

Result<void> ChunkWrites::plan(Inode& inode, uint64_t index, uint64_t begin, ByteView data) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  Before before;
  TRY_ASSIGN(before.length, chunk_length(tree_, inode, index));
  if (before.length > chunk_size) return too_long(inode.ino, index);
  const auto found = inode.chunks.find(index);
  if (found != inode.chunks.end()) before.dirty = &found->second;
  before.logged.length = before.length;
  if (before.dirty == nullptr && before.length != 0 && inode.attributes.patched) {
    if (const auto* known = known_patches(inode, index)) {
      before.logged.patches = *known;
    } else {
      TRY_ASSIGN(before.logged, inspect_chunk(tree_, inode, index));
    }
  }
  if (before.dirty != nullptr)
    before.logged = {.length = before.dirty->logged_length, .patches = before.dirty->patches};

  Write& write = writes_.emplace_back();
  write.index = index;
  write.begin = begin;
  write.first_changed = std::min(begin, before.length);
  write.data = data;
  TRY(merge(inode, write, before));

  const uint64_t new_length = std::max(before.length, write.end());
  CHECK(new_length <= chunk_size);
  edit_.draft(inode).stored += new_length - before.length;
  return {};
}

Result<void> ChunkWrites::merge(Inode& inode, Write& write, const Before& before) {
  const DirtyChunk* const dirty = before.dirty;
  const bool from_start = write.begin == 0 || (dirty != nullptr && dirty->whole && dirty->changed_begin == 0);
  const bool full = write.end() == inode.attributes.chunk_size();
  // It has become full, or was written anew from end to end: it will not be appended to, so it need not wait.
  if (full && (from_start || before.length < write.end())) return log_change(inode, write, before);
  if (buffer_part(write, before)) {
    edit_.draft(inode).patched = true;  // as it will become
    return {};
  }
  return buffer_whole(inode, write, before);
}

bool ChunkWrites::keep(Write& write, const Before& before, uint64_t needed) {
  const uint64_t have = before.dirty != nullptr ? before.dirty->kept : 0;
  const uint64_t more = needed > have ? needed - have : 0;
  if (edit_.room_left() < more || (more != 0 && !edit_.operation().keep(more))) return false;
  write.kept = more;
  return true;
}

// Little of a chunk that the log has: only that waits, and the chunk is not read.
bool ChunkWrites::buffer_part(Write& write, const Before& before) {
  const bool in_parts = before.dirty != nullptr ? !before.dirty->whole : before.logged.length != 0;
  if (!in_parts) return false;
  std::vector<DirtyPart>& parts = before.dirty != nullptr ? before.dirty->parts : write.chunk.parts;
  write.part_change = plan_part(parts, write.first_changed, write.end());
  const PatchCount& after = write.part_change.after;
  if (!worth_patches(before.logged.patches, after, std::max(before.length, write.end()))) return false;
  if (!keep(write, before, kept_for_parts(after))) return false;
  write.part = prepare_part(parts, write.part_change, write.begin, write.data);
  write.buffer = true;
  write.in_place = before.dirty != nullptr;
  if (write.in_place) return true;
  DirtyChunk& next = write.chunk;
  next.whole = false;
  next.in_log = true;
  next.logged_length = before.logged.length;
  next.patches = before.logged.patches;
  next.kept = write.kept;
  put_part(next.parts, write.part_change, write.begin, write.data, std::move(write.part));
  return true;
}

Result<void> ChunkWrites::buffer_whole(Inode& inode, Write& write, const Before& before) {
  DirtyChunk* const dirty = before.dirty;
  const uint64_t chunk_size = inode.attributes.chunk_size();
  const uint64_t end = write.end();
  const PatchCount& patches = before.logged.patches;
  if (!keep(write, before, kept_for(std::max(before.length, end), chunk_size, patches)))
    return log_change(inode, write, before);
  write.buffer = true;
  const bool in_log = dirty != nullptr ? dirty->in_log : before.length != 0;
  if (in_log) edit_.draft(inode).patched = true;  // as it may become
  if (dirty != nullptr && dirty->whole) {
    write.in_place = true;
    // So that apply() cannot fail; doubling, so that appending stays cheap.
    if (dirty->bytes.capacity() < end) {
      dirty->bytes.reserve(std::min(chunk_size, std::max(end, 2 * dirty->bytes.capacity())));
    }
    return {};
  }
  DirtyChunk& next = write.chunk;
  next.kept = write.kept;
  next.in_log = in_log;
  next.logged_length = before.logged.length;
  next.patches = patches;
  next.changed_begin = write.first_changed;
  next.changed_end = end;
  if (dirty != nullptr) {
    next.kept += dirty->kept;
    next.changed_begin = std::min(next.changed_begin, dirty->parts.front().begin);
    next.changed_end = std::max(next.changed_end, dirty->parts.back().end());
  }
  return load_old(inode, write, before, next.bytes);
}

// Puts the change, and what waits of the chunk, into the batch: as patches, or the whole chunk.
Result<void> ChunkWrites::log_change(Inode& inode, Write& write, const Before& before) {
  const PatchCount& patches = before.logged.patches;
  const DirtyChunk* const dirty = before.dirty;
  CHECK(write.first_changed <= write.begin && write.end() > write.first_changed);
  // Nothing of the old content is left: it need not be read, and may even be damaged.
  const bool whole = write.begin == 0 && write.end() >= before.length;
  const bool in_parts = dirty != nullptr ? !dirty->whole : before.length != 0;
  if (!whole && in_parts) {
    std::vector<DirtyPart> parts;
    if (dirty != nullptr) parts = dirty->parts;
    const PartChange change = plan_part(parts, write.first_changed, write.end());
    if (worth_patches(patches, change.after, std::max(write.end(), before.length))) {
      DirtyPart part = prepare_part(parts, change, write.begin, write.data);
      put_part(parts, change, write.begin, write.data, std::move(part));
      log_parts(edit_.batch(), inode.ino, write.index, patches, parts);
      edit_.draft(inode).patched = true;
      return {};
    }
  }
  if (whole) {
    edit_.batch().put_ref(format::chunk_key(inode.ino, write.index), write.data);
  } else {
    TRY(load_old(inode, write, before, write.bytes));
    edit_.batch().put_ref(format::chunk_key(inode.ino, write.index), write.bytes);
  }
  erase_patches(edit_.batch(), inode.ino, write.index, patches);
  return {};
}

// The chunk as it is, with the change.
Result<void> ChunkWrites::load_old(Inode& inode, const Write& write, const Before& before, Bytes& bytes) {
  bytes.reserve(std::max(before.length, write.end()));
  if (before.dirty != nullptr && before.dirty->whole) {
    bytes = before.dirty->bytes;
  } else if (before.length != 0) {
    TRY_ASSIGN(const Value old, load_chunk(tree_, inode, write.index, {}));
    bytes = old.view();
  }
  patch_bytes(bytes, write.begin, write.data);
  return {};
}

Result<void> ChunkWrites::commit(Inode& inode) {
  // The log first, then memory: what the log has refused nobody may see.
  TRY(edit_.commit());
  inode.known_patches.reset();
  for (Write& write : writes_) apply(inode, write);
  writes_.clear();
  tree_.dirty.update(inode);
  return {};
}

// Room that keep() took for what will not be buffered.
ChunkWrites::~ChunkWrites() {
  for (const Write& write : writes_) edit_.operation().reclaim(write.kept);
}

void ChunkWrites::apply(Inode& inode, Write& write) {
  if (!write.buffer) {
    // The log has it newer now than memory.
    drop_chunks(edit_.operation(), inode, write.index, write.index + 1);
    return;
  }
  if (!write.in_place) {
    inode.chunks[write.index] = std::move(write.chunk);
    write.kept = 0;  // the chunk's from here on
    return;
  }
  DirtyChunk& chunk = inode.chunks.at(write.index);
  chunk.kept += std::exchange(write.kept, 0);
  if (!chunk.whole) {
    put_part(chunk.parts, write.part_change, write.begin, write.data, std::move(write.part));
    return;
  }
  chunk.changed_begin = std::min(chunk.changed_begin, write.first_changed);
  chunk.changed_end = std::max(chunk.changed_end, write.end());
  DCHECK(chunk.bytes.capacity() >= write.end());
  patch_bytes(chunk.bytes, write.begin, write.data);
}

}  // namespace cairn::tree
