// Eviction as users of the tree see it: who goes, who stays, and what is left of those who went.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "format/tree_format.h"
#include "support/cache_fixture.h"

namespace cairn {
namespace {

class EvictionTest : public CacheFixture {};

TEST_F(EvictionTest, TheStoreTakesManyTimesItsLimit) {
  add_many(1, 175);  // 56 MB through 16 MiB
  settle();
  EXPECT_GT(evicted(), 100u);
  EXPECT_TRUE(is_there(175));
  EXPECT_FALSE(is_there(1));
  EXPECT_EQ(read(find(kRootIno, name(175))), content(175));
  EXPECT_LE(fs_->store_stats().allocated_bytes, kLimit);
}

// Tiny records: the index takes as much as they do, and each eviction writes nearly as much as it frees.
TEST_F(EvictionTest, EmptyFilesAreNeverRefused) {
  for (uint64_t n = 1; n <= 60'000; ++n) {
    const auto made = fs_->create(kRootIno, name(n), 0644, kUser);
    ASSERT_TRUE(made.has_value()) << n << ": " << made.error().message;
    fs_->release(made->ino);
    fs_->forget(made->ino, 1);
    if (n % 64 == 0) tick(1);
  }
  settle();
  EXPECT_GT(evicted(), 20'000u);
  EXPECT_TRUE(is_there(60'000));
  EXPECT_FALSE(is_there(1));
  EXPECT_LE(fs_->store_stats().allocated_bytes, kLimit);
}

TEST_F(EvictionTest, WhatIsLeftIsWholeAndRight) {
  add_many(1, 100);
  again();
  settle();
  size_t left = 0;
  for (uint64_t n = 1; n <= 100; ++n) {
    const Ino ino = find(kRootIno, name(n));
    if (ino == 0) continue;
    ++left;
    EXPECT_EQ(read(ino), content(n)) << n;
  }
  EXPECT_GT(left, 12u);
  EXPECT_EQ(names(kRootIno).size(), left);
}

TEST_F(EvictionTest, WhatIsUsedStays) {
  const Ino loved = add(1);
  for (uint64_t n = 2; n <= 125; ++n) {
    add(n);
    use(loved);
    tick(4);
  }
  EXPECT_TRUE(is_there(1));
  EXPECT_FALSE(is_there(2));
  EXPECT_EQ(read(loved), content(1));
}

TEST_F(EvictionTest, ATouchAndALinkAreUse) {
  const Ino touched = add(1);
  const Ino linked = add(2);
  for (uint64_t n = 3; n <= 125; ++n) {
    add(n);
    AttrChange touch;
    touch.mtime_kind = AttrChange::TimeKind::kNow;
    ok(fs_->setattr(touched, touch));
    const std::string other = "link-" + std::to_string(n);
    ok(fs_->link(linked, kRootIno, other));
    fs_->forget(linked, 1);
    ok(fs_->unlink(kRootIno, other));
    tick(4);
  }
  EXPECT_TRUE(is_there(1));
  EXPECT_TRUE(is_there(2));
}

TEST_F(EvictionTest, WritingAFileAndSettingItsTimesIsNoUseOfIt) {
  for (uint64_t n = 1; n <= 100; ++n) {
    const Attr attr = ok(fs_->create(kRootIno, name(n), 0644, kUser));
    write(attr.ino, 0, content(n));
    AttrChange touch;
    touch.mtime_kind = AttrChange::TimeKind::kSet;
    touch.mtime = {.seconds = 1000, .nanoseconds = 0};
    ok(fs_->setattr(attr.ino, touch));
    fs_->release(attr.ino);
    fs_->forget(attr.ino, 1);
    if (n == 10) use(attr.ino);
    tick(4);
  }
  // In the first round of the hand 1..9 and those behind 10 have gone, 10 has lost its visit.
  EXPECT_FALSE(is_there(9));
  EXPECT_FALSE(is_there(11));
}

TEST_F(EvictionTest, AnOpenFileStaysUntilItIsClosed) {
  const Ino held = add(1);
  ok(fs_->open(held, false, false));
  add_and_use_many(2, 125);  // the hand comes by more than once
  EXPECT_TRUE(is_there(1));
  EXPECT_EQ(read(held), content(1));
  fs_->release(held);
  add_and_use_many(126, 250);
  EXPECT_FALSE(is_there(1));
}

TEST_F(EvictionTest, IfEverythingIsOpenWritersGetNoSpaceUntilSomethingIsClosed) {
  std::vector<Ino> held;
  Result<uint64_t> written = 0;
  for (uint64_t n = 1; n <= 250 && written; ++n) {
    const auto made = fs_->create(kRootIno, name(n), 0644, kUser);
    if (!made) {
      written = fail(made.error());
      break;
    }
    held.push_back(made->ino);
    const std::string data = content(n);
    written = fs_->write(made->ino, 0, data, false, false);
    if (written && *written < data.size()) break;
  }
  if (!written) fails(ErrorCode::kNoSpace, written);
  ASSERT_LT(held.size(), 100u);
  for (const Ino ino : held) fs_->release(ino);
  settle();
  add(5000);
  EXPECT_EQ(read(find(kRootIno, name(5000))), content(5000));
}

TEST_F(EvictionTest, AnEvictedInodeIsStaleAndItsNamesAreTold) {
  const Ino first = add(1);
  add_many(2, 100);
  settle();
  ASSERT_FALSE(is_there(1));
  fails(ErrorCode::kStale, fs_->getattr(first));
  fails(ErrorCode::kStale, fs_->open(first, false, false));
  ASSERT_FALSE(told_.empty());
  EXPECT_EQ(told_[0].parent, kRootIno);
  EXPECT_EQ(told_[0].name, name(1));
  EXPECT_EQ(told_[0].ino, first);
}

TEST_F(EvictionTest, NobodyIsToldOfNamesThatWereForgotten) {
  fs_->forget(add(1), 1);
  add_many(2, 100);
  settle();
  ASSERT_FALSE(is_there(1));
  for (const LostName& lost : told_) EXPECT_NE(lost.name, name(1));
}

TEST_F(EvictionTest, AFileWithSeveralNamesLosesThemAll) {
  const Ino a = dir(kRootIno, "a");
  const Ino b = dir(kRootIno, "b");
  const Ino ino = add(1, a);
  for (const Ino parent : {a, b, kRootIno}) {
    ok(fs_->link(ino, parent, "other"));
    ok(fs_->link(ino, parent, "third"));
  }
  add_and_use_many(2, 125);
  fails(ErrorCode::kStale, fs_->open(ino, false, false));
  EXPECT_EQ(find(b, "other"), 0u);
  EXPECT_EQ(find(kRootIno, "third"), 0u);
}

TEST_F(EvictionTest, DirectoriesLeftEmptyGoAfterAWhile) {
  const Ino old_dir = dir(kRootIno, "old");
  const Ino inner = dir(old_dir, "inner");
  add_many(1, 5, inner);
  tick(100);
  add_many(6, 100);
  settle();
  EXPECT_EQ(find(kRootIno, "old"), 0u);
  fails(ErrorCode::kStale, fs_->create(inner, "late", 0644, kUser));
  EXPECT_GE(fs_->cache_stats().evicted_directories, 2u);
}

TEST_F(EvictionTest, ADirectoryInUseStaysEvenIfItIsEmpty) {
  const Ino work = dir(kRootIno, "work");
  add_many(1, 5, work);
  for (uint64_t n = 6; n <= 100; ++n) {
    add(n);
    ok(fs_->read_dir(work, 0, 10, nullptr));
    tick(4);
  }
  settle();
  EXPECT_TRUE(names(work).empty());
  EXPECT_EQ(find(kRootIno, "work"), work);
}

TEST_F(EvictionTest, YoungFilesGoOnlyIfNothingOlderCan) {
  add_many(1, 12);
  use(find(kRootIno, name(7)));
  tick(1000);
  for (uint64_t n = 13; n <= 100; ++n) add(n);  // all in one second
  settle();
  const CacheStats stats = fs_->cache_stats();
  EXPECT_GT(stats.evicted_files[static_cast<size_t>(EvictReason::kCold)], 10u);
  EXPECT_GT(stats.evicted_files[static_cast<size_t>(EvictReason::kYoung)], 25u);
  for (uint64_t n = 1; n <= 12; ++n) EXPECT_FALSE(is_there(n)) << n;
}

TEST_F(EvictionTest, TheOrderSurvivesARestart) {
  add_many(1, 25);
  use(find(kRootIno, name(3)));
  use(find(kRootIno, name(5)));
  again();
  uint64_t n = 26;
  for (; is_there(10); ++n) {
    add(n);
    tick(4);
    ASSERT_LT(n, 1000u);
  }
  for (const uint64_t gone : {1, 2, 4, 6, 9}) EXPECT_FALSE(is_there(gone)) << gone;
  for (const uint64_t left : {3, 5}) EXPECT_TRUE(is_there(left)) << left;
}

TEST_F(EvictionTest, ALargeFileIsSweptAfterItLostItsName) {
  const Ino large = file(kRootIno, "large", content(1, 1600 * kChunk));
  tick();
  add_many(2, 100);
  settle();
  EXPECT_EQ(find(kRootIno, "large"), 0u);
  fails(ErrorCode::kStale, fs_->open(large, false, false));
  again();
  EXPECT_LE(fs_->store_stats().allocated_bytes, kLimit);
}

TEST_F(EvictionTest, HitsMissesAndBytesAreCounted) {
  const Ino ino = add(1);
  use(ino);
  std::string whole(kSize, '\0');
  EXPECT_EQ(ok(fs_->read_into(ino, 0, whole)), kSize);
  EXPECT_EQ(whole, content(1));
  EXPECT_EQ(ok(fs_->read(ino, kSize - 10, 100)).size(), 1u);
  EXPECT_EQ(find(kRootIno, "nothing"), 0u);
  const CacheStats stats = fs_->cache_stats();
  EXPECT_EQ(stats.hits, 1u);
  EXPECT_EQ(stats.misses, 1u);
  EXPECT_EQ(stats.bytes_in, kSize);
  EXPECT_EQ(stats.bytes_out, kSize + 10);
  EXPECT_EQ(stats.retention_s, -1);
}

}  // namespace
}  // namespace cairn
