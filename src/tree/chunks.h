// Chunks of one file: how long they are, where they are, and how one changes. The inode's mutex is held throughout.
//
// The log has a chunk as one value, and small later changes of it as patches: a synced append of 100 bytes then costs 100
// bytes of log and not 128 KiB. After 16 patches, or when they are half as long as the chunk, it is written whole again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <list>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/result.h"
#include "tree/edit.h"
#include "tree/tree.h"

namespace cairn::tree {

// No part of the content is a hole: every chunk up to the end is there in full. What is missing then is damage.
inline bool is_dense(const format::Attributes& a) { return a.stored == a.size; }
inline uint64_t chunks_in(const format::Attributes& a, uint64_t size) {
  return (size + a.chunk_size() - 1) >> a.chunk_bits;
}
// Whether chunks that are still to be erased would become visible in a file of this size.
inline bool sweep_in_the_way(const format::Attributes& a, uint64_t size) {
  return a.sweep_from != format::kNoSweep && chunks_in(a, size) > a.sweep_from;
}
// Room in the log that erasing one key, and that writing one chunk (and erasing its patches) takes at most, bytes.
inline uint64_t erase_cost() { return log_cost(format::kChunkKeySize, 0); }
inline uint64_t chunk_cost(uint64_t chunk_size) {
  return log_cost(format::kChunkKeySize, chunk_size) + format::kMaxPatches * erase_cost();
}
// Room to keep for a buffered whole chunk of this length: in steps, so that not every small append has to ask for more.
inline uint64_t kept_for(uint64_t length, uint64_t chunk_size, const PatchCount& patches) {
  constexpr uint64_t kStep = 4096;  // bytes
  const uint64_t most = std::min(chunk_size, (length + kStep - 1) / kStep * kStep);
  return log_cost(format::kChunkKeySize, most) + patches.count * erase_cost();
}

static_assert(format::kMaxPatches <= UINT8_MAX, "numbers of patches are bytes");

// One chunk as the log has it.
struct LoggedChunk {
  uint64_t length = 0;  // bytes, with its patches; 0: a hole
  PatchCount patches;
};
// Reads patches, but not the chunk: on a damaged store it may be longer than a chunk.
Result<LoggedChunk> inspect_chunk(const Tree& tree, const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex);

// Bytes that chunk `index` has; 0 for a hole. Shorter than a chunk where nothing was written behind: zeros up to the end.
Result<uint64_t> chunk_length(const Tree& tree, const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex);
// At most `length` of its bytes from `offset` on; empty for a hole. kCorrupt if what must be there is not.
Result<Value> load_chunk(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range)
    REQUIRES_SHARED(inode.mutex);

// The key of a chunk or a patch that the log has.
struct ChunkKey {
  uint64_t index = 0;
  uint8_t patch = 0;
};
struct LoggedKeys {
  std::vector<ChunkKey> keys;  // in order
  bool complete = true;        // there are no more
};
// Those of the chunks from `first` to `last` - 1, at most `max`; all of a chunk or none. Needs max > kMaxPatches.
Result<LoggedKeys> logged_keys(const Tree& tree, const Inode& inode, uint64_t first, uint64_t last, uint64_t max)
    REQUIRES_SHARED(inode.mutex);
// Erases keys of whole chunks from the log, takes what they held off the draft's `stored`; so with what only memory has of
// the chunks from `first` to `last` - 1, which the caller drops after the commit.
Result<void> erase_chunks(const Tree& tree, Edit& edit, Inode& inode, const std::vector<ChunkKey>& keys, uint64_t first,
                          uint64_t last) REQUIRES(inode.mutex);

// Changes of one file's chunks that go with an Edit: planned before its commit(), applied after it, forgotten if there is none
// or it fails. Whole chunks go into the batch as they are. Others wait in memory, unless the log has no room to keep for them or
// they have just become full: then they go into the batch as well. Not thread-safe; the data must stay until commit() has
// returned, the edit until this is gone.
class ChunkWrites {
 public:
  ChunkWrites(Tree& tree, Edit& edit) : tree_(tree), edit_(edit) {}
  ~ChunkWrites();
  ChunkWrites(const ChunkWrites&) = delete;
  ChunkWrites& operator=(const ChunkWrites&) = delete;

  // `data` goes to `begin` in chunk `index`. Adjusts the draft's `stored`; the rest of the attributes is the caller's.
  Result<void> plan(Inode& inode, uint64_t index, uint64_t begin, ByteView data) REQUIRES(inode.mutex);
  // Commits the edit, with these changes.
  Result<void> commit(Inode& inode) REQUIRES(inode.mutex);

 private:
  struct Write {
    uint64_t index = 0;
    uint64_t begin = 0;
    ByteView data;
    uint64_t first_changed = 0;  // `begin`, or the end of what was there: zeros lie between
    uint64_t kept = 0;           // more room in the log for what waits, bytes
    bool buffer = false;         // it waits in memory; else it is in the batch
    bool in_place = false;       // a chunk that waits already is changed where it is:
    PartChange part_change;      //   if not whole, like this, with
    DirtyPart part;              //   this part, or one of its own
    DirtyChunk chunk;            // else the new one
    Bytes bytes;                 // the new content, if it goes into the batch

    [[nodiscard]] uint64_t end() const { return begin + data.size(); }
  };
  // The chunk as it is before the write.
  struct Before {
    DirtyChunk* dirty = nullptr;  // nullptr: as logged
    uint64_t length = 0;          // bytes, for readers
    LoggedChunk logged;           // its length counts only where nothing waits
  };

  Result<void> merge(Inode& inode, Write& write, const Before& before) REQUIRES(inode.mutex);
  // Whether room for what is to wait is there, or could be kept; a chunk that waits already has some.
  bool keep(Write& write, const Before& before, uint64_t needed);
  bool buffer_part(Write& write, const Before& before);
  Result<void> buffer_whole(Inode& inode, Write& write, const Before& before) REQUIRES(inode.mutex);
  Result<void> log_change(Inode& inode, Write& write, const Before& before) REQUIRES(inode.mutex);
  Result<void> load_old(Inode& inode, const Write& write, const Before& before, Bytes& bytes) REQUIRES(inode.mutex);
  void apply(Inode& inode, Write& write) REQUIRES(inode.mutex);

  // plan() may be called for several chunks, once for each. Between plan() and commit() nothing in memory has changed.
  Tree& tree_;
  Edit& edit_;
  std::list<Write> writes_;  // the batch refers to their bytes
};

}  // namespace cairn::tree
