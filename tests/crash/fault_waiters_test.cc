// Several who wait for one sync that fails: each is told, nobody waits for ever, and no later sync succeeds.
#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn::crash {
namespace {

constexpr char kPath[] = "/store";

struct Waiters {
  explicit Waiters(uint64_t seed) : env(std::make_unique<io::SimEnv>(seed)) {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    EXPECT_TRUE(make_store(*env, kPath, geometry, false).has_value());
    Options options;
    options.commit_interval_ms = 0;
    auto opened = Store::open(*env, kPath, options);
    EXPECT_TRUE(opened.has_value());
    store = std::move(*opened);
  }
  // Writers, each a job of its own that the seed orders.
  void write_and_sync(size_t writers, size_t value_size) {
    results.resize(writers);
    for (size_t i = 0; i < writers; ++i) {
      env->executor().submit([this, i, value_size] {
        WriteBatch batch;
        batch.put(fmt::format("key{}", i), std::string(value_size, static_cast<char>('a' + i)));
        results[i] = store->write(batch, Durability::kSync);
        ++ended;
      });
    }
    env->executor().run_until_idle();
  }

  std::unique_ptr<io::SimEnv> env;
  std::unique_ptr<Store> store;
  std::vector<Result<void>> results;
  size_t ended = 0;
};

TEST(FaultWaiters, EachWhoWaitsForASyncThatFailsIsToldAndNoneHangs) {
  constexpr size_t kWriters = 6;
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Waiters w(seed);
    const bool in_a_write = seed % 2 == 0;
    w.env->inject({.nth = 1 + seed % 3,
                   .kind = in_a_write ? io::CallKind::kWrite : io::CallKind::kSync,
                   .file = ".seg",
                   .err = seed % 5 == 0 ? ENOSPC : EIO});
    w.write_and_sync(kWriters, seed % 4 == 0 ? 7000 : 100);
    ASSERT_EQ(w.ended, kWriters) << "somebody still waits";
    const bool failed = w.store->stats().read_only;
    std::vector<size_t> acknowledged;
    for (size_t i = 0; i < kWriters; ++i) {
      if (w.results[i]) acknowledged.push_back(i);
    }
    if (failed) {
      EXPECT_LT(acknowledged.size(), kWriters);
      EXPECT_FALSE(w.store->sync().has_value()) << "a later sync says that all is well";
      EXPECT_FALSE(w.store->seal().has_value());
    }
    // What was acknowledged is what survives the worst crash.
    io::SimEnv after = w.env->crash(io::kAllLost);
    w.store.reset();
    auto store = Store::open(after, kPath, Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    for (const size_t i : acknowledged) {
      EXPECT_TRUE((*store)->get(fmt::format("key{}", i)).has_value()) << "acknowledged and lost: " << i;
    }
  }
}

TEST(FaultWaiters, WhoeverWaitsForRoomInTheLogIsToldWhenTheSealFails) {
  for (uint64_t seed = 1; seed <= 100; ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Waiters w(seed);
    w.env->inject({.nth = 1 + seed % 4, .kind = io::CallKind::kTruncate, .file = ".seg", .from_then_on = true});
    for (int round = 0; round < 10 && !w.store->stats().read_only; ++round) {
      w.ended = 0;
      w.results.clear();
      w.write_and_sync(8, 7900);
      ASSERT_EQ(w.ended, 8u) << "somebody still waits";
    }
    EXPECT_TRUE(w.store->stats().read_only);
    EXPECT_FALSE(w.store->stats().read_only_reason.empty());
    for (int i = 0; i < 8; ++i) EXPECT_TRUE(w.store->get(fmt::format("key{}", i)).has_value()) << "reads go on";
  }
}

}  // namespace
}  // namespace cairn::crash
