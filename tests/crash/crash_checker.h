// Crashes a run wherever it wrote, and looks at what is there afterwards.
#pragma once

#include <cstdint>
#include <sstream>
#include <string>
#include <unordered_map>

#include "crash/crash_run.h"
#include "io/sim_crash.h"

namespace cairn::crash {

// How thoroughly.
struct Effort {
  size_t all_up_to = 8;          // unsynced operations; with more, crashes are drawn at random
  size_t states_max = 600;       // of those that are enumerated at one call
  size_t random_states = 12;     // drawn at one call otherwise
  uint64_t boundary_one_in = 1;  // of the calls are crashed
  uint64_t go_on_one_in = 8;     // of the states, work goes on: writes, sync, another crash
  uint64_t fsck_one_in = 32;     // are checked by fsck, as they are and after the work
  uint64_t rebuild_one_in = 64;  // lose manifest and tables, which are made again
  uint64_t recover_one_in = 64;  // crash again while they are being opened, to a depth of three
  uint64_t kill_one_in = 12;     // of the calls: the process dies, is started again, and then the power goes
};

// Builds that are many times slower try fewer runs.
constexpr bool is_sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#else
  return false;
#endif
}

struct Counts {
  uint64_t crashes = 0;  // states looked at, equal ones too
  uint64_t states = 0;   // different ones, each opened
  uint64_t gone_on = 0, fscked = 0, rebuilt = 0;
  uint64_t recoveries = 0;  // states of crashed recoveries, opened
  uint64_t kills = 0;       // states of crashes after a kill, opened
};

// Errors say which state breaks which rule, and the script that leads to it.
class Checker {
 public:
  Checker(const Effort& effort, uint64_t seed);

  // Every crash right before the mutations `first` to `last` of the run.
  Result<void> check(Run& run, size_t first, size_t last);
  [[nodiscard]] const Counts& counts() const { return counts_; }

 private:
  Result<void> check_before(Run& run, size_t k, io::StateHash& hash);
  Result<void> check_kill(Run& run, size_t k);
  Result<void> check_state(Run& run, size_t k, io::SimDisk state, uint64_t hash);
  Result<Look> look_in(io::SimEnv& env);
  Result<Look> examine(io::SimDisk state, uint64_t hash, Ino inodes_end);
  // What is done with some of the states; `look` is what they show.
  Result<void> go_on(io::SimDisk state, const Look& look, Ino inodes_end, bool with_fsck);
  Result<void> rebuild(io::SimDisk state, const Look& look);
  // What a state shows, and the numbers below which inodes had one before the crash.
  struct Seen {
    Look look;
    Ino inodes_end = 0;
  };
  Result<void> crash_recovery(io::SimDisk state, const Seen& seen, int depth);
  [[nodiscard]] Result<void> expect_within_limit(const io::SimEnv& env) const;
  [[nodiscard]] bool chosen(uint64_t hash, uint64_t salt, uint64_t one_in) const;

  const Effort effort_;
  const uint64_t seed_;
  io::SimRandom random_;
  std::shared_ptr<spdlog::logger> logger_;
  std::ostringstream logged_;                // warnings and errors of the store
  std::unordered_map<uint64_t, Look> seen_;  // by the hash of the disk; of one run
  uint64_t limit_ = 0;                       // of this run's store, bytes; 0: none
  Counts counts_;
};

}  // namespace cairn::crash
