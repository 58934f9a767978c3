// One chunk whose content is newer in memory than in the log, and in which form it gets there.
// Chunks wait here so that small writes share one record. What waits has its room in the log, so the next commit can
// always take it.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/store.h"
#include "format/tree_format.h"

namespace cairn::tree {

// The patches of one chunk, in the log or to come.
struct PatchCount {
  uint32_t count = 0;
  uint64_t bytes = 0;  // of content
};

// Of one chunk that is not in memory: what a look at the log would say.
struct KnownPatches {
  uint64_t index = 0;
  PatchCount patches;
};

// Some bytes of a chunk; what one patch will hold.
struct DirtyPart {
  uint64_t begin = 0;  // in the chunk
  Bytes bytes;
  [[nodiscard]] uint64_t end() const { return begin + bytes.size(); }
};

// Guarded by the inode's mutex. Two forms: the whole chunk, or, where little of what the log has was overwritten, only that. Such
// parts always fit in patches (worth_patches()), so nothing has to be read when they are logged.
struct DirtyChunk {
  bool whole = true;
  uint64_t kept = 0;           // room in the log kept for it, bytes
  bool in_log = false;         // the log has an older version, with
  uint64_t logged_length = 0;  //   these bytes,
  PatchCount patches;          //   and these patches, which are counted in
  // whole:
  Bytes bytes;                                  // up to its last byte that was ever written
  bool was_cut = false;                         // the older version may be longer: only a whole chunk replaces it
  uint64_t changed_begin = 0, changed_end = 0;  // where the two differ, bytes; changed_begin < changed_end unless cut
  // Not whole, hence in_log and not was_cut:
  std::vector<DirtyPart> parts;  // in order; they do not touch, and none begins behind the end of what is before it

  [[nodiscard]] uint64_t length() const;  // bytes, for readers
};

// What a write makes of the parts of a chunk.
struct PartChange {
  size_t first = 0,
         last = 0;     // parts first..last-1 become one, with the new bytes; first == last: a new one before `first`
  uint64_t begin = 0;  // of that part
  PatchCount after;    // all parts, then
};
// For bytes begin..end-1. Needs begin < end.
PartChange plan_part(const std::vector<DirtyPart>& parts, uint64_t begin, uint64_t end);
// Gets the memory that put_part() needs, which cannot fail then: gives the new part, or an empty one where an old one is only
// overwritten or grows. `data` goes to `at` in the chunk; zeros to what is planned before it. Changes nothing that readers see.
DirtyPart prepare_part(std::vector<DirtyPart>& parts, const PartChange& change, uint64_t at, ByteView data);
void put_part(std::vector<DirtyPart>& parts, const PartChange& change, uint64_t at, ByteView data, DirtyPart part);

// A chunk is then read with at most 16 patches, which together are at most half of it; and a synced append of a few
// bytes costs those bytes.
// Whether `more` changes of a chunk that will have `length` go to the log as patches and not as a whole chunk.
bool worth_patches(const PatchCount& logged, const PatchCount& more, uint64_t length);

// Room in the log to keep for parts: in steps, so that not every small write has to ask for more.
uint64_t kept_for_parts(const PatchCount& parts);

// The parts as patches, numbered on from those that the log has.
void log_parts(WriteBatch& batch, Ino ino, uint64_t index, const PatchCount& logged,
               const std::vector<DirtyPart>& parts);
// What is new in the chunk, or all of it. `chunk` must stay until the batch is written. Gives the patches that the log has then.
PatchCount log_chunk(WriteBatch& batch, Ino ino, uint64_t index, const DirtyChunk& chunk);

// Whoever writes a chunk whole erases its patches in the same batch: they would be put over the new content.
inline void erase_patches(WriteBatch& batch, Ino ino, uint64_t index, const PatchCount& patches) {
  for (uint32_t n = 1; n <= patches.count; ++n) batch.erase(format::chunk_key(ino, index, static_cast<uint8_t>(n)));
}

// Puts `data` at `begin`; what is skipped becomes zeros.
inline void patch_bytes(Bytes& bytes, uint64_t begin, ByteView data) {
  // The capacity was reserved by the caller where this must not fail.
  if (bytes.size() < begin) bytes.resize(begin);
  if (begin == bytes.size()) {
    bytes.append(data);
    return;
  }
  if (bytes.size() < begin + data.size()) bytes.resize(begin + data.size());
  std::copy(data.begin(), data.end(), bytes.begin() + static_cast<ptrdiff_t>(begin));
}

}  // namespace cairn::tree
