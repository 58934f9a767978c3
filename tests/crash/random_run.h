// Long runs that a seed makes up, for the test and the soak.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "crash/crash_checker.h"
#include "crash/crash_run.h"

namespace cairn::crash {

// Runs on stores of every kind: both modes; chunks in the log, and as extents; with and without compression; short scripts
// of which every crash is tried, and long ones with merges and compactions of which some are. One in 16 is a cache at its limit,
// where files are evicted, segments are punched and compacted for room, and some of the crashes are tried.
class RandomRuns {
 public:
  enum class Which : uint8_t { kAll, kAtTheLimit };
  explicit RandomRuns(Which which = Which::kAll) : which_(which) {}

  // One seed is one script, one order of background work, and one choice of crashes. Errors say how to repeat it.
  Result<Counts> run(uint64_t seed);
  // A checksum of all calls to the disk that run() would crash, and of what they left.
  Result<uint64_t> trace(uint64_t seed);
  // What the store did, over all runs: a test that never compacts proves nothing about compaction.
  [[nodiscard]] uint64_t merges() const { return merges_; }
  [[nodiscard]] uint64_t compactions() const { return compactions_; }
  [[nodiscard]] uint64_t seals() const { return seals_; }
  [[nodiscard]] uint64_t evictions() const { return evictions_; }
  [[nodiscard]] uint64_t punched() const { return punched_; }  // bytes

 private:
  static constexpr size_t kSettings = 5;
  static constexpr size_t kSettingsAtTheLimit = 2;  // behind the others

  struct Done {
    std::unique_ptr<Run> run;
    Effort effort;
  };
  Result<Done> perform(uint64_t seed);
  Result<Base*> base_of(size_t setting);
  void note(const StoreStats& stats);

  const Which which_;
  std::array<std::optional<Base>, kSettings + kSettingsAtTheLimit> bases_;
  uint64_t merges_ = 0;
  uint64_t compactions_ = 0;
  uint64_t seals_ = 0;
  uint64_t evictions_ = 0;
  uint64_t punched_ = 0;  // bytes
};

void add(Counts& sum, const Counts& more);
std::string to_string(const Counts& counts);

}  // namespace cairn::crash
