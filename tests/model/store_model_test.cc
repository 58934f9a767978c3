// The engine against a map that keeps its whole history: random batches, syncs, seals, maintenance, reopens and crashes.
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"
#include "support/expect_clean.h"

namespace cairn {
namespace {

using Model = std::map<std::string, std::string>;

constexpr char kPath[] = "/store";

class History {
 public:
  History(uint64_t seed, Mode mode) : rng_(seed), env_(std::make_unique<io::SimEnv>(seed)), mode_(mode) {
    StoreGeometry geometry;
    geometry.mode = mode;
    geometry.limit = mode == Mode::kCache ? 64 << 20 : 0;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    const auto made = make_store(*env_, kPath, geometry, false);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    history_.push_back({});
    open();
  }

  void open() {
    Options options;
    auto store = Store::open(*env_, kPath, options);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
    seen_ = {};
  }

  // A value that says which key and version it is, of any size up to a few KiB.
  std::string value(const std::string& key) {
    const size_t size = pick(10) == 0 ? 8000 + pick(3000) : pick(3) == 0 ? 300 + pick(2000) : pick(200);
    std::string out = fmt::format("{}#{}:", key, history_.size());
    while (out.size() < size) out.push_back(static_cast<char>(pick(4) ? 'x' : rng_()));
    return out;
  }

  void write() {
    WriteBatch batch;
    Model next = history_.back();
    const size_t n = 1 + pick(4);
    for (size_t i = 0; i < n; ++i) {
      const std::string key = fmt::format("key{:03}", pick(60));
      if (pick(4) == 0) {
        batch.erase(key);
        next.erase(key);
      } else {
        const auto v = value(key);
        batch.put(key, v);
        next[key] = v;
      }
    }
    if (batch.log_cost() > store_->max_operation_room()) return;
    const bool sync = pick(8) == 0;
    const auto done = store_->write(batch, sync ? Durability::kSync : Durability::kNone);
    ASSERT_TRUE(done.has_value()) << done.error().message;
    history_.push_back(std::move(next));
    if (sync && mode_ == Mode::kCas) synced_ = history_.size() - 1;
  }

  Model content() {
    Model out;
    auto cursor = store_->scan("key");
    for (; cursor.valid(); cursor.next()) {
      auto v = cursor.value();
      EXPECT_TRUE(v.has_value()) << v.error().message;
      if (v) out[std::string(cursor.key())] = v->view();
    }
    EXPECT_TRUE(cursor.status().has_value());
    return out;
  }

  void check_now() {
    const Model& want = history_.back();
    ASSERT_EQ(content(), want);
    for (int i = 0; i < 60; ++i) {
      const std::string key = fmt::format("key{:03}", i);
      const auto got = store_->get(key);
      const auto it = want.find(key);
      if (it == want.end()) {
        ASSERT_FALSE(got.has_value()) << key;
        ASSERT_EQ(got.error().code, ErrorCode::kNotFound) << got.error().message;
      } else {
        ASSERT_TRUE(got.has_value()) << key << " " << got.error().message;
        ASSERT_EQ(got->view(), it->second);
      }
    }
  }

  void note_work() {
    const StoreStats now = store_->stats();
    merges += now.merges - std::exchange(seen_.merges, now.merges);
    compactions += now.compactions - std::exchange(seen_.compactions, now.compactions);
  }

  void crash(io::CrashChoice choice) {
    note_work();
    ++crashes;
    auto next = std::make_unique<io::SimEnv>(env_->crash(choice));
    store_.reset();
    env_ = std::move(next);
    if (pick(3) == 0) {
      ASSERT_NO_FATAL_FAILURE(rebuild());
    }
    ASSERT_NO_FATAL_FAILURE(open());
    const Model got = content();
    size_t match = history_.size();
    for (size_t i = history_.size(); i-- > synced_;)
      if (history_[i] == got) {
        match = i;
        break;
      }
    ASSERT_LT(match, history_.size()) << "what survived is no prefix at or behind operation " << synced_ << " of "
                                      << history_.size() - 1;
    history_.resize(match + 1);
    synced_ = match;
    ASSERT_NO_FATAL_FAILURE(check_now());
  }

