// Attributes, times and extended attributes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "support/tree_fixture.h"

namespace cairn {
namespace {

using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;
using TimeKind = AttrChange::TimeKind;

class Attributes : public TreeFixture {};

TEST_F(Attributes, WhatIsSetIsKeptAndTheRestIsNotTouched) {
  const Ino f = file(kRootIno, "f", "content");
  const Attr before = stat(f);
  tick();
  AttrChange change;
  change.set_mode = change.set_uid = true;
  change.mode = S_IFDIR | 04711;  // the type cannot be changed
  change.uid = 42;
  const Attr after = ok(fs_->setattr(f, change));
  EXPECT_EQ(after.mode, S_IFREG | 04711u);
  EXPECT_EQ(after.uid, 42u);
  EXPECT_EQ(after.gid, before.gid);
  EXPECT_EQ(after.mtime.seconds, before.mtime.seconds);
  EXPECT_EQ(after.ctime.seconds, before.ctime.seconds + 1);
  EXPECT_EQ(after.btime.seconds, before.btime.seconds);
  remount();
  EXPECT_EQ(stat(f).mode, S_IFREG | 04711u);
  EXPECT_EQ(stat(f).uid, 42u);
}

TEST_F(Attributes, TimesAreSetToWhatIsAskedForOrToNow) {
  const Ino f = file(kRootIno, "f");
  tick(100);
  AttrChange change;
  change.mtime_kind = TimeKind::kSet;
  change.mtime = {.seconds = -5, .nanoseconds = 999'999'999};
  change.atime_kind = TimeKind::kNow;
  const Attr after = ok(fs_->setattr(f, change));
  EXPECT_EQ(after.mtime.seconds, -5);
  EXPECT_EQ(after.mtime.nanoseconds, 999'999'999u);
  EXPECT_EQ(after.atime.seconds, env_->now().seconds);
  remount();
  EXPECT_EQ(stat(f).mtime.seconds, -5);
  change.mtime.nanoseconds = 1'000'000'000;
  fails(ErrorCode::kInvalid, fs_->setattr(f, change));
}

TEST_F(Attributes, AChangeOfSizeIsAChangeOfContent) {
  const Ino f = file(kRootIno, "f", "content");
  const Attr before = stat(f);
  tick();
  resize(f, 3);
  EXPECT_EQ(stat(f).mtime.seconds, before.mtime.seconds + 1);
  tick();
  AttrChange change;
  change.set_size = true;
  change.mtime_kind = TimeKind::kSet;
  change.mtime = {.seconds = 7};
  EXPECT_EQ(ok(fs_->setattr(f, change)).mtime.seconds, 7);  // what is asked for wins
}

TEST_F(Attributes, WritingChangesTimesAndTakesSetuidAwayOnlyWhenAsked) {
  const Ino f = file(kRootIno, "f");
  AttrChange change;
  change.set_mode = true;
  change.mode = 06755;
  ok(fs_->setattr(f, change));
  tick();
  ok(fs_->write(f, 0, "x", false, false));
  EXPECT_EQ(stat(f).mode & 07777, 06755u);
  EXPECT_EQ(stat(f).mtime.seconds, env_->now().seconds);
  ok(fs_->write(f, 0, "x", false, true));
  EXPECT_EQ(stat(f).mode & 07777, 0755u);
  change.mode = 06745;  // setgid without execution by the group means something else, and stays
  ok(fs_->setattr(f, change));
  ok(fs_->open(f, true, true));
  EXPECT_EQ(stat(f).mode & 07777, 02745u);
}

TEST_F(Attributes, OpenWithTruncationEmptiesTheFile) {
  const Ino f = file(kRootIno, "f", "content");
  EXPECT_EQ(ok(fs_->open(f, true, false)).size, 0u);
  EXPECT_EQ(read(f), "");
  fs_->release(f);
}

TEST_F(Attributes, ReadingUpdatesTheTimeOfAccessAsRelatimeSays) {
  const Ino f = file(kRootIno, "f", "content");
  tick();
  read(f);
  const int64_t first = env_->now().seconds;
  EXPECT_EQ(stat(f).atime.seconds, first);  // older than the last change: updated
  tick();
  read(f);
  EXPECT_EQ(stat(f).atime.seconds, first);  // newer: not
  tick(24 * 3600);
  read(f);
  EXPECT_EQ(stat(f).atime.seconds, env_->now().seconds);  // a day old: updated
  remount();
  EXPECT_EQ(stat(f).atime.seconds, env_->now().seconds);
}

TEST_F(Attributes, NoatimeIsLeftAlone) {
  unmount();
  fs_options_.relatime = false;
  mount();
  const Ino f = file(kRootIno, "f", "content");
  const int64_t made = stat(f).atime.seconds;
  tick();
  read(f);
  EXPECT_EQ(stat(f).atime.seconds, made);
}

TEST_F(Attributes, XattrsFollowTheirModes) {
  const Ino f = file(kRootIno, "f");
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, "user.a"));
  fails(ErrorCode::kNoAttribute, fs_->set_xattr(f, "user.a", "1", XattrMode::kReplace));
  tick();
  ok(fs_->set_xattr(f, "user.a", "1", XattrMode::kCreate));
  EXPECT_EQ(stat(f).ctime.seconds, env_->now().seconds);
  fails(ErrorCode::kExists, fs_->set_xattr(f, "user.a", "2", XattrMode::kCreate));
  ok(fs_->set_xattr(f, "user.a", "2", XattrMode::kReplace));
  ok(fs_->set_xattr(f, "user.b", "", XattrMode::kAny));
  remount();
  EXPECT_EQ(ok(fs_->get_xattr(f, "user.a")), "2");
  EXPECT_EQ(ok(fs_->get_xattr(f, "user.b")), "");
  EXPECT_THAT(ok(fs_->list_xattrs(f)), UnorderedElementsAre("user.a", "user.b"));
  ok(fs_->remove_xattr(f, "user.a"));
  fails(ErrorCode::kNoAttribute, fs_->remove_xattr(f, "user.a"));
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, "user.a"));
  ok(fs_->remove_xattr(f, "user.b"));
  EXPECT_THAT(ok(fs_->list_xattrs(f)), IsEmpty());
}

