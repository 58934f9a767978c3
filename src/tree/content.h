// What is in regular files: reading, writing, cutting and extending, holes.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/edit.h"
#include "tree/tree.h"

namespace cairn::tree {

// As the functions of FileSystem of the same names. The caller holds no mutex and no operation. A read holds the inode
// shared while it looks up chunks; a write holds it alone for each piece of at most an operation's room.
Result<std::vector<Value>> read(Tree& tree, Ino ino, uint64_t offset, uint64_t size);
Result<uint64_t> read_into(Tree& tree, Ino ino, uint64_t offset, std::span<char> out);
Result<uint64_t> write(Tree& tree, Ino ino, uint64_t offset, ByteView data, bool append, bool kill_suidgid);
Result<void> fallocate(Tree& tree, Ino ino, uint32_t flags, uint64_t offset, uint64_t length);
Result<uint64_t> seek(Tree& tree, Ino ino, uint64_t offset, SeekWhat what);

// Counts an open. To be called under the mutex: an eviction, which holds it alone, sees the open or comes before it.
Result<Attr> open(Tree& tree, Inode& inode) REQUIRES_SHARED(inode.mutex);
// All of a regular file, and no use of it: times and what eviction goes by stay.
Result<std::vector<Value>> read_all(const Tree& tree, const Inode& inode) REQUIRES_SHARED(inode.mutex);

// A change of a file's size that goes with an Edit: planned before its commit(), applied after it. Not thread-safe.
class Resize {
 public:
  // Room that it takes at most, bytes; wants the chunk size of the file.
  static uint64_t room(uint64_t chunk_size);

  // Both outlive it.
  Resize(Tree& tree, Edit& edit) : tree_(tree), edit_(edit) {}
  // Size and `stored` of the draft, and the records that go with it. Larger only where no sweep is in the way.
  Result<void> plan(Inode& inode, uint64_t size) REQUIRES(inode.mutex);
  // The edit is committed: memory follows.
  void apply(Inode& inode) REQUIRES(inode.mutex);

 private:
  Result<void> cut_last_chunk(Inode& inode, uint64_t size) REQUIRES(inode.mutex);
  Result<void> drop_from(Inode& inode, uint64_t first) REQUIRES(inode.mutex);

  Tree& tree_;
  Edit& edit_;
  uint64_t first_dropped_ = UINT64_MAX;  // chunks from here on are gone
  uint64_t cut_index_ = UINT64_MAX;      // this one is shortened
  uint64_t cut_length_ = 0;              // to so many bytes
  bool sweep_ = false;                   // too many to erase at once: the sweeper does it
};

// Under relatime: whether a read at `now` changes the time of last access.
// mount(8): not after the last change, or a day old.
bool atime_is_old(const format::Attributes& attributes, const Time& now);
// Sets it. Best effort: a read does not fail because its time cannot be noted.
void touch_atime(Tree& tree, Inode& inode) EXCLUDES(inode.mutex);
// What a write or a change of owner by somebody unprivileged takes away.
void kill_suidgid(format::Attributes& attributes);

}  // namespace cairn::tree
