// A cache whose disk fails or is filled by others: it goes on in memory, says so, and writes again when the disk does.
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "io/sim_env.h"
#include "support/cache_fixture.h"
#include "support/expect_clean.h"

namespace cairn {
namespace {

class DegradedTest : public CacheFixture {
 protected:
  StoreStats stats() { return fs_->store_stats(); }
  // Time goes on, and with it the attempts to write.
  void wait_for_retries() {
    for (int i = 0; i < 4; ++i) {
      env_->executor().advance(std::chrono::seconds(10));
      settle();
    }
  }
  void expect_right(uint64_t first, uint64_t last) {
    for (uint64_t n = first; n <= last; ++n) {
      const Ino ino = find(kRootIno, name(n));
      ASSERT_NE(ino, 0u) << n;
      const std::string got = read(ino);
      ASSERT_TRUE(got == content(n)) << name(n) << " has " << got.size() << " bytes";
    }
  }
  // Those that eviction has left. What a crash has cut short is a prefix.
  uint64_t count_right(uint64_t first, uint64_t last, bool crashed = false) {
    uint64_t there = 0;
    for (uint64_t n = first; n <= last; ++n) {
      const Ino ino = find(kRootIno, name(n));
      if (ino == 0) continue;
      const std::string got = read(ino);
      EXPECT_TRUE(crashed ? content(n).starts_with(got) : got == content(n)) << name(n);
      ++there;
    }
    return there;
  }
  // A fresh store with ten files, sealed.
  void start_anew() {
    if (fs_) unmount();
    env_ = std::make_unique<io::SimEnv>(++seed_);
    env_->set_now({.seconds = 1'000'000, .nanoseconds = 5});
    ok(make_store(*env_, kPath, tiny_cache(), false));
    mount();
    add_many(1, 10);
    remount();
    settle();
  }
  uint64_t seed_ = 100;
};

TEST_F(DegradedTest, WhateverCallFailsFromThenOnNothingIsLostAndWritingResumes) {
  uint64_t degraded = 0;
  for (const io::CallKind kind : {io::CallKind::kCreate, io::CallKind::kAllocate, io::CallKind::kWrite,
                                  io::CallKind::kSync, io::CallKind::kTruncate, io::CallKind::kRename,
                                  io::CallKind::kClose, io::CallKind::kUnlink, io::CallKind::kSyncDir}) {
    for (uint64_t nth = 1; nth <= 5; ++nth) {
      for (const int err : {EIO, ENOSPC}) {
        SCOPED_TRACE(fmt::format("{} number {} errno {}", io::to_string(kind), nth, err));
        start_anew();
        env_->inject({.nth = nth, .kind = kind, .err = err, .from_then_on = true});
        // On a full disk files go for new ones, and those only.
        uint64_t gone = 0;
        const auto expect_files = [&](uint64_t last) {
          EXPECT_TRUE(err == ENOSPC || gone + evicted() == 0);
          EXPECT_EQ(count_right(1, last) + gone + evicted(), last);
        };
        add_many(11, 20);
        expect_files(20);
        settle();
        ASSERT_FALSE(stats().read_only) << stats().read_only_reason;
        degraded += stats().degraded ? 1 : 0;
        if (stats().degraded) {
          ASSERT_NE(stats().degraded_reason, "");
          ASSERT_GT(stats().unwritten_bytes, 0u);
          wait_for_retries();
          ASSERT_TRUE(stats().degraded);
        }
        env_->clear_faults();
        wait_for_retries();
        ASSERT_FALSE(stats().degraded) << stats().degraded_reason;
        expect_files(20);
        add_many(21, 25);
        settle();
        gone = evicted();
        again();
        expect_files(25);
        unmount();
        fs_.reset();
        expect_clean(*env_, kPath);
        mount();
        if (HasFatalFailure()) return;
      }
    }
  }
  EXPECT_GT(degraded, 40u) << "most faults were not met";
}

TEST_F(DegradedTest, OneFailedSealIsRepeatedInAnotherFile) {
  for (const io::CallKind kind : {io::CallKind::kWrite, io::CallKind::kSync, io::CallKind::kTruncate}) {
    start_anew();
    env_->inject({.kind = kind, .file = ".seg"});
    add_many(11, 16);
    settle();
    ASSERT_EQ(env_->faults_hit(), 1u);
    wait_for_retries();
    EXPECT_FALSE(stats().degraded);
    EXPECT_FALSE(stats().read_only);
    // Only what is on disk survives this.
    crash(io::kAllLost);
    EXPECT_GE(count_right(1, 16, true), 14u);
  }
}

TEST_F(DegradedTest, ADiskThatOthersFillIsWrittenAgainWhenTheyFreeIt) {
  start_anew();
  ok(fs_->set_xattr(kRootIno, "user.cairn.pin", "1", XattrMode::kAny));  // so that nothing can go
  env_->set_capacity(env_->used());
  add_many(11, 20);
  settle();
  EXPECT_TRUE(stats().degraded);
  expect_right(1, 20);
  wait_for_retries();
  EXPECT_TRUE(stats().degraded);
  env_->set_capacity(0);
  wait_for_retries();
  EXPECT_FALSE(stats().degraded) << stats().degraded_reason;
  again();
  expect_right(1, 20);
}

TEST_F(DegradedTest, OnADiskThatOthersFillOldFilesMakeRoomForNewOnes) {
  start_anew();
  add_many(11, 20);
  settle();
  env_->set_capacity(env_->used());
  for (uint64_t n = 21; n <= 90; ++n) {
    add_many(n, n);
    settle();
  }
  EXPECT_FALSE(stats().read_only);
  EXPECT_GT(evicted(), 60u);
  expect_right(81, 90);
  wait_for_retries();
  EXPECT_FALSE(stats().degraded) << stats().degraded_reason;
  again();
  expect_right(81, 90);
  EXPECT_GT(count_right(1, 90), 12u);
  unmount();
  fs_.reset();
  expect_clean(*env_, kPath);
  mount();
}

// Whatever is left of the disk at first, and however what runs in the background is ordered.
TEST_F(DegradedTest, OnADiskThatOthersFillAFastWriterIsNotRefused) {
  for (uint64_t left = 0; left < 48; left += 2) {
    SCOPED_TRACE(fmt::format("{} pages were left", left));
    start_anew();
    add_many(11, 20);
    settle();
    env_->set_capacity(env_->used() + left * io::kBlockSize);
    add_many(21, 150);
    wait_for_retries();
    EXPECT_FALSE(stats().degraded) << stats().degraded_reason;
    if (HasFailure()) return;
  }
}

TEST_F(DegradedTest, ACrashMeanwhileLeavesWholeFilesOrPrefixes) {
  for (uint64_t last = 21; last <= 50; ++last) {
    SCOPED_TRACE(last);
    start_anew();
    add_many(11, 20);
    settle();
    env_->set_capacity(env_->used());
    for (uint64_t n = 21; n <= last; ++n) {
      add_many(n, n);
      if (n % 3 == 0) settle();
    }
    crash(last % 3 == 0 ? io::kAllLost : last % 3 == 1 ? io::kNothingLost : io::random_crash(last));
    env_->set_capacity(0);
    EXPECT_GT(count_right(1, last, /*crashed=*/true), 5u);
    unmount();
    expect_clean(*env_, kPath);
    mount();
  }
}

// As when it is the quota, or inodes, that there are too few of: what is evicted does not help.
TEST_F(DegradedTest, ADiskThatStaysFullCostsNoMoreThanWasWritten) {
  start_anew();
  add_many(11, 30);
  settle();
  env_->inject({.kind = io::CallKind::kCreate, .err = ENOSPC, .from_then_on = true});
  add_many(31, 36);
  settle();
  wait_for_retries();
  EXPECT_TRUE(stats().degraded);
  EXPECT_GT(evicted(), 0u);
  EXPECT_LE(evicted() * kSize, 2 * 6 * kSize + 8 * stats().limit / 32);
  const uint64_t before = evicted();
  wait_for_retries();
  EXPECT_EQ(evicted(), before);
  expect_right(31, 36);
  env_->clear_faults();
}

TEST_F(DegradedTest, AFullDiskAtTheMountIsNoReasonNotToMount) {
  start_anew();
  unmount();
  env_->set_capacity(env_->used() - (2 << 20));
  mount();
  EXPECT_TRUE(stats().degraded);
  const uint64_t there = count_right(1, 10);
  EXPECT_GE(there + evicted(), 10u);
  EXPECT_GT(there, 5u);
  tick(600);
  add(11);
  expect_right(11, 11);
  ok(fs_->unlink(kRootIno, name(10)));
  const uint64_t gone = evicted() + 1;
  env_->set_capacity(0);
  wait_for_retries();
  EXPECT_FALSE(stats().degraded);
  again();
  EXPECT_EQ(count_right(1, 11) + gone, 11u);
  expect_right(11, 11);
  EXPECT_FALSE(is_there(10));
}

TEST_F(DegradedTest, AtTheLimitWritersAreToldAndReadsGoOn) {
  start_anew();
  add_many(11, 100);
  settle();
  env_->inject({.kind = io::CallKind::kWrite, .from_then_on = true});
  uint64_t last = 100;
  Result<Ino> added = kRootIno;
  while (added && last < 400) added = try_add(++last);
  fails(ErrorCode::kNoSpace, added);
  EXPECT_TRUE(stats().degraded);
  EXPECT_FALSE(stats().read_only);
  EXPECT_GT(count_right(1, last - 1), 20u);
  env_->clear_faults();
  wait_for_retries();
  EXPECT_FALSE(stats().degraded) << stats().degraded_reason;
  add_many(last + 1, last + 60);
  again();
  EXPECT_GT(count_right(1, last + 60), 20u);
  EXPECT_TRUE(is_there(last + 60));
  EXPECT_LE(env_->peak_used(), kLimit);
}

TEST_F(DegradedTest, ACrashMeanwhileLosesOnlyWhatWasInMemory) {
  for (const bool at_write : {true, false}) {
    start_anew();
    env_->inject({.kind = at_write ? io::CallKind::kWrite : io::CallKind::kCreate, .from_then_on = true});
    add_many(11, 20);
    settle();
    EXPECT_TRUE(stats().degraded);
    crash(io::random_crash(7));
    expect_right(1, 9);
    unmount();
    expect_clean(*env_, kPath);
    mount();
  }
}

// ---- The bound on memory ----

StoreGeometry large_cache() {
  StoreGeometry geometry = small_geometry(Mode::kCache);
  geometry.limit = 256 << 20;
  geometry.segment_size = 4 << 20;
  geometry.chunk_size = 128 << 10;
  geometry.compression = "none";
  return geometry;
}

class DegradedMemoryTest : public TreeFixture {
 public:
  DegradedMemoryTest() : TreeFixture(large_cache()) {}
};

TEST_F(DegradedMemoryTest, WhatIsKeptIsBounded) {
  env_->inject({.kind = io::CallKind::kWrite, .from_then_on = true});
  const std::string data = CacheFixture::content(1, 1 << 20);
  uint64_t written = 0;
  Result<void> result;
  for (; result && written < 200; ++written) {
    const auto made = fs_->create(kRootIno, CacheFixture::name(written), 0644, kUser);
    if (!made) {
      result = fail(made.error());
      break;
    }
    const auto done = fs_->write(made->ino, 0, data, false, false);
    if (!done || *done < data.size()) result = fail(ErrorCode::kNoSpace);
    fs_->release(made->ino);
  }
  EXPECT_GT(written, 55u);
  EXPECT_LT(written, 80u);
  EXPECT_FALSE(result);
  EXPECT_TRUE(fs_->store_stats().degraded);
  EXPECT_LT(fs_->store_stats().unwritten_bytes, 76u << 20);
  env_->clear_faults();
  env_->executor().advance(std::chrono::seconds(20));
  settle();
  EXPECT_FALSE(fs_->store_stats().degraded);
  file(kRootIno, "after", data);
  remount();
  EXPECT_TRUE(read(find(kRootIno, "after")) == data);
  for (uint64_t n = 0; n + 2 < written; ++n) ASSERT_TRUE(read(find(kRootIno, CacheFixture::name(n))) == data) << n;
}

}  // namespace
}  // namespace cairn
