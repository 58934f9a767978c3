// What every part of the tree works on: the store, the inodes in memory, what waits to be written, what waits to be erased.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "cairn/filesystem.h"
#include "cairn/store.h"
#include "tree/evictor.h"
#include "tree/hand_over.h"
#include "tree/inode.h"
#include "tree/inode_table.h"
#include "tree/sweeper.h"
#include "tree/write_behind.h"

namespace cairn::tree {

// Inodes with changes that only memory has: what the commit hook goes through. Holds a reference to each, so none is
// dropped from the table. Thread-safe.
class DirtyList {
 public:
  // Puts the inode on the list or takes it off, as its state says.
  void update(Inode& inode) REQUIRES(inode.mutex) EXCLUDES(mutex_);
  // Those of this moment, in no order. In the commit hook nobody adds any: every operation is over.
  [[nodiscard]] std::vector<InodeRef> all() const EXCLUDES(mutex_);

 private:
  mutable Mutex mutex_;  // a leaf
  std::unordered_map<Ino, InodeRef> inodes_ GUARDED_BY(mutex_);
};

// Thread-safe. The functions of names.h, content.h, attributes.h and xattrs.h are its operations; each is one change, or
// several that are right one by one.
struct Tree {
  // `engine` outlives it.
  Tree(Store& engine, const FsOptions& choices);

  Store& store;
  const FsOptions options;
  const std::shared_ptr<Logger> logger;
  const bool cache_mode;
  const uint8_t chunk_bits;  // of new files: a chunk has 2^chunk_bits bytes
  InodeTable inodes;
  DirtyList dirty;
  Mutex directory_moves;  // one directory at a time changes its parent; see inode.h for the order
  Sweeper sweeper;
  WriteBehind write_behind;
  HandOver hand_over;
  Evictor evictor;
  struct Traffic {
    std::atomic<uint64_t> hits = 0, misses = 0, bytes_in = 0, bytes_out = 0;
  } traffic;                                    // see CacheStats
  std::atomic<uint64_t> background_errors = 0;  // of work that nobody waits for
  std::atomic<bool> closing = false;            // counts keep nothing alive any more

  // The store's clock.
  [[nodiscard]] Time now() const;
  // Whether something keeps an inode without a name alive.
  [[nodiscard]] bool in_use(const Inode& inode) const REQUIRES_SHARED(inode.mutex);
  // Cache mode: a directory that is in use is not removed because it is empty.
  void note_use(Inode& directory) const;
  // An error of work that nobody waits for: counted and logged, so that it is not lost.
  void note_error(std::string_view event, Ino ino, const Error& error);
};

// Room in the log that one record of these attributes takes at most, bytes.
uint64_t attributes_cost(const format::Attributes& attributes);
// The same with whatever name, and before the attributes are known: of an inode with a target of this length.
uint64_t attributes_cost_max(uint64_t target_length = 0);

// Writes what is buffered of the inode. Its room must be in `operation`.
Result<void> write_back(Tree& tree, Store::Operation& operation, Inode& inode) REQUIRES(inode.mutex);
// The same, with an operation of its own.
Result<void> write_back_now(Tree& tree, Inode& inode) EXCLUDES(inode.mutex);
// The store's commit hook: everything that is buffered, of all inodes.
Result<void> write_back_all(Tree& tree, Store::Operation& operation);
// Forgets the buffered chunks from `first` to `last` - 1 and gives their room back.
void drop_chunks(Store::Operation& operation, Inode& inode, uint64_t first, uint64_t last) REQUIRES(inode.mutex);

}  // namespace cairn::tree
