// The engine under real threads: what a simulation of one thread cannot show. Also run under TSan.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "cairn/store.h"

namespace cairn {
namespace {

class StoreThreads : public testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    path_ = std::filesystem::temp_directory_path() /
            fmt::format("cairn-threads-{}-{}", getpid(), static_cast<int>(GetParam()));
    std::filesystem::remove_all(path_);
    StoreGeometry geometry;
    geometry.mode = GetParam();
    geometry.limit = GetParam() == Mode::kCache ? 256u << 20 : 0;
    geometry.segment_size = 256 << 10;
    geometry.compression = "none";  // so that segments fill up
    ASSERT_TRUE(make_store(path_, geometry, false).has_value());
    open();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(path_);
  }
  void open() {
    Options options;
    options.commit_interval_ms = 20;
    auto store = Store::open(path_, options);
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  static std::string value(int thread, int n) {
    return fmt::format("{}/{}:", thread, n) + std::string(static_cast<size_t>(n * 37 % 3000), 'v');
  }

  std::filesystem::path path_;
  std::unique_ptr<Store> store_;
};

// Each writer owns its keys, so it knows what a read must give, at once and after a reopen; everything else runs at the same time.
TEST_P(StoreThreads, WritersReadersSyncsSealsAndMaintenanceTogether) {
  constexpr int kWriters = 4, kRounds = 1500, kKeys = 50;
  std::atomic<bool> stop = false;
  std::vector<std::thread> threads;
  for (int t = 0; t < kWriters; ++t) {
    threads.emplace_back([&, t] {
      for (int n = 0; n < kRounds; ++n) {
        const auto key = fmt::format("k{}-{}", t, n % kKeys);
        WriteBatch batch;
        batch.put(key, value(t, n));
        batch.put(fmt::format("last{}", t), std::to_string(n));
        const auto done = store_->write(batch, n % 97 == 0 ? Durability::kSync : Durability::kNone);
        ASSERT_TRUE(done.has_value()) << done.error().message;
        const auto got = store_->get(key);
        ASSERT_TRUE(got.has_value()) << got.error().message;
        ASSERT_EQ(got->view(), value(t, n));
      }
    });
  }
  std::vector<std::thread> others;
  others.emplace_back([&] {
    while (!stop) {
      for (auto cursor = store_->scan("last"); cursor.valid(); cursor.next()) ASSERT_TRUE(cursor.value().has_value());
      std::this_thread::yield();
    }
  });
  others.emplace_back([&] {
    while (!stop) {
      const auto settled = store_->settle();
      ASSERT_TRUE(settled.has_value()) << settled.error().message;
      std::this_thread::yield();
    }
  });
  others.emplace_back([&] {
    while (!stop) {
      const auto synced = store_->sync();
      ASSERT_TRUE(synced.has_value()) << synced.error().message;
      std::this_thread::yield();
    }
  });
  for (auto& t : threads) t.join();
  stop = true;
  for (auto& t : others) t.join();
  EXPECT_GT(store_->stats().seals, 10u);
  const auto closed = store_->close();
  ASSERT_TRUE(closed.has_value()) << closed.error().message;
  store_.reset();
  open();
  for (int t = 0; t < kWriters; ++t)
    for (int k = 0; k < kKeys; ++k) {
      const auto got = store_->get(fmt::format("k{}-{}", t, k));
      ASSERT_TRUE(got.has_value()) << got.error().message;
      ASSERT_EQ(got->view(), value(t, kRounds - kKeys + k));
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, StoreThreads, testing::Values(Mode::kCas, Mode::kCache),
                         [](const auto& mode) { return mode.param == Mode::kCas ? "cas" : "cache"; });

}  // namespace
}  // namespace cairn
