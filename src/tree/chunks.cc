#include "tree/chunks.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"

namespace cairn::tree {
namespace {

// Room is kept in steps, so that not every small append has to ask for more.
constexpr uint64_t kKeepStep = 4096;  // bytes

uint64_t kept_for(uint64_t length, uint64_t chunk_size) {
  return chunk_cost(std::min(chunk_size, (length + kKeepStep - 1) / kKeepStep * kKeepStep));
}

// Puts `data` at `begin`; what is skipped becomes zeros.
void patch(Bytes& bytes, uint64_t begin, ByteView data) {
  if (bytes.size() < begin) bytes.resize(begin);
  if (begin == bytes.size()) {
    bytes.append(data);
    return;
  }
  if (bytes.size() < begin + data.size()) bytes.resize(begin + data.size());
  std::copy(data.begin(), data.end(), bytes.begin() + static_cast<ptrdiff_t>(begin));
}

tl::unexpected<Error> missing(Ino ino, uint64_t index) {
  return fail(ErrorCode::kCorrupt, fmt::format("inode {}: chunk {} or a part of it is missing", ino, index));
}

}  // namespace

Result<uint64_t> chunk_length(const Tree& tree, const Inode& inode, uint64_t index) {
  if (const auto found = inode.chunks.find(index); found != inode.chunks.end()) return found->second.bytes.size();
  const format::Attributes& a = inode.attributes;
  const uint64_t start = index << a.chunk_bits;
  if (start >= a.size) return 0;
  if (is_dense(a)) return std::min(a.chunk_size(), a.size - start);
  auto size = tree.store.value_size(format::chunk_key(inode.ino, index));
  if (!size && size.error().code == ErrorCode::kNotFound) return 0;
  return size;
}

Result<Value> load_chunk(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range) {
  const format::Attributes& a = inode.attributes;
  auto value = tree.store.get(format::chunk_key(inode.ino, index), range);
  if (!value && value.error().code == ErrorCode::kNotFound) {
    if (is_dense(a)) return missing(inode.ino, index);
    return Value();
  }
  if (!value) return value;
  const uint64_t there = std::min(a.chunk_size(), a.size - (index << a.chunk_bits));
  const uint64_t wanted = range.offset >= there ? 0 : std::min(range.length, there - range.offset);
  if (is_dense(a) && value->size() < wanted) return missing(inode.ino, index);
  if (value->size() > a.chunk_size()) {
    return fail(ErrorCode::kCorrupt, fmt::format("inode {}: chunk {} is too long", inode.ino, index));
  }
  return value;
}

Result<std::vector<uint64_t>> logged_chunks(const Tree& tree, const Inode& inode, uint64_t first, uint64_t last,
                                            uint64_t max) {
  std::vector<uint64_t> out;
  const format::Attributes& a = inode.attributes;
  if (is_dense(a) && a.sweep_from == format::kNoSweep) {
    for (uint64_t i = first, end = std::min(last, chunks_in(a, a.size)); i < end && out.size() < max; ++i) {
      const auto found = inode.chunks.find(i);
      if (found == inode.chunks.end() || found->second.in_log) out.push_back(i);
    }
    return out;
  }
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kChunk));
  for (cursor.seek(format::chunk_key(inode.ino, first)); cursor.valid() && out.size() < max; cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    if (key.number >= last) break;
    out.push_back(key.number);
  }
  TRY(cursor.status());
  return out;
}

Result<void> ChunkWrites::plan(Inode& inode, uint64_t index, uint64_t begin, ByteView data) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  TRY_ASSIGN(const uint64_t old_length, chunk_length(tree_, inode, index));
  const uint64_t new_length = std::max(old_length, begin + data.size());
  Write& write = writes_.emplace_back();
  write.index = index;
  write.begin = begin;
  write.data = data;
  if (begin == 0 && data.size() == chunk_size) {
    edit_.batch().put_ref(format::chunk_key(inode.ino, index), data);
  } else {
    TRY(merge(inode, write, old_length));
  }
  edit_.draft(inode).stored += new_length - old_length;
  return {};
}

Result<void> ChunkWrites::merge(Inode& inode, Write& write, uint64_t old_length) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  const uint64_t end = write.begin + write.data.size();
  const uint64_t new_length = std::max(old_length, end);
  const auto found = inode.chunks.find(write.index);
  DirtyChunk* const dirty = found == inode.chunks.end() ? nullptr : &found->second;
  write.in_log = dirty != nullptr ? dirty->in_log : old_length != 0;

  const uint64_t needed = kept_for(new_length, chunk_size);
  const uint64_t have = dirty != nullptr ? dirty->kept : 0;
  const uint64_t more = needed > have ? needed - have : 0;
  const bool filled = end == chunk_size;
  write.buffer = !filled && edit_.room_left() >= more && (more == 0 || edit_.operation().keep(more));
  if (write.buffer) write.kept = more;

  if (dirty != nullptr && write.buffer) {
    write.in_place = true;
    // So that apply() cannot fail; doubling, so that appending stays cheap.
    if (dirty->bytes.capacity() < new_length) {
      dirty->bytes.reserve(std::min(chunk_size, std::max(new_length, 2 * dirty->bytes.capacity())));
    }
    return {};
  }
  write.bytes.reserve(new_length);
  if (dirty != nullptr) {
    write.bytes = dirty->bytes;
  } else if (old_length != 0) {
    TRY_ASSIGN(const Value old, load_chunk(tree_, inode, write.index, {}));
    write.bytes = old.view();
  }
  patch(write.bytes, write.begin, write.data);
  if (!write.buffer) edit_.batch().put_ref(format::chunk_key(inode.ino, write.index), write.bytes);
  return {};
}

Result<void> ChunkWrites::commit(Inode& inode) {
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
  for (const Write& write : writes_) edit_.operation().reclaim(write.kept);
  writes_.clear();
}

void ChunkWrites::apply(Inode& inode, Write& write) {
  if (!write.buffer) {
    drop_chunks(edit_.operation(), inode, write.index, write.index + 1);
    return;
  }
  DirtyChunk& chunk = inode.chunks[write.index];
  chunk.kept += write.kept;
  chunk.in_log = write.in_log;
  if (write.in_place) {
    patch(chunk.bytes, write.begin, write.data);
  } else {
    chunk.bytes = std::move(write.bytes);
  }
}

}  // namespace cairn::tree
