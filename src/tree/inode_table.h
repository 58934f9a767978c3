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

// Loads inodes from the store on demand. There is at most one object for each number; it stays as long as anybody uses it or
// has it open, it is dirty, or has no name. Others stay up to a bound, least recently used first out: what the kernel merely
// knows, as it may know millions, keeps nothing but its count. Thread-safe; `store` outlives it.
class InodeTable {
 public:
  // `objects_max` is divided among the shards, so it holds about.
  InodeTable(const Store& store, uint64_t objects_max);

  // The inode, read from the store if need be. A failure to read is kept in the object: require_usable() tells, once locked.
  InodeRef get(Ino ino);
  // The inode, if it has a lookup count and is in memory; else null. No use of it.
  InodeRef known(Ino ino) const;
  // A new inode, complete and locked by the caller, with its first counts. Its number was never given out before.
  // Before its edit is committed, so that whoever finds its name finds this object; withdraw() if the commit fails.
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
  [[nodiscard]] uint64_t objects() const;  // in memory

 private:
  struct Slot {
    InodeRef inode;  // null: there is no object, only counts
    uint64_t lookups = 0;
    uint64_t opens = 0;
    std::list<Ino>::iterator position;  // in `recent`, if there is an object
    [[nodiscard]] bool counted() const { return lookups != 0 || opens != 0; }
  };
  struct Shard {
    mutable Mutex mutex;  // a leaf
    std::unordered_map<Ino, Slot> slots GUARDED_BY(mutex);
    std::list<Ino> recent GUARDED_BY(mutex);  // those with an object; most recently used first
  };

  // A thread that reads an inode holds no shard's mutex meanwhile, only the inode's.
  static constexpr size_t kShards = 64;
  [[nodiscard]] Shard& shard_of(Ino ino) { return shards_[ino % kShards]; }
  [[nodiscard]] const Shard& shard_of(Ino ino) const { return shards_[ino % kShards]; }

  // Reads the attributes, or notes why they cannot be read.
  void load(Inode& inode) REQUIRES(inode.mutex);
  [[nodiscard]] bool is_current(const Inode& inode) const;  // there is no other object of that number
  void withdraw_failed(const Inode& inode);
  // The slot gets an object, or its object is used again.
  static void put(Shard& shard, Ino ino, Slot& slot, const InodeRef& inode) REQUIRES(shard.mutex);
  static void drop_object(Shard& shard, Slot& slot) REQUIRES(shard.mutex);
  // Drops the least recently used objects that can be loaded again, until the bound holds or a few were looked at.
  void trim(Shard& shard) const REQUIRES(shard.mutex);
  // Gives the inode, and forgets what nothing is left of.
  InodeRef uncounted(Shard& shard, Ino ino) REQUIRES(shard.mutex);

  // A slot has counts, an object, or both; one with neither goes.
  const Store& store_;
  const uint64_t objects_max_;  // for each shard
  std::array<Shard, kShards> shards_;
};

}  // namespace cairn::tree