  // Manifest and tables are lost, the segments are not.
  void rebuild() {
    env_->remove("/store/manifest");
    for (const std::string& name : env_->list("/store/index")) env_->remove("/store/index/" + name);
    auto directory = env_->open_dir(kPath);
    ASSERT_TRUE(directory.has_value());
    const auto rebuilt = store::rebuild_index(*env_, **directory, kPath);
    ASSERT_TRUE(rebuilt.has_value()) << rebuilt.error().message;
    ++rebuilds;
  }

  // A closed store is clean; without manifest and tables the segments alone give the same content, and are clean again.
  void check_and_rebuild() {
    note_work();
    const auto closed = store_->close();
    ASSERT_TRUE(closed.has_value()) << closed.error().message;
    store_.reset();
    ASSERT_NO_FATAL_FAILURE(expect_clean(*env_, kPath));
    if (pick(2) == 0) {
      ASSERT_NO_FATAL_FAILURE(rebuild());
      ASSERT_NO_FATAL_FAILURE(expect_clean(*env_, kPath));
    }
    ASSERT_NO_FATAL_FAILURE(open());
    synced_ = history_.size() - 1;
    ASSERT_NO_FATAL_FAILURE(check_now());
  }

  void step() {
    switch (pick(40)) {
      case 0: ASSERT_TRUE(store_->seal().has_value()); break;
      case 1: {
        const auto settled = store_->settle();
        ASSERT_TRUE(settled.has_value()) << settled.error().message;
        note_work();
        break;
      }
      case 2: {
        const auto synced = store_->sync();
        ASSERT_TRUE(synced.has_value()) << synced.error().message;
        if (mode_ == Mode::kCas) synced_ = history_.size() - 1;
        break;
      }
      case 3: {
        note_work();
        const auto closed = store_->close();
        ASSERT_TRUE(closed.has_value()) << closed.error().message;
        store_.reset();
        ASSERT_NO_FATAL_FAILURE(open());
        synced_ = history_.size() - 1;
        break;
      }
      case 4: crash(io::random_crash(rng_())); break;
      case 5: pick(3) ? crash(io::kAllLost) : crash(io::kNothingLost); break;
      case 6: check_now(); break;
      case 8: check_and_rebuild(); break;
      case 7: env_->executor().run_until_idle(); break;
      default: write();
    }
  }

  size_t pick(size_t n) { return rng_() % n; }

  // What the run made the engine do: a test that never merges proves nothing about merging.
  uint64_t merges = 0, compactions = 0, crashes = 0, rebuilds = 0;

 private:
  std::mt19937_64 rng_;
  std::unique_ptr<io::SimEnv> env_;
  std::unique_ptr<Store> store_;
  Mode mode_;
  std::vector<Model> history_;
  StoreStats seen_;
  size_t synced_ = 0;  // index into history_: what must survive
};

class StoreModel : public testing::TestWithParam<Mode> {};

TEST_P(StoreModel, EveryCrashLeavesAPrefixAndEveryReadTheNewestValue) {
  uint64_t merges = 0, compactions = 0, crashes = 0, rebuilds = 0;
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    History run(seed, GetParam());
    for (int i = 0; i < 1500; ++i) {
      run.step();
      if (testing::Test::HasFailure()) {
        FAIL() << "seed " << seed << " step " << i;
      }
    }
    merges += run.merges;
    compactions += run.compactions;
    crashes += run.crashes;
    rebuilds += run.rebuilds;
  }
  EXPECT_GT(merges, 100u);
  EXPECT_GT(compactions, 100u);
  EXPECT_GT(crashes, 1000u);
  EXPECT_GT(rebuilds, 100u);
}

INSTANTIATE_TEST_SUITE_P(Modes, StoreModel, testing::Values(Mode::kCas, Mode::kCache),
                         [](const auto& mode) { return mode.param == Mode::kCas ? "cas" : "cache"; });

}  // namespace
}  // namespace cairn
