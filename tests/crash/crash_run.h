// One run of a script on a simulated disk, and everything that it may look like after a crash.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "cairn/filesystem.h"
#include "cairn/store.h"
#include "crash/tree_model.h"
#include "io/sim_env.h"

namespace cairn::crash {

inline constexpr char kPath[] = "/store";

// The store that a run starts from.
struct Setting {
  Mode mode = Mode::kCas;
  uint64_t segment_size = 64 << 10;  // bytes
  uint64_t chunk_size = 4096;        // bytes
  std::string compression = "none";
  std::vector<Op> prepared = {};  // done, and closed cleanly, before the run begins
  uint64_t limit = 64 << 20;      // bytes, of a cache; may be less than mkfs allows
  bool evicts = false;            // the limit is reached: files may go, whole ones
};

// What a tree looked like: Picture::plain, and checksums of that and of Picture::timed.
struct Look {
  uint64_t plain = 0;
  uint64_t timed = 0;
  std::string text = {};
  uint64_t evicted = 0;  // inodes that were evicted while it was opened and looked at
};
Look look_at(const Picture& picture);
// Inodes that this file system evicted.
uint64_t evicted_by(const FileSystem& fs);

// Opens the store in `env` and everything on it.
struct Mounted {
  std::unique_ptr<FileSystem> fs;
  Store* store = nullptr;  // belongs to `fs`
};
Result<Mounted> mount(io::SimEnv& env, uint64_t commit_interval_ms, const std::shared_ptr<spdlog::logger>& logger);

class Base {
 public:
  static Result<Base> make(const Setting& setting);

  Setting setting;
  io::SimEnv env{1};
  Model model;
};

// Does what a script says to the real tree and to the model, which must agree, and remembers every state that the tree was
// in, and what was acknowledged when. One seed is one run: the same calls to the disk, in the same order.
// Errors say what is wrong with the store. For one thread.
class Run {
 public:
  static Result<std::unique_ptr<Run>> start(Base& base, uint64_t seed);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  Result<void> apply(const Op& op);

  [[nodiscard]] io::SimEnv& env() { return env_; }
  [[nodiscard]] Mode mode() const { return mode_; }
  [[nodiscard]] size_t mutations() const { return env_.mutations().size(); }
  [[nodiscard]] const Model& model() const { return model_; }
  [[nodiscard]] StoreStats stats() const { return fs_->store_stats(); }

  // Bytes that the store may take; 0: any number.
  [[nodiscard]] uint64_t limit() const { return limit_; }
  // Inodes that were evicted so far.
  [[nodiscard]] size_t evictions() const { return evicted_.size(); }

  // States that a crash before mutation `k` may leave: of those that the tree was in, `first` to `last`; and each without
  // any of what was evicted before `k`.
  struct Legal {
    size_t first = 0, last = 0, before = 0;
  };
  [[nodiscard]] Legal legal_before(size_t k) const;
  [[nodiscard]] bool is_one_of(const Legal& legal, const Look& look) const;
  [[nodiscard]] const std::string& state(size_t i) const { return states_[i].text; }
  // What had been begun before mutation `k`.
  [[nodiscard]] std::string script_before(size_t k) const;
  // Numbers below this had been given to inodes.
  [[nodiscard]] Ino inodes_end_before(size_t k) const;

 private:
  Run(io::SimEnv env, const Base& base);

  // The tree as it was; `begun` is the number of mutations when the operation began that led to it. Where files may be
  // evicted, what an operation did and what was evicted meanwhile are two states: which came first is not known.
  struct State {
    std::string text;
    uint64_t hash = 0;
    bool timed = true;  // false: the times are not known
    size_t begun = 0;
  };
  struct Ack {
    size_t at = 0;  // mutations
    size_t state = 0;
  };

  Result<void> mount_again();
  Result<bool> took_effect(const Op& op, bool allowed, const Result<void>& done);
  Result<void> take_away_evicted(const std::string& picture, Ino but, size_t begun);
  [[nodiscard]] bool is_without_evicted(const State& state, size_t before, const Look& look) const;
  void remember_parts(const Op& op, size_t begun);
  Result<size_t> remember(size_t begun);
  Result<void> act(const Op& op, Ino* made);
  Result<void> act_on_file(const Op& op, Ino ino);
  Result<void> make(const Op& op, Ino* made);
  Result<void> close_files();

  io::SimEnv env_;
  const Mode mode_;
  const uint64_t chunk_size_;
  const uint64_t limit_;
  const bool evicts_;
  Mounted mounted_;
  FileSystem* fs_ = nullptr;
  Model model_;
  std::vector<Ino> open_;
  std::vector<State> states_;
  std::vector<Ack> acks_;
  std::map<Ino, size_t> evicted_;  // how many mutations there were before the operation during which it happened
  struct Step {
    Op op;
    size_t begun = 0;  // mutations
    size_t ended = SIZE_MAX;
    Ino inodes_end = 0;
  };
  std::vector<Step> script_;
};

}  // namespace cairn::crash
