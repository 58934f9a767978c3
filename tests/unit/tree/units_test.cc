// Pins and groups: what eviction leaves alone, and what it takes together.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/cache_fixture.h"

namespace cairn {
namespace {

class Units : public CacheFixture {
 public:
  void mark(Ino ino, const char* what, std::string_view value = "1") {
    ok(fs_->set_xattr(ino, what, value, XattrMode::kAny));
  }
  static constexpr char kPin[] = "user.cairn.pin";
  static constexpr char kGroup[] = "user.cairn.group";
};

TEST_F(Units, APinnedFileStays) {
  mark(add(1), kPin);
  add_and_use_many(2, 125);
  EXPECT_TRUE(is_there(1));
  EXPECT_FALSE(is_there(2));
  const CacheStats stats = fs_->cache_stats();
  EXPECT_EQ(stats.pinned_files, 1u);
  EXPECT_EQ(stats.pinned_bytes, kSize);
}

TEST_F(Units, APinnedDirectoryKeepsWhatIsBelowIt) {
  const Ino top = dir(kRootIno, "top");
  const Ino inner = dir(top, "inner");
  mark(top, kPin);
  add_many(1, 5, inner);
  add_and_use_many(6, 125);
  for (uint64_t n = 1; n <= 5; ++n) EXPECT_TRUE(is_there(n, inner)) << n;
  EXPECT_EQ(fs_->cache_stats().pinned_files, 5u);
}

TEST_F(Units, APinHoldsAfterARestartAndEndsWhenItIsTakenAway) {
  const Ino pinned = add(1);
  mark(pinned, kPin);
  again();
  add_and_use_many(2, 100);
  EXPECT_TRUE(is_there(1));
  mark(pinned, kPin, "0");
  EXPECT_EQ(fs_->cache_stats().pinned_files, 0u);
  add_and_use_many(101, 225);
  EXPECT_FALSE(is_there(1));
}

TEST_F(Units, IfEverythingIsPinnedWritersGetNoSpaceAndGoOnWhenItIsNot) {
  mark(kRootIno, kPin);
  Result<Ino> made = 0;
  for (uint64_t n = 1; n <= 100 && made; ++n) made = try_add(n);
  fails(ErrorCode::kNoSpace, made);
  EXPECT_TRUE(is_there(1));
  ok(fs_->remove_xattr(kRootIno, kPin));
  settle();
  add_and_use_many(125, 175);
  EXPECT_FALSE(is_there(1));
}

TEST_F(Units, AGroupGoesTogether) {
  const Ino group = dir(kRootIno, "group");
  const Ino inner = dir(group, "inner");
  mark(group, kGroup);
  std::vector<Ino> members;
  for (uint64_t n = 1; n <= 3; ++n) members.push_back(add(n, group));
  for (uint64_t n = 4; n <= 5; ++n) members.push_back(add(n, inner));
  tick(100);
  const auto gone = [this] { return fs_->cache_stats().evicted_files[static_cast<size_t>(EvictReason::kGroup)]; };
  for (uint64_t n = 10; gone() == 0; ++n) {
    for (const Ino member : members) ok(fs_->getattr(member));
    add(n);
    tick(4);
    ASSERT_LT(n, 1000u);
  }
  settle();
  EXPECT_EQ(gone(), 5u);
  EXPECT_EQ(find(kRootIno, "group"), 0u);
  fails(ErrorCode::kStale, fs_->create(group, "late", 0644, kUser));
  fails(ErrorCode::kStale, fs_->create(inner, "late", 0644, kUser));
  for (const Ino member : members) fails(ErrorCode::kStale, fs_->open(member, false, false));
}

TEST_F(Units, AVisitOfOneMemberCountsForAll) {
  const Ino group = dir(kRootIno, "group");
  mark(group, kGroup);
  const Ino loved = add(1, group);
  add_many(2, 5, group);
  for (uint64_t n = 10; n <= 125; ++n) {
    add(n);
    use(loved);
    tick(4);
  }
  for (uint64_t n = 1; n <= 5; ++n) EXPECT_TRUE(is_there(n, group)) << n;
}

TEST_F(Units, AGroupWithAnOpenMemberStays) {
  const Ino group = dir(kRootIno, "group");
  mark(group, kGroup);
  const Ino held = add(1, group);
  add(2, group);
  ok(fs_->open(held, false, false));
  tick(100);
  add_and_use_many(10, 125);
  EXPECT_TRUE(is_there(1, group));
  EXPECT_TRUE(is_there(2, group));
  fs_->release(held);
  add_and_use_many(126, 250);
  EXPECT_EQ(find(kRootIno, "group"), 0u);
}

TEST_F(Units, AGroupWithAPinnedMemberStays) {
  const Ino group = dir(kRootIno, "group");
  mark(group, kGroup);
  mark(add(1, group), kPin);
  add(2, group);
  tick(100);
  add_and_use_many(10, 125);
  EXPECT_TRUE(is_there(1, group));
  EXPECT_TRUE(is_there(2, group));
}

// The power goes at any time while a group of many files is being swept: it is all there, or not at all.
TEST_F(Units, ACrashLeavesAGroupWholeOrNotAtAll) {
  const Ino group = dir(kRootIno, "group");
  mark(group, kGroup);
  for (uint64_t n = 1; n <= 100; ++n) file(group, name(n), "small");
  tick(100);
  for (uint64_t n = 1000; n <= 1100; ++n) {
    add(n);
    tick(4);
    if (n % 4 != 0) continue;
    crash(io::kAllLost);
    const Ino found = find(kRootIno, "group");
    if (found == 0) continue;
    ASSERT_EQ(names(found).size(), 100u);
    tick(100);  // looking was a use of it
  }
  EXPECT_EQ(find(kRootIno, "group"), 0u);
}

}  // namespace
}  // namespace cairn
