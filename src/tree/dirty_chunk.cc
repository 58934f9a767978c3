#include "tree/dirty_chunk.h"

#include <iterator>
#include <utility>

#include "base/check.h"
#include "format/segment.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kPatchOverhead = 64;  // bytes; a patch is a record of its own
constexpr uint64_t kRoomStep = 4096;     // bytes

PatchCount count(const std::vector<DirtyPart>& parts) {
  PatchCount out{.count = static_cast<uint32_t>(parts.size())};
  for (const DirtyPart& part : parts) out.bytes += part.bytes.size();
  return out;
}

}  // namespace

uint64_t DirtyChunk::length() const {
  if (whole) return bytes.size();
  return parts.empty() ? logged_length : std::max(logged_length, parts.back().end());
}

bool worth_patches(const PatchCount& logged, const PatchCount& more, uint64_t length) {
  return logged.count + more.count <= format::kMaxPatches &&
         logged.bytes + more.bytes + more.count * kPatchOverhead <= length / 2;
}

uint64_t kept_for_parts(const PatchCount& parts) {
  const uint64_t bytes = (parts.bytes + kRoomStep - 1) / kRoomStep * kRoomStep;
  return parts.count * log_cost(format::kChunkKeySize, sizeof(format::PatchDisk) + format::kMaxInlineValue) + bytes;
}

PartChange plan_part(const std::vector<DirtyPart>& parts, uint64_t begin, uint64_t end) {
  CHECK(begin < end);
  PartChange out{.after = count(parts)};
  while (out.first < parts.size() && parts[out.first].end() < begin) ++out.first;
  out.begin = begin;
  for (out.last = out.first; out.last < parts.size() && parts[out.last].begin <= end; ++out.last) {
    const DirtyPart& part = parts[out.last];
    out.begin = std::min(out.begin, part.begin);
    end = std::max(end, part.end());
    --out.after.count;
    out.after.bytes -= part.bytes.size();
  }
  ++out.after.count;
  out.after.bytes += end - out.begin;
  return out;
}

DirtyPart prepare_part(std::vector<DirtyPart>& parts, const PartChange& change, uint64_t at, ByteView data) {
  DirtyPart out;
  if (change.last == change.first + 1 && parts[change.first].begin == change.begin) {
    // Doubling, so that appending stays cheap.
    Bytes& bytes = parts[change.first].bytes;
    const uint64_t needed = at + data.size() - change.begin;
    if (bytes.capacity() < needed) bytes.reserve(std::max<uint64_t>(needed, 2 * bytes.capacity()));
    return out;
  }
  parts.reserve(parts.size() + 1);
  out.begin = change.begin;
  for (size_t i = change.first; i < change.last; ++i)
    patch_bytes(out.bytes, parts[i].begin - out.begin, parts[i].bytes);
  patch_bytes(out.bytes, at - out.begin, data);
  return out;
}

void put_part(std::vector<DirtyPart>& parts, const PartChange& change, uint64_t at, ByteView data, DirtyPart part) {
  if (part.bytes.empty()) {
    CHECK(change.last == change.first + 1);
    DirtyPart& one = parts[change.first];
    DCHECK(one.bytes.capacity() >= at + data.size() - one.begin);
    patch_bytes(one.bytes, at - one.begin, data);
    return;
  }
  DCHECK(parts.capacity() > parts.size() || change.first != change.last);
  const auto first = parts.begin() + static_cast<ptrdiff_t>(change.first);
  const auto last = parts.begin() + static_cast<ptrdiff_t>(change.last);
  parts.insert(parts.erase(first, last), std::move(part));
}

void log_parts(WriteBatch& batch, Ino ino, uint64_t index, const PatchCount& logged,
               const std::vector<DirtyPart>& parts) {
  CHECK(logged.count + parts.size() <= format::kMaxPatches);
  uint32_t number = logged.count;
  for (const DirtyPart& part : parts) {
    batch.put(format::chunk_key(ino, index, static_cast<uint8_t>(++number)),
              format::encode_patch({.offset = part.begin, .bytes = part.bytes}));
  }
}

PatchCount log_chunk(WriteBatch& batch, Ino ino, uint64_t index, const DirtyChunk& chunk) {
  PatchCount after = chunk.patches;
  if (!chunk.whole) {
    CHECK(chunk.in_log && !chunk.was_cut);
    log_parts(batch, ino, index, chunk.patches, chunk.parts);
    after.count += static_cast<uint32_t>(chunk.parts.size());
    for (const DirtyPart& part : chunk.parts) after.bytes += part.bytes.size();
    return after;
  }
  CHECK(chunk.changed_begin <= chunk.changed_end);
  const uint64_t changed = chunk.changed_end - chunk.changed_begin;
  if (chunk.in_log && !chunk.was_cut &&
      worth_patches(chunk.patches, {.count = 1, .bytes = changed}, chunk.bytes.size())) {
    const ByteView bytes = ByteView(chunk.bytes).substr(chunk.changed_begin, changed);
    ++after.count;
    after.bytes += changed;
    batch.put(format::chunk_key(ino, index, static_cast<uint8_t>(after.count)),
              format::encode_patch({.offset = chunk.changed_begin, .bytes = bytes}));
    return after;
  }
  batch.put_ref(format::chunk_key(ino, index), chunk.bytes);
  erase_patches(batch, ino, index, chunk.patches);
  return {};
}

}  // namespace cairn::tree
