// A deterministic world in memory, everything from one seed: it crashes, fails, fills up, rots and orders threads.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "io/env.h"
#include "io/sim_crash.h"
#include "io/sim_executor.h"
#include "io/sim_world.h"

namespace cairn::io {

// How a crash treats what was not synced.
struct CrashChoice {
  enum class Keep : uint8_t {
    kAll,     // everything reached the disk
    kNone,    // only what was synced
    kRandom,  // any legal mix, chosen by the seed
  };
  Keep keep = Keep::kRandom;
  uint64_t seed = 0;
  NameOrder names = NameOrder::kOrdered;
};
inline constexpr CrashChoice kNothingLost{.keep = CrashChoice::Keep::kAll};
inline constexpr CrashChoice kAllLost{.keep = CrashChoice::Keep::kNone};
inline constexpr CrashChoice random_crash(uint64_t seed, NameOrder names = NameOrder::kOrdered) {
  return {.keep = CrashChoice::Keep::kRandom, .seed = seed, .names = names};
}

// An Env over a simulated disk. Paths are taken from its root, with or without a leading '/'; the root exists. A new
// directory is as little durable as on a real disk until its parent is synced (tests that only need a start call
// sync_all()).
//
// Handles keep the disk alive and may outlive the SimEnv; the executor goes with the SimEnv. Movable, but whoever was
// given an Env& or an Executor& needs it to stay (the executor stays where it is when the SimEnv moves).
// For one thread, and the jobs of its executor: nothing here is locked.
class SimEnv final : public Env {
 public:
  explicit SimEnv(uint64_t seed);
  // Starts on a disk that a crash left (sim_crash.h).
  SimEnv(SimDisk disk, uint64_t seed);
  SimEnv(SimEnv&&) noexcept = default;
  SimEnv& operator=(SimEnv&&) noexcept = default;
  ~SimEnv() override = default;

  Result<std::unique_ptr<Directory>> open_dir(const std::string& path) override;
  Result<void> make_dir(const std::string& path) override;
  Timestamp now() const override { return world_->now; }
  uint64_t monotonic_ms() const override { return world_->monotonic_ms; }
  uint64_t random() override { return world_->random.next(); }
  SimExecutor& executor() override { return *executor_; }

  // --- time ---
  void set_now(Timestamp now) { world_->now = now; }  // may jump back

  // --- crash ---
  // The power goes: every later call on this SimEnv and its handles fails with kIo, "crashed", and locks are free. The
  // result is a new world in which everything that survived is durable, without faults or crash point, with the same
  // capacity.
  SimEnv crash(CrashChoice choice);
  // The process dies, the machine lives on (kill -9): as crash(), but nothing is lost, and what was not synced still
  // is not.
  SimEnv kill();
  // The same before mutation `k` (needs keep_history()); this SimEnv goes on.
  SimEnv kill_before(size_t k) { return successor(world_->disk_before(k).fork(), k); }
  // What crash() would give; this SimEnv goes on.
  SimEnv peek_crash(CrashChoice choice) { return after(world_->disk, choice); }
  // The same, before mutation `k` of mutations() (needs keep_history(); k == mutations().size() is now).
  SimEnv crash_before(size_t k, CrashChoice choice);
  // All that a crash now (or before mutation `k`) may leave, see enumerate_crashes(). This SimEnv goes on.
  struct States {
    std::vector<SimEnv> envs;
    bool complete = false;
  };
  States crash_states(size_t limit, NameOrder names = NameOrder::kOrdered);
  States crash_states_before(size_t k, size_t limit, NameOrder names = NameOrder::kOrdered);
  // The disk before mutation `k`, for the functions of sim_crash.h.
  [[nodiscard]] const SimDisk& disk_before(size_t k) const { return world_->disk_before(k); }
  // Mutation `k` (counted from 0 over the life of this SimEnv) and every later call of any kind fail with kIo,
  // "crashed"; crash() then starts from the state right before it.
  void set_crash_point(size_t k) { world_->crash_point = k; }
  [[nodiscard]] bool crashed() const { return world_->dead; }

  // --- calls and faults ---
  [[nodiscard]] const std::vector<Call>& mutations() const { return world_->mutations; }
  [[nodiscard]] uint64_t calls() const { return world_->calls; }  // of any kind
  // Keeps the disk as it was before each mutation, for crash_before(). Before the first one only.
  void keep_history();
  void inject(Fault fault) { world_->faults.push_back(std::move(fault)); }
  void clear_faults() { world_->faults.clear(); }
  [[nodiscard]] uint64_t faults_hit() const { return world_->faults_hit; }
  // Space of the disk, in bytes, rounded down to pages of 4 KiB; 0 is no end. Pages of files count, names are free.
  void set_capacity(uint64_t bytes);
  [[nodiscard]] uint64_t used() const { return world_->disk.used_pages() * kPageSize; }  // bytes
  // The most that was used after any call so far, bytes.
  [[nodiscard]] uint64_t peak_used() const { return world_->disk.peak_pages() * kPageSize; }

  // --- what is there, and damage; none of it counts as a call ---
  // `path` names an existing file (CHECK). Damage hits what is on disk and what the cache holds.
  [[nodiscard]] bool exists(std::string_view path) const;
  [[nodiscard]] std::vector<std::string> list(std::string_view path) const;  // of a directory
  [[nodiscard]] uint64_t size(std::string_view path) const;
  [[nodiscard]] Bytes content(std::string_view path) const;
  void flip_bit(std::string_view path, uint64_t offset, unsigned bit = 0);
  void overwrite(std::string_view path, uint64_t offset, ByteView bytes);
  void zero_sector(std::string_view path, uint64_t sector);
  void swap_sectors(std::string_view path, uint64_t a, uint64_t b);
  void set_unreadable(std::string_view path, uint64_t sector, uint64_t count = 1);  // EIO until written
  void truncate(std::string_view path, uint64_t size);
  void copy_content(std::string_view from, std::string_view to);
  void remove(std::string_view path);
  void sync_all() { world_->disk.sync_all(); }
  // Equal for equal names and contents.
  [[nodiscard]] uint64_t state_hash() const { return StateHash().of(world_->disk); }

 private:
  // 0 if there is none.
  [[nodiscard]] NodeId find(std::string_view path) const;
  [[nodiscard]] NodeId file(std::string_view path) const;
  [[nodiscard]] const SimContent& current(std::string_view path) const;
  SimEnv after(SimDisk& disk, CrashChoice choice) const;
  States states_of(const SimDisk& disk, size_t limit, NameOrder names) const;
  SimEnv successor(SimDisk disk, uint64_t salt) const;

  std::shared_ptr<SimWorld> world_;
  std::unique_ptr<SimExecutor> executor_;
};

}  // namespace cairn::io