TEST_F(Attributes, XattrsHaveLimits) {
  const Ino f = file(kRootIno, "f");
  fails(ErrorCode::kRange, fs_->set_xattr(f, "", "x", XattrMode::kAny));
  fails(ErrorCode::kRange, fs_->set_xattr(f, std::string(256, 'n'), "x", XattrMode::kAny));
  fails(ErrorCode::kInvalid, fs_->set_xattr(f, std::string("a\0b", 3), "x", XattrMode::kAny));
  fails(ErrorCode::kNoSpace, fs_->set_xattr(f, "user.a", std::string(kMaxXattrSize + 1, 'x'), XattrMode::kAny));
  // In a store of tiny segments not even the largest value of the interface fits; it is refused, and nothing breaks.
  fails(ErrorCode::kNoSpace, fs_->set_xattr(f, "user.a", std::string(kMaxXattrSize, 'x'), XattrMode::kAny));
  for (int i = 0; i < 256; ++i) {
    ok(fs_->set_xattr(f, "user." + std::string(247, 'n') + std::to_string(100 + i), "x", XattrMode::kAny));
  }
  fails(ErrorCode::kNoSpace, fs_->set_xattr(f, "user.one.more", "x", XattrMode::kAny));
  EXPECT_EQ(ok(fs_->list_xattrs(f)).size(), 256u);
  ok(fs_->unlink(kRootIno, "f"));
}

TEST(AttributesOfALargerStore, AnXattrOf64KiBIsKept) {
  StoreGeometry geometry = small_geometry();
  geometry.segment_size = 1 << 20;
  class Fixture : public TreeFixture {
   public:
    using TreeFixture::TreeFixture;
    void TestBody() override {}
  } tree(geometry);
  const Ino f = tree.file(kRootIno, "f");
  const std::string value(kMaxXattrSize, 'v');
  tree.ok(tree.fs_->set_xattr(f, "user.a", value, XattrMode::kAny));
  tree.remount();
  EXPECT_TRUE(tree.ok(tree.fs_->get_xattr(f, "user.a")) == value);
}

TEST_F(Attributes, StatfsShowsTheDiskOfACasStore) {
  const FsStats stats = ok(fs_->statfs());
  const StoreStats store = fs_->store_stats();
  EXPECT_EQ(stats.total_bytes, store.disk_total);
  EXPECT_EQ(stats.free_bytes, store.disk_available);
  EXPECT_GT(stats.free_files, 0u);
}

TEST(AttributesOfACache, StatfsShowsTheLimit) {
  class Fixture : public TreeFixture {
   public:
    using TreeFixture::TreeFixture;
    void TestBody() override {}
  } tree(small_geometry(Mode::kCache));
  const FsStats stats = tree.ok(tree.fs_->statfs());
  EXPECT_EQ(stats.total_bytes, 64u << 20);
  EXPECT_EQ(stats.free_bytes, stats.total_bytes - tree.fs_->store_stats().allocated_bytes);
}

}  // namespace
}  // namespace cairn
