// Damaged bytes in the log: what is read is what was written, or an error, and nothing that was acknowledged is deleted.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "cairn/fsck.h"
#include "cairn/store.h"
#include "io/sim_env.h"
#include "store/check_store.h"
#include "store/liveness.h"

namespace cairn {
namespace {

constexpr char kPath[] = "/store";
constexpr char kSegments[] = "/store/segments/";

class StoreDamage : public testing::Test {
 protected:
  void SetUp() override {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = "none";
    ASSERT_TRUE(make_store(*env_, kPath, geometry, false).has_value());
    open();
  }
  void open() {
    auto store = Store::open(*env_, kPath, Options{});
    ASSERT_TRUE(store.has_value()) << store.error().message;
    store_ = std::move(*store);
  }
  void put(const std::string& key, const std::string& value) {
    WriteBatch batch;
    batch.put(key, value);
    const auto done = store_->write(batch, Durability::kSync);
    ASSERT_TRUE(done.has_value()) << done.error().message;
  }
  // The process dies.
  void kill() {
    auto next = std::make_unique<io::SimEnv>(env_->kill());
    store_.reset();
    env_ = std::move(next);
  }
  // Damages the only place in segments/ where `text` is, or `before` bytes before it.
  std::string damage(const std::string& text, uint64_t before = 0) {
    for (const std::string& name : env_->list(kSegments)) {
      const Bytes content = env_->content(kSegments + name);
      const size_t at = content.find(text);
      if (at == Bytes::npos) continue;
      env_->flip_bit(kSegments + name, at - before);
      return name;
    }
    ADD_FAILURE() << text << " is nowhere";
    return {};
  }
  ErrorCode error_of(const std::string& key) {
    const auto got = store_->get(key);
    EXPECT_FALSE(got.has_value()) << "gives " << got->view().substr(0, 40);
    return got ? ErrorCode::kInvalid : got.error().code;
  }

  std::unique_ptr<io::SimEnv> env_ = std::make_unique<io::SimEnv>(1);
  std::unique_ptr<Store> store_;
};

const std::string kFill(1000, 'x');
constexpr uint64_t kInHeader = 8;  // so many bytes before a key of two bytes is the header of its record

TEST_F(StoreDamage, ADamagedValueInTheOpenSegmentIsAnErrorAndNotTheValueBefore) {
  for (const std::string& fill : {std::string(), kFill}) {
    put("ka", "old");
    ASSERT_TRUE(store_->seal().has_value());
    put("ka", "brand-new" + fill);
    put("kb", "1");  // proves that the commit before was durable
    kill();
    damage("kabrand-new", 0 - uint64_t{4});
    open();
    EXPECT_EQ(error_of("ka"), ErrorCode::kCorrupt);
    EXPECT_EQ(store_->get("kb")->view(), "1");
    put("ka", "repaired");
  }
}

TEST_F(StoreDamage, ARebuiltIndexDoesNotServeADamagedSmallValue) {
  put("ka", "brand-new");
  put("kb", "1");
  kill();
  damage("kabrand-new", 0 - uint64_t{4});
  auto directory = env_->open_dir(kPath);
  ASSERT_TRUE(directory.has_value());
  const auto rebuilt = store::rebuild_index(*env_, **directory, kPath);
  ASSERT_TRUE(rebuilt.has_value()) << rebuilt.error().message;
  open();
  EXPECT_EQ(error_of("ka"), ErrorCode::kCorrupt);
  EXPECT_EQ(store_->get("kb")->view(), "1");
}

TEST_F(StoreDamage, ASegmentOfWhichNothingCanBeReadIsSetAsideAndNotDeleted) {
  put("ka", "brand-new");
  put("kb", "newer");
  kill();
  const auto name = damage("kabrand-new", kInHeader);
  EXPECT_EQ(damage("kbnewer", kInHeader), name);
  open();
  EXPECT_TRUE(env_->exists("/store/quarantine/" + name));
}

TEST_F(StoreDamage, ASegmentThatLostRecordsCanStillBeReplaced) {
  for (int i = 0; i < 9; ++i) put(fmt::format("k{}", i), fmt::format("first{}", i));
  kill();
  damage("k1first1", kInHeader);
  open();
  for (int i = 8; i >= 0; --i) put(fmt::format("k{}", i), "second");
  ASSERT_TRUE(store_->seal().has_value());
  const auto settled = store_->settle();
  ASSERT_TRUE(settled.has_value()) << settled.error().message;
  for (int i = 0; i < 9; ++i) EXPECT_EQ(store_->get(fmt::format("k{}", i))->view(), "second");
}

// Places in segments/ behind a key of the liveness map: in its record, or in a footer.
std::vector<std::pair<std::string, uint64_t>> map_values(const io::SimEnv& env) {
  std::vector<std::pair<std::string, uint64_t>> out;
  for (const std::string& name : env.list(kSegments)) {
    const Bytes content = env.content(kSegments + name);
    for (const Bytes& prefix : {store::liveness_header_key(), store::liveness_prefix(0), store::liveness_prefix(1)}) {
      const size_t id = prefix == store::liveness_header_key() ? 0 : sizeof(uint64_t);
      for (size_t at = content.find(prefix); at != Bytes::npos; at = content.find(prefix, at + 1))
        out.emplace_back(kSegments + name, at + prefix.size() + id);
    }
  }
  return out;
}

// What an older version of the map does not know to be dead, an erase that came later still hides: it goes once two maps know.
TEST_F(StoreDamage, WhatWasErasedStaysErasedWhenTheNewestMapOfItIsDamaged) {
  std::mt19937_64 rng(3);
  std::map<std::string, std::string> values;
  const auto change = [&](WriteBatch& batch, int round) {
    const std::string key = fmt::format("key{}", rng() % 60);
    if (rng() % 3 == 0) {
      values.erase(key);
      batch.erase(key);
    } else {
      values[key] = fmt::format("{} of {}", key, round) + std::string(rng() % 2000, 'v');
      batch.put(key, values[key]);
    }
  };
  uint64_t tried = 0;
  for (int round = 0; round < 60; ++round) {
    for (int i = 0; i < 8; ++i) {
      WriteBatch batch;
      change(batch, round);
      ASSERT_TRUE(store_->write(batch, Durability::kNone).has_value());
    }
    ASSERT_TRUE(store_->seal().has_value());
    const auto settled = store_->settle();
    ASSERT_TRUE(settled.has_value()) << settled.error().message;
    if (round % 3 != 0) continue;
    for (const auto& [path, offset] : map_values(*env_)) {
      io::SimEnv env = env_->peek_crash(io::kNothingLost);
      env.flip_bit(path, offset);
      auto directory = env.open_dir(kPath);
      ASSERT_TRUE(directory.has_value());
      ASSERT_TRUE(store::rebuild_index(env, **directory, kPath).has_value());
      const auto store = Store::open(env, kPath, Options{});
      ASSERT_TRUE(store.has_value()) << store.error().message;
      for (int i = 0; i < 60; ++i) {
        const std::string key = fmt::format("key{}", i);
        const auto got = (*store)->get(key);
        const auto wanted = values.find(key);
        ASSERT_TRUE(got || got.error().code == ErrorCode::kNotFound) << got.error().message;
        ASSERT_EQ(got ? got->view() : "", wanted != values.end() ? wanted->second : "")
            << key << " in round " << round << ", damaged: " << path << " at " << offset;
      }
      ++tried;
    }
  }
  EXPECT_GT(store_->stats().compactions, 5U);
  EXPECT_GT(tried, 100U);
}

}  // namespace
}  // namespace cairn
