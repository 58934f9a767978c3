// POSIX access control lists: the mode says what the list says, and a default list takes the place of the umask.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/tree_fixture.h"
#include "tree/acl.h"

namespace cairn {
namespace {

using tree::kAccessAcl;
using tree::kDefaultAcl;

struct Entry {
  uint16_t tag = 0, permissions = 0;
  uint32_t id = UINT32_MAX;
};

// As the kernel sends it.
std::string acl(const std::vector<Entry>& entries) {
  std::string out("\2\0\0\0", 4);
  for (const Entry& e : entries) {
    out += {static_cast<char>(e.tag), 0, static_cast<char>(e.permissions), 0};
    for (int shift = 0; shift < 32; shift += 8) out += static_cast<char>(e.id >> shift);
  }
  return out;
}

// u::rwx, u:7:rw-, g::r-x, m::rwx, o::---
const std::string kNamed = acl({{1, 7}, {2, 6, 7}, {4, 5}, {16, 7}, {32, 0}});
const std::string kPlain = acl({{1, 6}, {4, 4}, {32, 1}});

class AclTree : public TreeFixture {
 public:
  AclTree() {
    unmount();
    fs_options_.acl = true;
    mount();
  }
  uint32_t permissions(Ino ino) { return stat(ino).mode & 07777; }
  void chmod(Ino ino, uint32_t mode) {
    AttrChange change;
    change.set_mode = true;
    change.mode = mode;
    ok(fs_->setattr(ino, change));
  }
};

TEST_F(AclTree, TheModeShowsTheMaskAndChmodChangesIt) {
  const Ino f = file(kRootIno, "f");
  chmod(f, 02644);
  ok(fs_->set_xattr(f, kAccessAcl, kNamed, XattrMode::kAny));
  EXPECT_EQ(permissions(f), 02770u);
  EXPECT_EQ(ok(fs_->get_xattr(f, kAccessAcl)), kNamed);
  chmod(f, 0641);
  EXPECT_EQ(ok(fs_->get_xattr(f, kAccessAcl)), acl({{1, 6}, {2, 6, 7}, {4, 5}, {16, 4}, {32, 1}}));
  remount();
  EXPECT_EQ(permissions(f), 0641u);
  ok(fs_->remove_xattr(f, kAccessAcl));
  chmod(f, 0755);
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, kAccessAcl));
}

TEST_F(AclTree, AListThatSaysNoMoreThanAModeIsNotStored) {
  const Ino f = file(kRootIno, "f");
  ok(fs_->set_xattr(f, kAccessAcl, kPlain, XattrMode::kAny));
  EXPECT_EQ(permissions(f), 0641u);
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, kAccessAcl));
  ok(fs_->set_xattr(f, kAccessAcl, kNamed, XattrMode::kAny));
  ok(fs_->set_xattr(f, kAccessAcl, kPlain, XattrMode::kAny));
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, kAccessAcl));
  EXPECT_TRUE(ok(fs_->list_xattrs(f)).empty());
}

TEST_F(AclTree, ADefaultListIsInheritedInsteadOfTheUmask) {
  const Caller caller{.uid = 1, .gid = 1, .umask = 077};
  const Ino d = dir(kRootIno, "d");
  ok(fs_->set_xattr(d, kDefaultAcl, kNamed, XattrMode::kAny));
  EXPECT_EQ(permissions(d), 0755u);
  const Ino f = ok(fs_->create(d, "f", 0664, caller)).ino;
  EXPECT_EQ(permissions(f), 0660u);
  EXPECT_EQ(ok(fs_->get_xattr(f, kAccessAcl)), acl({{1, 6}, {2, 6, 7}, {4, 5}, {16, 6}, {32, 0}}));
  fails(ErrorCode::kNoAttribute, fs_->get_xattr(f, kDefaultAcl));
  const Ino below = ok(fs_->mkdir(d, "below", 0755, caller)).ino;
  EXPECT_EQ(permissions(below), 0750u);
  EXPECT_EQ(ok(fs_->get_xattr(below, kDefaultAcl)), kNamed);
  EXPECT_EQ(ok(fs_->list_xattrs(below)).size(), 2u);
  const Ino link = ok(fs_->symlink(d, "link", "target", caller)).ino;
  EXPECT_TRUE(ok(fs_->list_xattrs(link)).empty());
  const Ino outside = ok(fs_->create(kRootIno, "outside", 0664, caller)).ino;
  EXPECT_EQ(permissions(outside), 0600u);
}

TEST_F(AclTree, WhatIsNoListIsRefused) {
  const Ino f = file(kRootIno, "f");
  const std::vector<std::string> bad = {
      "",
      std::string("\2\0\0\0", 4),
      kNamed.substr(0, kNamed.size() - 1),
      "\1" + kNamed.substr(1),
      acl({{1, 7}, {4, 5}}),
      acl({{1, 7}, {2, 6, 7}, {4, 5}, {32, 0}}),
      acl({{1, 8}, {4, 5}, {32, 0}}),
      acl({{1, 7}, {3, 6}, {4, 5}, {32, 0}}),
      acl({{1, 7}, {1, 7}, {4, 5}, {32, 0}}),
  };
  for (const std::string& value : bad) {
    const auto set = fs_->set_xattr(f, kAccessAcl, value, XattrMode::kAny);
    ASSERT_FALSE(set) << value.size();
    EXPECT_EQ(set.error().code, ErrorCode::kInvalid);
  }
  const auto on_file = fs_->set_xattr(f, kDefaultAcl, kNamed, XattrMode::kAny);
  ASSERT_FALSE(on_file);
  EXPECT_EQ(on_file.error().code, ErrorCode::kAccess);
}

}  // namespace
}  // namespace cairn
