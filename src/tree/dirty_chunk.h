// One chunk whose content is newer in memory than in the log, and in which form it gets there.
// Chunks wait here so that small writes share one record. What waits has its room in the log, so the next commit can
// always take it.
#pragma once

#include <algorithm>
#include <cstdint>

#include "base/check.h"
#include "cairn/bytes.h"
#include "cairn/store.h"
#include "format/tree_format.h"

namespace cairn::tree {

// The patches of one chunk that the log has.
struct PatchCount {
  uint32_t count = 0;
  uint64_t bytes = 0;  // of content
};

// Guarded by the inode's mutex. changed_begin < changed_end <= bytes.size(), but for a chunk that was cut since.
struct DirtyChunk {
  Bytes bytes;                                  // the whole chunk up to its last byte that was ever written
  uint64_t kept = 0;                            // room in the log kept for it, bytes
  bool in_log = false;                          // the log has an older version, with
  PatchCount patches;                           //   these patches
  bool was_cut = false;                         // the older version may be longer: only a whole chunk replaces it
  uint64_t changed_begin = 0, changed_end = 0;  // where the two differ, bytes
};

// A chunk is then read with at most 16 patches, which together are at most half of it; and a synced append of a few
// bytes costs those bytes.
// Whether `changed` more bytes of a chunk that will have `length` go to the log as a patch and not as a whole chunk.
inline bool worth_a_patch(const PatchCount& patches, uint64_t changed, uint64_t length) {
  DCHECK(changed <= length);
  constexpr uint64_t kOverhead = 64;  // bytes; a patch is a record of its own
  return patches.count < format::kMaxPatches && patches.bytes + changed + kOverhead <= length / 2;
}

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
