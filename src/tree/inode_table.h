// The inodes in memory: found by number, counted by the kernel's lookups and opens, dropped when idle.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <unordered_map>

#include "base/mutex.h"
#include "cairn/result.h"
#include "cairn/store.h"
#include "tree/inode.h"

namespace cairn::tree {

// Loads inodes from the store on demand. There is one object for each number as long as anybody uses it, counts it or it is
// dirty; idle clean ones stay up to a bound, least recently used first out. Thread-safe; `store` outlives it.
class InodeTable {
 public:
  InodeTable(const Store& store, uint64_t idle_max);

  // The inode, read from the store if need be. A failure to read is kept in the object: require_usable() tells, once locked.
  InodeRef get(Ino ino);
  // A new inode, complete and locked by the caller, with its first counts. Its number was never given out before.
  void publish(const InodeRef& inode, uint64_t lookups, uint64_t opens);
  // Takes back a publish(), counts and all.
  void withdraw(const Inode& inode);

  // Counting needs a reference that is held meanwhile. To count an open, hold the inode's mutex (shared will do): whoever
  // holds it exclusively can rely on opens().
  void count_lookup(const Inode& inode);
  void count_open(const Inode& inode);
  [[nodiscard]] uint64_t opens(const Inode& inode) const;
  [[nodiscard]] uint64_t lookups(const Inode& inode) const;
  // Take back. Give the inode if its lookups, or its opens, are zero now, else null. A count too large is clipped.
  InodeRef forget(Ino ino, uint64_t count);
  InodeRef release(Ino ino);

  // To be called once `inode.erased` is set, or its load failed: the table forgets it with its last count.
  void drop_if_uncounted(const Inode& inode);

  [[nodiscard]] uint64_t counted() const;  // inodes with a lookup or open count
  [[nodiscard]] uint64_t size() const;

 private:
  struct Slot {
    InodeRef inode;
    uint64_t lookups = 0;
    uint64_t opens = 0;
    bool idle = false;
    std::list<Ino>::iterator position;  // in `idle`, if it is
  };
  struct Shard {
    mutable Mutex mutex;  // a leaf
    std::unordered_map<Ino, Slot> slots GUARDED_BY(mutex);
    std::list<Ino> idle GUARDED_BY(mutex);  // neither counted nor erased; most recently used first
  };

  static constexpr size_t kShards = 64;
  [[nodiscard]] Shard& shard_of(Ino ino) { return shards_[ino % kShards]; }
  [[nodiscard]] const Shard& shard_of(Ino ino) const { return shards_[ino % kShards]; }

  void load(Inode& inode) REQUIRES(inode.mutex);
  static void count(Shard& shard, Slot& slot, uint64_t lookups, uint64_t opens) REQUIRES(shard.mutex);
  InodeRef uncounted(Shard& shard, Ino ino) REQUIRES(shard.mutex);
  void make_idle(Shard& shard, Ino ino, Slot& slot) REQUIRES(shard.mutex);

  const Store& store_;
  const uint64_t idle_max_;  // for each shard
  std::array<Shard, kShards> shards_;
};

}  // namespace cairn::tree
