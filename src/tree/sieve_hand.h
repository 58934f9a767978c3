// What the eviction job does: the hand goes from candidate to candidate, and those that may go are evicted.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>

#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/evict.h"
#include "tree/inode_queue.h"
#include "tree/tree.h"

namespace cairn::tree {

// What was evicted, and how long before it was last used: for the statistics. Thread-safe.
class EvictionLog {
 public:
  // `now` against the last use gives the age that CacheStats::retention_s is about.
  void add(EvictReason reason, const Eviction& eviction, const Time& now) EXCLUDES(mutex_);
  void add_directory() EXCLUDES(mutex_);
  void add_to(CacheStats& stats) const EXCLUDES(mutex_);

 private:
  static constexpr size_t kRecent = 256;  // evictions
  mutable Mutex mutex_;                   // a leaf
  CacheStats counts_ GUARDED_BY(mutex_);
  std::deque<int64_t> ages_s_ GUARDED_BY(mutex_);  // of the last ones
};

// SIEVE's hand (Zhang et al., NSDI '24) with what a file system adds to it: open files, pins, groups, ages. For one job
// at a time; the queue and the log are shared with others. Holds no mutex between calls, and none while it calls the
// listener.
class SieveHand {
 public:
  SieveHand(Tree& tree, InodeQueue& queue, EvictionLog& log) : tree_(tree), queue_(queue), log_(log) {}

  using Listener = std::function<void(const LostName&)>;
  // Of one call.
  struct Progress {
    uint64_t freed = 0;      // bytes of log, about
    bool exhausted = false;  // nothing is left that may go, or can be erased now: in the last round,
    uint64_t open = 0;       //   so many stayed because they are open
    uint64_t pinned = 0;     //   and so many because they are pinned
  };
  // A bounded piece of work towards freeing `want` bytes. `has_units`: there may be pins and groups. Errors are noted
  // with the tree; the file stays, and the hand goes on.
  Progress evict_some(uint64_t want, bool has_units, const Listener& listener);
  // Takes the names of a file that cannot be read.
  void evict_damaged(Ino ino, const Listener& listener);
  // Writes hand and visits, if they changed since; `now` if that is not to wait for its time.
  // In operations of kind kFree; kReadOnly, kNoSpace as those. What was not written is in the next save no more than
  // what changes until then.
  Result<void> save(bool now);
  // What the last run saved. Once, before evict_some().
  void load();

 private:
  Result<Ino> saved_hand() const;
  Result<void> load_visits();
  // Evicts the inode if it may go; bytes that come back.
  uint64_t consider(Ino ino, const Listener& listener);
  Result<Eviction> try_evict(Ino ino, EvictReason& reason);
  void finish(const Eviction& eviction, const Listener& listener);
  // The queue was gone through: what next? See the .cc.
  bool went_round();
  void retry_old_ones();
  // Answers the queue's question which inodes there are.
  Result<void> scan(const InodeQueue::Step& step);
  // As of now: what is young changes with the clock.
  [[nodiscard]] EvictRules rules() const;

  Tree& tree_;
  InodeQueue& queue_;
  EvictionLog& log_;
  // All only the running job's.
  int rounds_ = 0;               // of the hand, since something was evicted
  bool young_too_ = false;       // nothing old can go: min_age protects nothing
  std::optional<Ino> young_at_;  // where the hand turned back, at the first young one
  uint64_t next_try_ms_ = 0;     // when to look for old ones again
  bool has_units_ = false;
  bool no_room_ = false;                      // the log takes not even an erase: the disk fails, or is full
  uint64_t open_ = 0;                         // files passed in this round because they are open
  uint64_t pinned_ = 0;                       // or pinned
  uint64_t last_open_ = 0, last_pinned_ = 0;  // in the round before
  uint64_t evicted_since_save_ = 0;
  uint64_t next_save_ms_ = 0;
};

}  // namespace cairn::tree
