// Chunks of one file: how long they are, where they are, and how one changes. The inode's mutex is held throughout.
#pragma once

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
// Room in the log that one chunk takes at most, bytes.
inline uint64_t chunk_cost(uint64_t chunk_size) { return log_cost(format::kChunkKeySize, chunk_size); }

// Bytes that chunk `index` has; 0 for a hole. Shorter than a chunk where nothing was written behind: zeros up to the end.
Result<uint64_t> chunk_length(const Tree& tree, const Inode& inode, uint64_t index) REQUIRES_SHARED(inode.mutex);
// At most `length` of its bytes from `offset` on, from the log; empty for a hole. kCorrupt if what must be there is not.
Result<Value> load_chunk(const Tree& tree, const Inode& inode, uint64_t index, ReadRange range)
    REQUIRES_SHARED(inode.mutex);
// The first chunks from `first` to `last` - 1 that the log has, at most `max`.
Result<std::vector<uint64_t>> logged_chunks(const Tree& tree, const Inode& inode, uint64_t first, uint64_t last,
                                            uint64_t max) REQUIRES_SHARED(inode.mutex);

// Changes of one file's chunks that go with an Edit: planned before its commit(), applied after it, undone if it fails. Whole chunks go
// into the batch as they are. Others wait in memory, unless the log has no room to keep for them or they have just become
// full: then they go into the batch as well. Not thread-safe; the data must stay until commit() has returned.
class ChunkWrites {
 public:
  ChunkWrites(Tree& tree, Edit& edit) : tree_(tree), edit_(edit) {}

  // `data` goes to `begin` in chunk `index`. Adjusts the draft's `stored`; the rest of the attributes is the caller's.
  Result<void> plan(Inode& inode, uint64_t index, uint64_t begin, ByteView data) REQUIRES(inode.mutex);
  // Commits the edit, with these changes.
  Result<void> commit(Inode& inode) REQUIRES(inode.mutex);
  // Gives back what plan() kept. For errors between plan() and commit().
  void undo();

 private:
  struct Write {
    uint64_t index = 0;
    uint64_t begin = 0;
    ByteView data;
    Bytes bytes;            // the new content, unless `in_place`
    uint64_t kept = 0;      // bytes, more than what the chunk has kept already
    bool buffer = false;    // it waits in memory; else it is in the batch
    bool in_place = false;  // it is in memory already
    bool in_log = false;
  };

  Result<void> merge(Inode& inode, Write& write, uint64_t old_length) REQUIRES(inode.mutex);
  void apply(Inode& inode, Write& write) REQUIRES(inode.mutex);

  Tree& tree_;
  Edit& edit_;
  std::list<Write> writes_;  // the batch refers to their bytes
};

}  // namespace cairn::tree
