// Changing the limit of a cache: it holds when the call returns, whatever crashes meanwhile, or it is the old one.
#include <gtest/gtest.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "format/superblock.h"
#include "io/sim_env.h"
#include "store/layout.h"
#include "support/cache_fixture.h"
#include "support/expect_clean.h"

namespace cairn {
namespace {

constexpr uint64_t kMiB = 1 << 20;

// ---- The engine, whose hook erases the oldest keys ----

class LimitTest : public testing::Test {
 protected:
  static constexpr char kPath[] = "/store";
  static constexpr size_t kSize = 128 << 10;  // bytes of a value

  void make(Mode mode = Mode::kCache) {
    StoreGeometry geometry;
    geometry.mode = mode;
    geometry.limit = mode == Mode::kCache ? 32 * kMiB : 0;
    geometry.segment_size = kMiB;
    geometry.compression = "none";
    ASSERT_TRUE(make_store(*env_, kPath, geometry, false).has_value());
    store_ = open(*env_);
    store_->set_room_hook([this] { evict(); });
  }
  static std::unique_ptr<Store> open(io::SimEnv& env) {
    auto store = Store::open(env, kPath, Options{});
    EXPECT_TRUE(store.has_value()) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  void TearDown() override {
    if (!store_) return;
    store_->set_room_hook({});
    EXPECT_TRUE(store_->close().has_value());
  }
  void evict() {
    for (uint64_t left = store_->room_deficit(); left > 0 && oldest_ < pinned_from_; ++oldest_) {
      WriteBatch batch;
      batch.erase(key(oldest_));
      auto operation = store_->begin(batch.log_cost(), Store::OperationKind::kFree);
      ASSERT_TRUE(operation.has_value()) << operation.error().message;
      ASSERT_TRUE(operation->write(batch).has_value());
      left -= std::min<uint64_t>(left, kSize);
    }
    store_->evicted(oldest_ < pinned_from_);
  }
  void fill(uint64_t count) {
    for (uint64_t n = next_; n < next_ + count; ++n) {
      WriteBatch batch;
      batch.put(key(n), CacheFixture::content(n, kSize));
      ASSERT_TRUE(store_->write(batch, Durability::kNone).has_value());
    }
    next_ += count;
  }
  static std::string key(uint64_t n) { return fmt::format("key{:08}", n); }
  static uint64_t right_values(const Store& store, uint64_t end) {
    uint64_t found = 0;
    for (uint64_t n = 0; n < end; ++n) {
      const auto value = store.get(key(n));
      if (!value && value.error().code == ErrorCode::kNotFound) continue;
      EXPECT_TRUE(value.has_value()) << key(n) << ": " << value.error().message;
      EXPECT_TRUE(!value || value->view() == CacheFixture::content(n, kSize)) << key(n) << " reads as something else";
      ++found;
    }
    return found;
  }

  std::unique_ptr<io::SimEnv> env_ = std::make_unique<io::SimEnv>(11);
  std::unique_ptr<Store> store_;
  uint64_t oldest_ = 0, next_ = 0;
  uint64_t pinned_from_ = UINT64_MAX;
};

TEST_F(LimitTest, AGreaterOneHoldsAtOnceAndAfterAnOpen) {
  make();
  fill(180);
  ASSERT_TRUE(store_->set_limit(64 * kMiB).has_value());
  EXPECT_EQ(store_->stats().limit, 64 * kMiB);
  const uint64_t before = oldest_;
  fill(200);
  EXPECT_EQ(oldest_, before) << "it evicted by the old limit";
  EXPECT_GT(env_->used(), 32 * kMiB);
  TearDown();
  store_ = open(*env_);
  EXPECT_EQ(store_->stats().limit, 64 * kMiB);
}

TEST_F(LimitTest, ASmallerOneEvictsDownToItBeforeItReturns) {
  make();
  fill(300);
  ASSERT_GT(env_->used(), 20 * kMiB);
  const auto changed = store_->set_limit(16 * kMiB);
  ASSERT_TRUE(changed.has_value()) << changed.error().message;
  EXPECT_EQ(store_->stats().limit, 16 * kMiB);
  EXPECT_LE(env_->used(), 16 * kMiB);
  EXPECT_GT(right_values(*store_, next_), 20u);
  for (int round = 0; round < 20; ++round) {
    fill(10);
    ASSERT_LE(env_->used(), 16 * kMiB);
  }
  TearDown();
  store_.reset();
  expect_clean(*env_, kPath);
  store_ = open(*env_);
  EXPECT_EQ(store_->stats().limit, 16 * kMiB);
}

TEST_F(LimitTest, WhatMayNotBeEvictedKeepsTheOldOne) {
  make();
  fill(60);
  pinned_from_ = oldest_;
  fill(100);  // 20 MB of 32
  const auto changed = store_->set_limit(16 * kMiB);
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(changed.error().code, ErrorCode::kNoSpace);
  EXPECT_NE(changed.error().message.find("stays at 33554432"), std::string::npos) << changed.error().message;
  EXPECT_EQ(store_->stats().limit, 32 * kMiB);
  EXPECT_EQ(right_values(*store_, next_), 160u);
  fill(10);  // it grows as before
  pinned_from_ = UINT64_MAX;
  store_->evicted(true);
  EXPECT_TRUE(store_->set_limit(16 * kMiB).has_value());
}

TEST_F(LimitTest, WhatCannotBeIsRefusedInOneLineAndChangesNothing) {
  make();
  for (const uint64_t limit : {uint64_t{0}, uint64_t{1}, 16 * kMiB - 1}) {
    const auto changed = store_->set_limit(limit);
    ASSERT_FALSE(changed.has_value()) << limit;
    EXPECT_EQ(changed.error().code, ErrorCode::kInvalid);
    EXPECT_NE(changed.error().message.find("at least 16777216"), std::string::npos) << changed.error().message;
  }
  EXPECT_EQ(store_->stats().limit, 32 * kMiB);
  TearDown();
  store_.reset();
  env_ = std::make_unique<io::SimEnv>(12);
  make(Mode::kCas);
  const auto changed = store_->set_limit(32 * kMiB);
  ASSERT_FALSE(changed.has_value());
  EXPECT_EQ(changed.error().code, ErrorCode::kUnsupported);
}

TEST_F(LimitTest, ACrashAtAnyCallLeavesTheOldOneOrTheNew) {
  env_->keep_history();
  make();
  fill(180);
  const size_t first = env_->mutations().size();
  ASSERT_TRUE(store_->set_limit(16 * kMiB).has_value());
  const size_t middle = env_->mutations().size();
  ASSERT_TRUE(store_->set_limit(64 * kMiB).has_value());
  const size_t last = env_->mutations().size();
  ASSERT_GT(middle, first + 10);
  ASSERT_GE(last, middle + 5);
  std::set<std::pair<bool, uint64_t>> seen;
  for (size_t k = first; k <= last; ++k) {
    for (const io::CrashChoice& choice :
         {io::kAllLost, io::kNothingLost, io::random_crash(k), io::random_crash(k, io::NameOrder::kAnything)}) {
      io::SimEnv after = env_->crash_before(k, choice);
      const uint64_t used = after.used();
      auto store = open(after);
      ASSERT_NE(store, nullptr) << "call " << k;
      const uint64_t limit = store->stats().limit;
      const bool legal =
          k <= middle ? limit == 32 * kMiB || limit == 16 * kMiB : limit == 16 * kMiB || limit == 64 * kMiB;
      ASSERT_TRUE(legal) << "call " << k << ": limit " << limit;
      ASSERT_LE(used, limit) << "call " << k;
      seen.emplace(k <= middle, limit);
      right_values(*store, next_);
      ASSERT_TRUE(store->close().has_value());
      store.reset();
      expect_clean(after, kPath);
      if (HasFailure()) FAIL() << "call " << k;
    }
  }
  EXPECT_EQ(seen.size(), 4u) << "not every outcome was met";
}

TEST_F(LimitTest, ADiskThatFailsLeavesAStoreThatOpens) {
  for (const io::CallKind kind : {io::CallKind::kCreate, io::CallKind::kWrite, io::CallKind::kSync,
                                  io::CallKind::kClose, io::CallKind::kRename, io::CallKind::kSyncDir}) {
    env_ = std::make_unique<io::SimEnv>(13);
    make();
    env_->executor().run_until_idle();
    io::Fault fault{.kind = kind, .file = kind == io::CallKind::kSyncDir ? "store" : store::kNewSuperblockFile};
    env_->inject(fault);
    const auto changed = store_->set_limit(64 * kMiB);
    ASSERT_FALSE(changed.has_value()) << io::to_string(kind);
    EXPECT_NE(changed.error().message.find("was not made durable"), std::string::npos) << changed.error().message;
    EXPECT_EQ(store_->stats().limit, 32 * kMiB) << io::to_string(kind);
    env_->clear_faults();
    const auto again = store_->set_limit(64 * kMiB);
    ASSERT_TRUE(again.has_value()) << io::to_string(kind) << ": " << again.error().message;
    EXPECT_FALSE(env_->exists(std::string(kPath) + "/" + store::kNewSuperblockFile));
    TearDown();
    store_.reset();
    store_ = open(*env_);
    EXPECT_EQ(store_->stats().limit, 64 * kMiB);
    TearDown();
    store_.reset();
  }
}

TEST_F(LimitTest, ALostSuperblockComesBackWithTheNewestLimit) {
  make();
  fill(40);
  ASSERT_TRUE(store_->set_limit(48 * kMiB).has_value());
  fill(40);
  TearDown();
  store_.reset();
  auto directory = env_->open_dir(kPath);
  ASSERT_TRUE(directory.has_value());
  const auto before = store::read_superblock(**directory, kPath);
  ASSERT_TRUE(before.has_value());
  env_->zero_sector(std::string(kPath) + "/" + format::kSuperblockFile, 0);
  const auto files = store::open_segment_files(**directory, 1 << 20);
  ASSERT_TRUE(files.has_value());
  const auto copy = store::superblock_from_segments(**files);
  ASSERT_TRUE(copy.has_value()) << copy.error().message;
  EXPECT_EQ(copy->limit, 48 * kMiB);
  EXPECT_TRUE(*copy == *before);
}

// ---- With files ----

class TreeLimitTest : public CacheFixture {};

TEST_F(TreeLimitTest, FilesGoUntilTheRestFitsAndDfShowsIt) {
  ok(fs_->set_limit(48 << 20));
  add_many(1, 110);  // 35 MB
  settle();
  ASSERT_EQ(evicted(), 0u);
  EXPECT_EQ(ok(fs_->statfs()).total_bytes, 48u << 20);
  ok(fs_->set_limit(kLimit));
  EXPECT_EQ(ok(fs_->statfs()).total_bytes, kLimit);
  EXPECT_LE(fs_->store_stats().allocated_bytes, kLimit);
  EXPECT_GT(evicted(), 50u);
  EXPECT_FALSE(is_there(1));
  EXPECT_EQ(read(find(kRootIno, name(110))), content(110));
}

TEST_F(TreeLimitTest, APinnedFileIsNotEvictedForASmallerOne) {
  ok(fs_->set_limit(48 << 20));
  const Ino kept = dir(kRootIno, "kept");
  ok(fs_->set_xattr(kept, "user.cairn.pin", "1", XattrMode::kAny));
  for (uint64_t n = 1; n <= 80; ++n) add(n, kept);  // 26 MB
  fails(ErrorCode::kNoSpace, fs_->set_limit(kLimit));
  EXPECT_EQ(ok(fs_->statfs()).total_bytes, 48u << 20);
  for (uint64_t n = 1; n <= 80; ++n) EXPECT_TRUE(is_there(n, kept));
  ok(fs_->remove_xattr(kept, "user.cairn.pin"));
  ok(fs_->set_limit(kLimit));
}

}  // namespace
}  // namespace cairn
