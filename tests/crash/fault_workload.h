// One fixed history of a tree in a simulated world, and what must hold of it whatever goes wrong on the way.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cairn/filesystem.h"
#include "cairn/fsck.h"
#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn::crash {

inline constexpr char kStorePath[] = "/store";

// What a tree holds: for each path what it is, and its bytes (long ones as a hash).
using TreeState = std::map<std::string, std::string>;

// All of `fs`, read through its public face. An error ends it.
Result<TreeState> read_tree(FileSystem& fs);

// A store with files of every kind in it, in merged runs, compacted segments and footers, cleanly closed.
// `state` becomes what it holds.
io::SimEnv make_base(Mode mode, TreeState* state);

// Runs the history on a store of make_base(): creates, overwrites, appends, cuts, renames, links, removes, syncs, with
// seals, merges and compaction in between; then closes it. Steps that fail are left out of the model, and nothing else
// is: what a step that succeeded did must be there, what a failed one did must not.
//
// For one thread. Every method that finds a promise broken adds a gtest failure.
class FaultWorkload {
 public:
  FaultWorkload(io::SimEnv env, TreeState base, Mode mode);
  ~FaultWorkload();

  [[nodiscard]] io::SimEnv& env() { return *env_; }
  // False if opening failed; that must be one of the errors that failing calls may cause.
  bool open();
  // All steps. `between` runs before each one.
  void run(const std::function<void()>& between = {});
  // What is read is what the model says, all of it.
  void expect_readable();
  // With the faults gone: the store either works, or is read-only and says why.
  void expect_works_or_says_why();
  void close();
  // The world goes on after `choice` (none: the process is killed, the machine lives): the store opens, holds a state
  // that the tree had since the last sync that was answered with success, is clean, and works on.
  void recover(const std::optional<io::CrashChoice>& choice);

  [[nodiscard]] size_t failed_steps() const { return failed_; }
  [[nodiscard]] bool is_degraded() const { return fs_ && fs_->store_stats().degraded; }
  [[nodiscard]] bool is_open() const { return fs_ != nullptr; }
  [[nodiscard]] const StoreStats& last_stats() const { return stats_; }  // right before close()
  [[nodiscard]] const std::vector<ErrorCode>& errors() const { return errors_; }

 private:
  using StepAct = std::function<Result<void>(FileSystem&)>;
  using StepApply = std::function<void(TreeState&)>;
  struct Step {
    std::string what;
    std::vector<std::string> needs;  // left out if the tree has not all of these paths
    StepAct act;                     // none: runs the background jobs
    StepApply apply;
    bool syncs = false;
  };
  static const std::vector<Step>& steps();
  static void add(std::vector<Step>& s, std::string what, std::vector<std::string> needs, StepAct act, StepApply apply);
  static void add_sync(std::vector<Step>& s, const std::string& path);
  static void add_create(std::vector<Step>& s, const std::string& path);
  static void add_write(std::vector<Step>& s, const std::string& path, const std::string& data);
  static void add_unlink(std::vector<Step>& s, const std::string& path);
  static void add_small_steps(std::vector<Step>& s);
  static void add_overwrites(std::vector<Step>& s);
  static void add_name_steps(std::vector<Step>& s);
  static void add_last_steps(std::vector<Step>& s);
  void note(const std::string& what, const Result<void>& done);
  Result<void> mount(std::unique_ptr<FileSystem>* fs);
  void expect_clean();

  std::unique_ptr<io::SimEnv> env_;
  const Mode mode_;
  std::unique_ptr<FileSystem> fs_;
  std::vector<TreeState> history_;
  size_t synced_ = 0;  // index into history_: what must survive
  size_t failed_ = 0;
  StoreStats stats_;
  std::vector<ErrorCode> errors_;
};

}  // namespace cairn::crash
