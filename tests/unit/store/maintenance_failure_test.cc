// Maintenance that fails in the middle, at every place: what it does later must not believe that it was done.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>

#include <fmt/format.h>

#include "cairn/store.h"
#include "io/sim_env.h"
#include "support/expect_clean.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class MaintenanceFailure : public testing::TestWithParam<io::CallKind> {
 protected:
  void SetUp() override {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    ASSERT_TRUE(make_store(env_, kPath, geometry, false).has_value());
  }
  void open() {
    auto store = Store::open(env_, kPath, Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  void close() {
    const auto closed = store_->close();
    ASSERT_TRUE(closed.has_value()) << closed.error().message;
    store_.reset();
  }
  void write_some() {
    for (int i = 0; i < 60; ++i) {
      WriteBatch batch;
      const auto key = fmt::format("key{:03}", rng_() % 200);
      if (rng_() % 5 == 0) {
        batch.erase(key);
      } else {
        batch.put(key, std::string(500 + rng_() % 3000, 'v'));
      }
      const auto done = store_->write(batch, i % 16 == 0 ? Durability::kSync : Durability::kNone);
      ASSERT_TRUE(done.has_value()) << done.error().message;
    }
  }

  io::SimEnv env_{7};
  std::mt19937_64 rng_{7};
  std::unique_ptr<Store> store_;
};

TEST_P(MaintenanceFailure, LeavesNothingBehindAndForgetsNothing) {
  uint64_t compactions = 0;
  open();
  for (unsigned round = 1; round <= 60; ++round) {
    write_some();
    env_.inject({.nth = 1 + round % 7, .kind = GetParam(), .err = 28, .from_then_on = round % 2 == 0});
    (void)store_->settle();  // may fail, may not get that far
    env_.clear_faults();
    if (round % 10 != 0) continue;
    ASSERT_TRUE(store_->sync().has_value());
    const auto settled = store_->settle();
    ASSERT_TRUE(settled.has_value()) << settled.error().message;
    env_.executor().run_until_idle();
    EXPECT_EQ(env_.list("/store/segments").size(), store_->stats().segments + 2) << "sealed, open, prepared";
    compactions += store_->stats().compactions;
    close();
    expect_clean(env_, kPath);
    open();
  }
  EXPECT_GT(compactions, 0u);
  close();
}

INSTANTIATE_TEST_SUITE_P(Calls, MaintenanceFailure,
                         testing::Values(io::CallKind::kCreate, io::CallKind::kRename, io::CallKind::kSyncDir,
                                         io::CallKind::kUnlink),
                         [](const auto& call) { return fmt::format("call{}", call.index); });

}  // namespace
}  // namespace cairn
