// What all handles of one simulation share: the disk, the log of calls, the faults to inject, locks, time and chance.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/env.h"
#include "io/sim_disk.h"
#include "io/sim_random.h"

namespace cairn::io {

enum class CallKind : uint8_t {
  kRead,
  kWrite,
  kSync,
  kTruncate,
  kAllocate,
  kPunch,
  kStat,  // of a file, and the space of a file system
  kClose,
  kOpen,    // of an existing file or directory
  kCreate,  // of a file; also by lock()
  kMakeDir,
  kRename,
  kUnlink,
  kList,
  kSyncDir,
  kLock,
};
std::string_view to_string(CallKind kind);

// True for calls that change something, or make it durable.
bool is_mutation(CallKind kind);

struct Call {
  CallKind kind = CallKind::kRead;
  std::string file = {};  // name inside its directory; of a directory its path
  uint64_t offset = 0;
  uint64_t length = 0;  // of truncate: the new size
  int err = 0;          // what was injected, 0 for none
};

// What shall go wrong.
struct Fault {
  enum class Effect : uint8_t {
    kFail,  // the call returns `err`. A write may have written some of it, a sync some of what was pending.
    kLose,  // a write succeeds and is readable until the cache is dropped, but never reaches the disk
  };
  uint64_t nth = 1;                   // counts the matching calls from now on; 1 is the next one
  std::optional<CallKind> kind = {};  // any kind if unset
  std::string file = {};              // only calls whose file has this in its name; empty: all
  int err = 5;                        // EIO
  bool from_then_on = false;          // all later matching calls too
  Effect effect = Effect::kFail;
};

class SimWorld {
 public:
  SimWorld(SimDisk disk, uint64_t seed);

  // What a call may do. Not ok: it returns `err` (and "crashed" as its text if the process is dead).
  struct Verdict {
    int err = 0;
    bool crashed = false;
    bool lose = false;
    [[nodiscard]] bool ok() const { return err == 0 && !crashed; }
  };
  // Every call of the simulated system asks here first.
  Verdict enter(CallKind kind, std::string_view file, uint64_t offset = 0, uint64_t length = 0);
  // Every later call fails, and the locks are free.
  void die();
  // Both clocks go on.
  void pass(std::chrono::milliseconds time);
  // As it was before mutation `k`, for a crash there.
  SimDisk& disk_before(size_t k);
  static Error error(const Verdict& verdict, std::string_view operation, std::string_view file, std::string_view dir);

  SimDisk disk;
  uint64_t seed;
  SimRandom random;        // what programs ask for
  SimRandom fault_random;  // how much of a failed write or sync gets through
  Timestamp now;
  uint64_t monotonic_ms = 0;
  std::map<NodeId, std::string> locks;  // held ones, and by whom

  bool dead = false;                    // every call fails
  std::optional<uint64_t> crash_point;  // dies at this mutation (0 is the first)
  bool keep_history = false;
  std::vector<Call> mutations;   // all so far
  std::vector<SimDisk> history;  // the disk before each of them, if kept
  uint64_t calls = 0;            // of any kind
  uint64_t faults_hit = 0;
  std::vector<Fault> faults;
};

// Over `world`, which they keep alive. Implementations are in sim_file.cc and sim_directory.cc.
std::unique_ptr<File> make_sim_file(std::shared_ptr<SimWorld> world, NodeId node, std::string name, std::string dir,
                                    OpenOptions options);
std::unique_ptr<Directory> make_sim_directory(std::shared_ptr<SimWorld> world, NodeId node, std::string path);

}  // namespace cairn::io
