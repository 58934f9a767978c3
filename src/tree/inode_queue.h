// SIEVE's queue over inode numbers (Zhang et al., NSDI '24): who goes next when room is needed.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "cairn/bytes.h"
#include "cairn/filesystem.h"

namespace cairn::tree {

// Numbers are given out in ascending order and never twice, so the order of numbers is the order of insertion and the queue
// needs no links: two bits for each inode, "is there" and "was visited", in pages that exist only where inodes do. The hand
// is a number. It walks from the oldest towards the newest, forgets the visits of what it passes, stops at what had none,
// and begins again at the oldest when it is past the newest.
//
// What was there before this run is learnt page by page as the hand gets to it (kUnknown, scanned()), so that a mount does
// not wait for it. Numbers that are gone may stay in the queue, if they went while their page was being read: whoever gets
// one finds out. Thread-safe.
class InodeQueue {
 public:
  static constexpr uint64_t kPageInodes = 4096;             // numbers
  static constexpr uint64_t kVisitBytes = kPageInodes / 8;  // of the visits of one page
  static constexpr Ino kEnd = UINT64_MAX;

  // `first_new`: all numbers below are older than this run. Once, before the first next().
  void start(Ino hand, Ino first_new) EXCLUDES(mutex_);

  // O(log pages); none of them waits.
  void add(Ino ino) EXCLUDES(mutex_);  // not visited yet
  void remove(Ino ino) EXCLUDES(mutex_);
  void visit(Ino ino) EXCLUDES(mutex_);

  struct Step {
    enum class Kind : uint8_t {
      kCandidate,  // `ino` was not visited since the hand last passed; the hand is behind it now
      kUnknown,    // which of the numbers from `ino` to `end` - 1 are there? To be answered by scanned()
      kWrapped,    // the hand stands before the oldest again
    };
    Kind kind = Kind::kWrapped;
    Ino ino = 0;
    Ino end = 0;
  };
  // Moves the hand on, over any number of pages without a candidate: O(pages) at worst.
  Step next() EXCLUDES(mutex_);
  // Of the numbers from `first` to `end` - 1, exactly `live` are there. `first` is what a kUnknown step asked for.
  void scanned(Ino first, Ino end, const std::vector<Ino>& live) EXCLUDES(mutex_);

  // Where the next step begins.
  [[nodiscard]] Ino hand() const EXCLUDES(mutex_);
  void set_hand(Ino ino) EXCLUDES(mutex_);
  [[nodiscard]] uint64_t size() const EXCLUDES(mutex_);  // numbers known to be there

  // Visits, to be saved and loaded: a bit for each number of a page, the lowest first. An empty string: nothing to keep.
  using Visits = std::vector<std::pair<uint64_t, Bytes>>;           // page and bits
  [[nodiscard]] Visits take_changed() EXCLUDES(mutex_);             // since the last call
  void load_visits(uint64_t page, ByteView bits) EXCLUDES(mutex_);  // needs kVisitBytes

 private:
  static constexpr uint64_t kWordBits = 64;
  using Bits = std::array<uint64_t, kPageInodes / kWordBits>;
  // 1 KiB for 4096 numbers. Dropped when nothing lives in it and no visit is left to save.
  struct Page {
    Bits live = {};
    Bits visited = {};
    uint64_t count = 0;  // of live ones
  };
  static bool is_empty(const Page& page);
  // Idempotent.
  void set_live(Ino ino) REQUIRES(mutex_);
  // First and end of what is not known at or behind the hand; kEnd if all is.
  [[nodiscard]] std::pair<Ino, Ino> unknown() const REQUIRES(mutex_);
  // See the .cc.
  Ino walk(uint64_t number, Page& page, Ino end) REQUIRES(mutex_);
  void drop_if_empty(std::map<uint64_t, Page>::iterator page) REQUIRES(mutex_);

  mutable Mutex mutex_;  // a leaf
  std::map<uint64_t, Page> pages_ GUARDED_BY(mutex_);
  std::set<uint64_t> changed_ GUARDED_BY(mutex_);  // pages whose visits were not taken since
  Ino hand_ GUARDED_BY(mutex_) = 0;                // the next one to look at
  uint64_t size_ GUARDED_BY(mutex_) = 0;
  // Known are [0, low_), [start_, high_), and [first_new_, ...), with low_ <= start_ <= high_ <= first_new_: the hand
  // began at start_, so what lies behind it is learnt first.
  Ino start_ GUARDED_BY(mutex_) = 0;
  Ino first_new_ GUARDED_BY(mutex_) = 0;
  Ino low_ GUARDED_BY(mutex_) = 0;
  Ino high_ GUARDED_BY(mutex_) = 0;
};

}  // namespace cairn::tree
