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

// The calls of Env, as faults name them.
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

// One mutation, for tests that look for the right place to crash.
struct Call {
  CallKind kind = CallKind::kRead;
  std::string file = {};  // name inside its directory; of a directory its path
  uint64_t offset = 0;
  uint64_t length = 0;  // of truncate: the new size
  int err = 0;          // what was injected, 0 for none
};

// Several may match one call: each counts it, the first error wins.
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

// Shared by the SimEnv and all its handles, which keep it alive; a successor after a crash is another world. Public
// where the parts of the simulation work on it. Not thread-safe: one thing runs at a time (SimExecutor).
class SimWorld {
 public:
  // The clock starts in November 2023, the monotonic one at 0.
  SimWorld(SimDisk disk, uint64_t seed);

  // What a call may do. Not ok: it returns `err` (and "crashed" as its text if the process is dead).
  // lose: the call (a write) succeeds, and never reaches the disk.
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
  // What a real Env would say for the verdict's errno, naming the same things.
  static Error error(const Verdict& verdict, std::string_view operation, std::string_view file, std::string_view dir);

  // The state of the world.
  SimDisk disk;
  uint64_t seed;
  // Streams of their own, so that a fault does not change what programs draw.
  SimRandom random;        // what programs ask for
  SimRandom fault_random;  // how much of a failed write or sync gets through
  // Moved by pass() alone; `now` may also be set back by a test, the other never goes back.
  Timestamp now;
  uint64_t monotonic_ms = 0;
  std::map<NodeId, std::string> locks;  // held ones, and by whom

  // What shall happen to it. Once dead it stays dead.
  bool dead = false;                    // every call fails
  std::optional<uint64_t> crash_point;  // dies at this mutation (0 is the first)
  bool keep_history = false;
  // Parallel: history[k] is the disk before mutations[k]. Forks share pages, so a state costs microseconds.
  std::vector<Call> mutations;   // all so far
  std::vector<SimDisk> history;  // the disk before each of them, if kept
  uint64_t calls = 0;            // of any kind
  uint64_t faults_hit = 0;
  // In the order of inject(). Those that have been stay, with nth 0.
  std::vector<Fault> faults;
};

// Over `world`, which they keep alive. Implementations are in sim_file.cc and sim_directory.cc.
// `node` is a file, or a directory, of the world's disk; the names are for messages.
std::unique_ptr<File> make_sim_file(std::shared_ptr<SimWorld> world, NodeId node, std::string name, std::string dir,
                                    OpenOptions options);
std::unique_ptr<Directory> make_sim_directory(std::shared_ptr<SimWorld> world, NodeId node, std::string path);

}  // namespace cairn::io
