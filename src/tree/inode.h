// An inode in memory, with what of it waits to be written to the log.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>

#include "base/mutex.h"
#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "format/tree_format.h"
#include "tree/dirty_chunk.h"

namespace cairn::tree {

// What a name, an open or a lookup count still keeps alive.
enum class Life : uint8_t {
  kAlive,     // has a name
  kUnlinked,  // no name (any more), but somebody may have it open: contents work as ever
  kDying,     // being erased, or erased: whoever comes now gets kStale
};

// Thread-safe: `mutex` guards everything but `ino`. Lock order: an operation of the store (Store::begin) comes first, then
// the mutex of directory renames, then inodes by ascending number, at most four; store, table and dirty list are leaves.
// The commit hook takes inode mutexes while every begin() waits: nobody may call begin() while holding one.
//
// Attributes and chunks are what readers see; the log has the same, or an older state of them that the next commit
// replaces (`dirty`, `chunks`). What waits has its room: attributes_kept and the chunks' `kept` are part of what the
// store keeps (Store::Operation::keep()).
class Inode : public std::enable_shared_from_this<Inode> {
 public:
  explicit Inode(Ino number) : ino(number) {}
  Inode(const Inode&) = delete;
  Inode& operator=(const Inode&) = delete;

  const Ino ino;
  SharedMutex mutex;

  // Valid if `loaded`; else load_error says why not, and every operation answers that.
  format::Attributes attributes GUARDED_BY(mutex);
  Life life GUARDED_BY(mutex) = Life::kAlive;
  bool evicted GUARDED_BY(mutex) = false;   // dying because of that: whoever comes now is to look its name up again
  bool linkable GUARDED_BY(mutex) = false;  // made without a name (O_TMPFILE): link() may give it one
  Error load_error GUARDED_BY(mutex);       // valid if !loaded
  bool loaded GUARDED_BY(mutex) = false;

  bool dirty GUARDED_BY(mutex) = false;            // attributes differ from the log's
  uint64_t attributes_kept GUARDED_BY(mutex) = 0;  // room in the log kept for them, bytes
  // Only of regular files; each replaces what the log has of that chunk.
  std::map<uint64_t, DirtyChunk> chunks GUARDED_BY(mutex);  // by index
  // Of the chunk that write_back() has logged last, so that the next append and an unlink need not look. Whatever else logs or erases
  // chunks forgets it.
  std::optional<KnownPatches> known_patches GUARDED_BY(mutex);
  uint64_t sweep_next GUARDED_BY(mutex) = 0;  // chunks in sweep_from..sweep_next-1 are erased already
  // Directories: grows, under the mutex, with every name that comes, goes or nearly did. As long as it stands still a name
  // means what it meant.
  uint64_t names_changed GUARDED_BY(mutex) = 0;

  std::atomic<bool> new_open =
      false;  // whoever made it has it open: that close, and times set until then, are no use of it
  // Somebody may have some of its content already: it was read, written or handed over (hand_over.h) since the last lookup count
  // went. A hint, and gone with the object.
  std::atomic<bool> content_known = false;
  std::atomic<bool> handed_ahead = false;  // the next open is the first since it was handed over without one
  std::atomic<int64_t> used_s = 0;         // directories in cache mode: when last used, seconds since 1970
  // Where the last read_into() ended. A hint.
  std::atomic<uint64_t> read_end = 0;
  std::atomic<bool> erased = false;  // its keys are gone; only counts keep the object
};

// Life only ever goes forward, but for link(), which gives a file made by O_TMPFILE its first name.
using InodeRef = std::shared_ptr<Inode>;

// Tells the analysis about locks that it cannot follow (see InodeLocks).
inline void assume_locked(const Inode& inode) ASSERT_CAPABILITY(inode.mutex) { (void)inode; }

// What stat(2) shows. The size of a directory grows with its entries; blocks are logical, so that tar does not take a
// file for a hole.
Attr to_attr(Ino ino, const format::Attributes& attributes);

// kStale if the inode is gone, or the error that kept it from being loaded.
// All three: to be called under the mutex, and again after it was given back.
Result<void> require_usable(const Inode& inode) REQUIRES_SHARED(inode.mutex);
// The same, and kNotDirectory; kNotFound if the directory was removed.
Result<void> require_directory(const Inode& inode) REQUIRES_SHARED(inode.mutex);
// The same for regular files: kIsDirectory or kInvalid.
Result<void> require_regular(const Inode& inode) REQUIRES_SHARED(inode.mutex);

// Holds the mutexes of up to four inodes, taken in the fixed order; doubles and nulls are fine.
class InodeLocks {
 public:
  // Waits for them in ascending order of their numbers. The objects outlive it.
  InodeLocks(Inode* a, Inode* b, Inode* c = nullptr, Inode* d = nullptr);
  ~InodeLocks();
  InodeLocks(const InodeLocks&) = delete;
  InodeLocks& operator=(const InodeLocks&) = delete;

 private:
  static constexpr int kMax = 4;
  Inode* held_[kMax] = {};
  int count_ = 0;
};

}  // namespace cairn::tree
