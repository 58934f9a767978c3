// Names: what finding, making, linking, moving and removing them means, and which errors say no.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/tree_fixture.h"

namespace cairn {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class Names : public TreeFixture {
 public:
  Result<void> rename(Ino parent, std::string_view name, Ino new_parent, std::string_view new_name,
                      uint32_t flags = 0) {
    return fs_->rename(parent, name, new_parent, new_name, flags, kUser);
  }
};

TEST_F(Names, ANewTreeHasAnEmptyRoot) {
  const Attr root = stat(kRootIno);
  EXPECT_EQ(root.mode, S_IFDIR | 0755u);
  EXPECT_EQ(root.links, 2u);
  EXPECT_EQ(ok(fs_->parent(kRootIno)), kRootIno);
  EXPECT_THAT(names(kRootIno), IsEmpty());
}

TEST_F(Names, EveryTypeOfNodeIsMadeAndFoundAgainAfterARemount) {
  const Ino f = file(kRootIno, "file");
  const Ino d = dir(kRootIno, "dir");
  const Ino l = ok(fs_->symlink(kRootIno, "link", "some/where", kUser)).ino;
  const Ino c = ok(fs_->mknod(kRootIno, "char", S_IFCHR | 0600, 0x103, kUser)).ino;
  const Ino b = ok(fs_->mknod(kRootIno, "block", S_IFBLK | 0600, 0x801, kUser)).ino;
  const Ino p = ok(fs_->mknod(kRootIno, "fifo", S_IFIFO | 0600, 7, kUser)).ino;
  const Ino s = ok(fs_->mknod(kRootIno, "socket", S_IFSOCK | 0600, 0, kUser)).ino;
  remount();
  EXPECT_EQ(find(kRootIno, "file"), f);
  EXPECT_EQ(find(kRootIno, "dir"), d);
  EXPECT_EQ(find(kRootIno, "link"), l);
  EXPECT_EQ(ok(fs_->readlink(l)), "some/where");
  EXPECT_EQ(stat(l).size, 10u);
  EXPECT_EQ(stat(c).rdev, 0x103u);
  EXPECT_EQ(stat(b).rdev, 0x801u);
  EXPECT_EQ(stat(p).rdev, 0u);
  EXPECT_EQ(stat(p).mode, S_IFIFO | 0600u);
  EXPECT_EQ(stat(s).mode, S_IFSOCK | 0600u);
  EXPECT_EQ(stat(f).uid, 1000u);
  EXPECT_EQ(stat(f).gid, 100u);
  fails(ErrorCode::kInvalid, fs_->readlink(f));
  fails(ErrorCode::kPermission, fs_->mknod(kRootIno, "x", S_IFDIR | 0700, 0, kUser));
}

TEST_F(Names, TheUmaskTakesBitsAwayAndASetgidDirectoryGivesItsGroup) {
  const Caller caller{.uid = 5, .gid = 6, .umask = 027};
  EXPECT_EQ(ok(fs_->create(kRootIno, "f", 0666, caller)).mode, S_IFREG | 0640u);
  const Ino shared = dir(kRootIno, "shared");
  AttrChange change;
  change.set_mode = change.set_gid = true;
  change.mode = 02775;
  change.gid = 77;
  ok(fs_->setattr(shared, change));
  EXPECT_EQ(ok(fs_->create(shared, "f", 0644, caller)).gid, 77u);
  const Attr sub = ok(fs_->mkdir(shared, "d", 0777, caller));
  EXPECT_EQ(sub.gid, 77u);
  EXPECT_EQ(sub.mode, S_IFDIR | 02750u);
}

TEST_F(Names, BadNamesAreRefused) {
  const std::string longest(255, 'n');
  const std::string too_long(256, 'n');
  file(kRootIno, longest);
  EXPECT_NE(find(kRootIno, longest), 0u);
  fails(ErrorCode::kNameTooLong, fs_->create(kRootIno, too_long, 0644, kUser));
  fails(ErrorCode::kNameTooLong, fs_->lookup(kRootIno, too_long));
  fails(ErrorCode::kNameTooLong, rename(kRootIno, longest, kRootIno, too_long));
  for (const std::string_view bad :
       {std::string_view("."), std::string_view(".."), std::string_view("a/b"), std::string_view("a\0b", 3)}) {
    fails(ErrorCode::kInvalid, fs_->mkdir(kRootIno, bad, 0755, kUser));
    fails(ErrorCode::kInvalid, fs_->unlink(kRootIno, bad));
  }
  fails(ErrorCode::kNotFound, fs_->symlink(kRootIno, "l", "", kUser));
  fails(ErrorCode::kNameTooLong, fs_->symlink(kRootIno, "l", std::string(4096, 't'), kUser));
  ok(fs_->symlink(kRootIno, "l", std::string(4095, 't'), kUser));
}

TEST_F(Names, AFileIsNoDirectoryAndAMissingNameIsNotFound) {
  const Ino f = file(kRootIno, "f");
  fails(ErrorCode::kNotDirectory, fs_->lookup(f, "x"));
  fails(ErrorCode::kNotDirectory, fs_->create(f, "x", 0644, kUser));
  fails(ErrorCode::kNotDirectory, fs_->read_dir(f, 0, 10, nullptr));
  fails(ErrorCode::kNotFound, fs_->lookup(kRootIno, "missing"));
  fails(ErrorCode::kNotFound, fs_->unlink(kRootIno, "missing"));
  fails(ErrorCode::kNotFound, fs_->rmdir(kRootIno, "missing"));
  fails(ErrorCode::kExists, fs_->create(kRootIno, "f", 0644, kUser));
  fails(ErrorCode::kExists, fs_->mkdir(kRootIno, "f", 0755, kUser));
  fails(ErrorCode::kStale, fs_->getattr(999));
  fails(ErrorCode::kStale, fs_->lookup(999, "x"));
}

TEST_F(Names, UnlinkIsForFilesAndRmdirForEmptyDirectories) {
  const Ino d = dir(kRootIno, "d");
  file(d, "f");
  fails(ErrorCode::kIsDirectory, fs_->unlink(kRootIno, "d"));
  fails(ErrorCode::kNotDirectory, fs_->rmdir(d, "f"));
  fails(ErrorCode::kNotEmpty, fs_->rmdir(kRootIno, "d"));
  ok(fs_->unlink(d, "f"));
  ok(fs_->rmdir(kRootIno, "d"));
  EXPECT_THAT(names(kRootIno), IsEmpty());
}

TEST_F(Names, ADirectoryCountsItsSubdirectories) {
  const Ino d = dir(kRootIno, "d");
  EXPECT_EQ(stat(kRootIno).links, 3u);
  dir(d, "e");
  file(d, "f");
  EXPECT_EQ(stat(d).links, 3u);
  ok(rename(d, "e", kRootIno, "e"));
  EXPECT_EQ(stat(d).links, 2u);
  EXPECT_EQ(stat(kRootIno).links, 4u);
  ok(fs_->rmdir(kRootIno, "e"));
  EXPECT_EQ(stat(kRootIno).links, 3u);
}

TEST_F(Names, ARemovedDirectoryThatIsStillInUseIsEmptyAndTakesNoNames) {
  const Ino d = dir(kRootIno, "d");
  ok(fs_->rmdir(kRootIno, "d"));
  EXPECT_EQ(stat(d).links, 0u);
  fails(ErrorCode::kNotFound, fs_->create(d, "f", 0644, kUser));
  fails(ErrorCode::kNotFound, fs_->lookup(d, "f"));
  EXPECT_THAT(names(d), IsEmpty());
  fs_->forget(d, 1);
  settle();
  fails(ErrorCode::kStale, fs_->getattr(d));
}

TEST_F(Names, AWhiteoutBelongsToTheGroupOfASetgidDirectory) {
  const Ino d = dir(kRootIno, "d");
  AttrChange change;
  change.set_mode = change.set_gid = true;
  change.mode = 02755;
  change.gid = 77;
  ok(fs_->setattr(d, change));
  file(d, "f");
  ok(fs_->rename(d, "f", d, "moved", kRenameWhiteout, kUser));
  const Attr whiteout = ok(fs_->lookup(d, "f"));
  EXPECT_EQ(whiteout.mode, static_cast<uint32_t>(S_IFCHR));
  EXPECT_EQ(whiteout.gid, 77u);
}

TEST_F(Names, TimesOfTheDirectoryFollowItsChanges) {
  const Ino d = dir(kRootIno, "d");
  const Attr before = stat(d);
  tick();
  file(d, "f");
  const Attr after = stat(d);
  EXPECT_EQ(after.mtime.seconds, before.mtime.seconds + 1);
  EXPECT_EQ(after.ctime.seconds, before.ctime.seconds + 1);
  tick();
  ok(fs_->unlink(d, "f"));
  EXPECT_EQ(stat(d).mtime.seconds, before.mtime.seconds + 2);
  remount();
  EXPECT_EQ(stat(d).mtime.seconds, before.mtime.seconds + 2);
}

TEST_F(Names, HardLinksShareAnInodeUntilTheLastOneGoes) {
  const Ino d = dir(kRootIno, "d");
  const Ino f = file(kRootIno, "a", "content");
  EXPECT_EQ(ok(fs_->link(f, d, "b")).links, 2u);
  EXPECT_EQ(ok(fs_->link(f, kRootIno, "c")).links, 3u);
  remount();
  EXPECT_EQ(find(d, "b"), f);
  ok(fs_->unlink(kRootIno, "a"));
  ok(fs_->unlink(d, "b"));
  EXPECT_EQ(stat(f).links, 1u);
  remount();
  EXPECT_EQ(read(f), "content");
  ok(fs_->link(f, d, "b"));
  ok(fs_->unlink(kRootIno, "c"));
  EXPECT_EQ(read(find(d, "b")), "content");
  ok(fs_->unlink(d, "b"));
  remount();
  fails(ErrorCode::kStale, fs_->getattr(f));
}

TEST_F(Names, LinksOfDirectoriesAndOntoTakenNamesAreRefused) {
  const Ino d = dir(kRootIno, "d");
  const Ino f = file(kRootIno, "f");
  fails(ErrorCode::kPermission, fs_->link(d, kRootIno, "e"));
  fails(ErrorCode::kExists, fs_->link(f, kRootIno, "d"));
  fails(ErrorCode::kNotDirectory, fs_->link(f, f, "x"));
}

TEST_F(Names, RenameReplacesAsPosixSays) {
  const Ino a = file(kRootIno, "a", "aa");
  const Ino b = file(kRootIno, "b", "bb");
  ok(rename(kRootIno, "a", kRootIno, "b"));
  EXPECT_EQ(find(kRootIno, "b"), a);
  EXPECT_EQ(stat(b).links, 0u);
  EXPECT_THAT(names(kRootIno), ElementsAre("b"));

  const Ino d = dir(kRootIno, "d");
  const Ino e = dir(kRootIno, "e");
  file(e, "inside");
  fails(ErrorCode::kIsDirectory, rename(kRootIno, "b", kRootIno, "d"));
  fails(ErrorCode::kNotDirectory, rename(kRootIno, "d", kRootIno, "b"));
  fails(ErrorCode::kNotEmpty, rename(kRootIno, "d", kRootIno, "e"));
  fails(ErrorCode::kNotFound, rename(kRootIno, "nothing", kRootIno, "e"));
  ok(rename(kRootIno, "e", kRootIno, "d"));
  EXPECT_EQ(find(kRootIno, "d"), e);
  EXPECT_EQ(stat(d).links, 0u);
  EXPECT_EQ(stat(kRootIno).links, 3u);
  remount();
  EXPECT_THAT(names(kRootIno), UnorderedElementsAre("b", "d"));
  EXPECT_EQ(find(e, "inside"), find(find(kRootIno, "d"), "inside"));
}

TEST_F(Names, RenamingToTheSameNameOrToAnotherLinkDoesNothing) {
  const Ino f = file(kRootIno, "a");
  ok(fs_->link(f, kRootIno, "b"));
  ok(rename(kRootIno, "a", kRootIno, "a"));
  ok(rename(kRootIno, "a", kRootIno, "b"));
  EXPECT_THAT(names(kRootIno), UnorderedElementsAre("a", "b"));
  EXPECT_EQ(stat(f).links, 2u);
}

TEST_F(Names, ADirectoryCannotMoveIntoItself) {
  const Ino a = dir(kRootIno, "a");
  const Ino b = dir(a, "b");
  const Ino c = dir(b, "c");
  file(kRootIno, "f");
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", a, "x"));
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", c, "x"));
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", c, "x", kRenameNoReplace));
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", b, "c", kRenameExchange));
  fails(ErrorCode::kInvalid, rename(b, "c", kRootIno, "a", kRenameExchange));
  ok(rename(a, "b", kRootIno, "b"));
  ok(rename(kRootIno, "a", c, "x"));
  EXPECT_EQ(ok(fs_->parent(a)), c);
}

TEST_F(Names, NoReplaceAndExchangeAndWhiteout) {
  const Ino d = dir(kRootIno, "d");
  const Ino a = file(kRootIno, "a");
  const Ino b = file(d, "b");
  fails(ErrorCode::kExists, rename(kRootIno, "a", d, "b", kRenameNoReplace));
  fails(ErrorCode::kNotFound, rename(kRootIno, "a", d, "missing", kRenameExchange));
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", d, "b", kRenameExchange | kRenameNoReplace));
  fails(ErrorCode::kInvalid, rename(kRootIno, "a", d, "b", 64));

  ok(rename(kRootIno, "a", d, "b", kRenameExchange));
  EXPECT_EQ(find(kRootIno, "a"), b);
  EXPECT_EQ(find(d, "b"), a);
  ok(rename(kRootIno, "d", kRootIno, "a", kRenameExchange));  // a directory and a file
  EXPECT_EQ(find(kRootIno, "a"), d);
  EXPECT_EQ(find(kRootIno, "d"), b);

  const Ino e = dir(kRootIno, "e");
  ok(rename(kRootIno, "e", d, "b", kRenameExchange));  // across directories the link counts move
  EXPECT_EQ(ok(fs_->parent(e)), d);
  EXPECT_EQ(stat(d).links, 3u);
  EXPECT_EQ(stat(kRootIno).links, 3u);

  ok(rename(kRootIno, "d", d, "new", kRenameWhiteout));
  EXPECT_EQ(find(d, "new"), b);
  const Attr hole = stat(find(kRootIno, "d"));
  EXPECT_EQ(hole.mode, uint32_t{S_IFCHR});
  EXPECT_EQ(hole.rdev, 0u);
  remount();
  EXPECT_THAT(names(kRootIno), UnorderedElementsAre("a", "d", "e"));
  EXPECT_THAT(names(d), UnorderedElementsAre("b", "new"));
}

TEST_F(Names, AMovedHardLinkIsStillKnownByAllItsNames) {
  const Ino d = dir(kRootIno, "d");
  const Ino f = file(kRootIno, "a");
  ok(fs_->link(f, kRootIno, "b"));
  ok(rename(kRootIno, "a", d, "c"));
  ok(fs_->unlink(kRootIno, "b"));
  EXPECT_EQ(stat(f).links, 1u);
  ok(rename(d, "c", kRootIno, "z"));
  remount();
  EXPECT_EQ(find(kRootIno, "z"), f);
  ok(fs_->unlink(kRootIno, "z"));
  EXPECT_THAT(names(kRootIno), ElementsAre("d"));
}

TEST_F(Names, ListingsGoOnBehindACookieWhileEntriesComeAndGo) {
  const Ino d = dir(kRootIno, "d");
  for (int i = 0; i < 100; ++i) file(d, "f" + std::to_string(i));
  std::vector<std::string> seen;
  uint64_t cookie = 0;
  for (int step = 0;; ++step) {
    std::vector<Attr> attrs;
    const auto some = ok(fs_->read_dir(d, cookie, 7, &attrs));
    ASSERT_EQ(some.size(), attrs.size());
    if (some.empty()) break;
    for (size_t i = 0; i < some.size(); ++i) {
      seen.push_back(some[i].name);
      EXPECT_EQ(attrs[i].ino, some[i].ino);
      EXPECT_EQ(some[i].type, uint32_t{S_IFREG});
    }
    cookie = some.back().cookie;
    if (step < 10) {  // one behind, one before, one new
      ok(fs_->unlink(d, "f" + std::to_string(step)));
      ok(fs_->unlink(d, "f" + std::to_string(99 - step)));
      file(d, "new" + std::to_string(step));
    }
  }
  // Every name that was there all the time is seen exactly once.
  for (int i = 10; i < 90; ++i) {
    EXPECT_EQ(std::count(seen.begin(), seen.end(), "f" + std::to_string(i)), 1) << i;
  }
}

TEST_F(Names, CookiesSurviveARemountAndListingsRunInOrderOfCreation) {
  const Ino d = dir(kRootIno, "d");
  for (const char* name : {"z", "m", "a"}) file(d, name);
  const auto first = ok(fs_->read_dir(d, 0, 1, nullptr));
  remount();
  const auto rest = ok(fs_->read_dir(d, first[0].cookie, 10, nullptr));
  EXPECT_EQ(first[0].name, "z");
  ASSERT_EQ(rest.size(), 2u);
  EXPECT_EQ(rest[0].name, "m");
  EXPECT_EQ(rest[1].name, "a");
}

}  // namespace
}  // namespace cairn
