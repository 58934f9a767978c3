// What a crash may leave of a simulated disk: everything that was synced, and of the rest
//   - data: any subset of the 512-byte sectors of the unsynced writes, each old or new, never mixed;
//   - size: any that was reached since the sync, or a tear between two of them;
//   - newly covered bytes that were not written: zeros, or stale bytes of earlier files;
//   - names: a prefix of their changes, or any subset; a rename is atomic, and may land before the data it names;
//   - punched holes: any subset of their 4 KiB blocks; preallocation: there or not.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <unordered_map>
#include <vector>

#include "io/sim_disk.h"
#include "io/sim_random.h"

namespace cairn::io {

// Which unsynced changes of names may survive.
enum class NameOrder : uint8_t {
  kOrdered,   // a prefix of them (ext4, XFS)
  kAnything,  // any subset
};

// One file as a crash may leave it, pages out of `stale` (or zeros) filling what was never written. This is also what a
// failed sync leaves on disk.
SimContent random_content(const FileNode& file, const std::vector<StalePage>& stale, SimRandom& random);

// Pages that unwritten blocks of `node` may show: of files that are gone, and of other files.
std::vector<StalePage> stale_pages(const SimDisk& disk, NodeId node);

// Only what was synced.
SimDisk crash_to_synced(const SimDisk& disk);
// Everything, as if it had been synced.
SimDisk crash_to_current(const SimDisk& disk);
SimDisk crash_at_random(const SimDisk& disk, NameOrder order, SimRandom& random);

// One exact crash: which operations land (by their order), and at most one write that is torn.
struct CrashPlan {
  static constexpr uint64_t kNone = UINT64_MAX;

  std::set<uint64_t> landing;
  bool stale = false;       // newly covered, unwritten bytes: stale bytes of other files, or zeros
  uint64_t torn = kNone;    // the order of a write
  uint64_t tear = 0;        // of that write, the sectors below this one land (numbered from the start of the file)
  bool tail_lands = false;  // or rather those from it on
  bool hole = false;        // or rather all but it
  bool cut_size = false;    // and the file ends there, unless it was longer before

  [[nodiscard]] bool landed(uint64_t order) const { return landing.contains(order); }
};
SimDisk crash_as_planned(const SimDisk& disk, const CrashPlan& plan);

// A checksum of all names and contents (holes count as zeros), for telling states apart.
class StateHash {
 public:
  uint64_t of(const SimDisk& disk);
  // `content` will be met again, in many states, and does not change.
  void remember(const std::shared_ptr<SimContent>& content);

 private:
  uint64_t of(const SimContent& content);

  // These keep what they name, so that an address means one thing.
  std::unordered_map<PagePtr, uint64_t> pages_;
  std::unordered_map<std::shared_ptr<SimContent>, uint64_t> contents_;
};

// Calls `found` with different states and their hashes, at most `limit`: every subset of the unsynced operations, each as a whole (in
// NameOrder::kOrdered, with prefixes of those on names), with unwritten bytes zero and stale; then every write torn at
// each of its sectors, in both directions, with the operations before it and with all; and with a hole of one sector.
// True if that was everything. False if `limit` cut it short, or if more than 10 operations are open: then single
// operations, all but one, prefixes and random subsets stand for all.
// `hash` may be kept for later enumerations of the same run, which then need not hash shared content again.
using CrashFound = std::function<void(SimDisk state, uint64_t hash)>;
struct CrashSearch {
  NameOrder order = NameOrder::kOrdered;
  size_t limit = SIZE_MAX;
};
bool enumerate_crashes(const SimDisk& disk, CrashSearch search, StateHash& hash, SimRandom& random,
                       const CrashFound& found);

}  // namespace cairn::io
