// Crashes that the crash model (tests/crash) found a way through, one by one.
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include <fmt/format.h>

#include "cairn/fsck.h"
#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";

class StoreCrash : public ::testing::Test {
 public:
  StoreCrash() {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    env_.keep_history();
    EXPECT_TRUE(make_store(env_, kPath, geometry, false));
    store_ = open(env_);
  }

  static std::unique_ptr<Store> open(io::SimEnv& env) {
    Options options;
    options.commit_interval_ms = 0;
    auto store = Store::open(env, kPath, options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  void put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.put(key, value);
    const auto written = store_->write(batch, Durability::kNone);
    ASSERT_TRUE(written) << written.error().message;
  }
  static std::map<std::string, std::string> content(const Store& store) {
    std::map<std::string, std::string> out;
    auto cursor = store.scan("key");
    for (; cursor.valid(); cursor.next()) {
      const auto value = cursor.value();
      EXPECT_TRUE(value) << value.error().message;
      if (value) out[std::string(cursor.key())] = value->view();
    }
    EXPECT_TRUE(cursor.status());
    return out;
  }
  // The power goes; what was left alone is closed in its dead world.
  static io::SimEnv power_cut(io::SimEnv& env, std::unique_ptr<Store>& store) {
    io::SimEnv next = env.crash(io::kAllLost);
    store.reset();
    return next;
  }

  io::SimEnv env_{1};
  std::unique_ptr<Store> store_;
};

TEST_F(StoreCrash, ANumberThatOnlyACrashKnowsOfIsNotGivenOutAgain) {
  const uint64_t first = store_->next_number();
  for (int i = 0; i < 3; ++i) {
    io::SimEnv next = power_cut(env_, store_);
    env_ = std::move(next);
    store_ = open(env_);
    ASSERT_NE(store_, nullptr);
    EXPECT_GT(store_->next_number(), first);
  }
}

// The file that tells goes when the store is opened: before that, the manifest has to know it.
TEST_F(StoreCrash, ANumberThatOnlyACrashKnowsOfOutlivesACrashOfTheNextStart) {
  const uint64_t first = store_->next_number();
  io::SimEnv next = power_cut(env_, store_);
  next.keep_history();
  auto opened = open(next);
  ASSERT_NE(opened, nullptr);
  const size_t calls = next.mutations().size();
  ASSERT_GT(calls, 3U);
  for (size_t k = 0; k <= calls; ++k) {
    for (const auto& choice : {io::kAllLost, io::kNothingLost, io::random_crash(k)}) {
      io::SimEnv last = next.crash_before(k, choice);
      const auto store = open(last);
      ASSERT_NE(store, nullptr);
      EXPECT_GT(store->next_number(), first) << "crashed before call " << k << " of the start";
    }
  }
}

TEST_F(StoreCrash, WhatAStartAfterAKillShowedSurvivesAPowerCut) {
  for (int round = 0; round < 12; ++round) {
    for (int i = 0; i < 12; ++i) put(fmt::format("key{}", i), std::string(4000, static_cast<char>('a' + round)));
    ASSERT_TRUE(store_->seal());
  }
  ASSERT_TRUE(store_->settle());
  ASSERT_GT(store_->stats().compactions, 0U);
  const auto wanted = content(*store_);
  const auto& calls = env_.mutations();
  size_t tried = 0;
  for (size_t k = 0; k < calls.size(); ++k) {
    if (calls[k].kind != io::CallKind::kSyncDir || calls[k].file != kPath || k + 300 < calls.size()) continue;
    ++tried;
    io::SimEnv killed = env_.kill_before(k);
    auto store = open(killed);
    ASSERT_NE(store, nullptr);
    const auto shown = content(*store);
    io::SimEnv next = power_cut(killed, store);
    const auto last = open(next);
    ASSERT_NE(last, nullptr) << "killed before call " << k;
    EXPECT_EQ(content(*last), shown) << "killed before call " << k;
  }
  EXPECT_GT(tried, 3U);
}

// What is synced may lie in segments before the open one, of which the seal is still to come.
TEST_F(StoreCrash, ASyncCoversWhatIsInSegmentsThatAreNotSealedYet) {
  size_t tried = 0;
  for (int i = 0; i < 120; ++i) {
    put(fmt::format("key{:03}", i), std::string(4000, 'x'));
    if (i % 7 != 0) continue;
    ASSERT_TRUE(store_->sync());
    for (const auto& choice : {io::kAllLost, io::random_crash(static_cast<uint64_t>(i))}) {
      io::SimEnv after = env_.peek_crash(choice);
      const auto store = open(after);
      ASSERT_NE(store, nullptr) << i;
      ASSERT_GE(content(*store).size(), static_cast<size_t>(i) + 1);
    }
    ++tried;
  }
  EXPECT_GT(tried, 10U);
  EXPECT_GT(store_->stats().seals, 2U);
}

TEST_F(StoreCrash, AtNoCallFsckCallsACrashDamage) {
  for (int i = 0; i < 40; ++i) put(fmt::format("key{}", i), std::string(4000, 'x'));
  ASSERT_TRUE(store_->sync());
  for (size_t k = env_.mutations().size() / 2; k <= env_.mutations().size(); ++k) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      io::SimEnv after = env_.crash_before(k, io::random_crash(seed));
      const auto report = fsck(after, kPath, {});
      ASSERT_TRUE(report) << report.error().message;
      EXPECT_TRUE(report->findings.empty())
          << k << " " << report->findings[0].file << " " << report->findings[0].message;
    }
  }
}

}  // namespace
}  // namespace cairn
