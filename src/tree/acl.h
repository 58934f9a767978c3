// POSIX access control lists, kept as extended attributes in the form in which the kernel sends them.
//
// The kernel checks them (FUSE_CAP_POSIX_ACL); ours is what a file system has to do besides: mode and list say the same, a
// list that says no more than the mode is not stored, and a directory's default list takes the place of the umask.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "tree/edit.h"
#include "tree/tree.h"

namespace cairn::tree {

inline constexpr ByteView kAccessAcl = "system.posix_acl_access";
inline constexpr ByteView kDefaultAcl = "system.posix_acl_default";
inline constexpr uint64_t kMaxAclSize = 4096;  // bytes: 511 entries, as many as a block of ext4 has room for

inline bool is_acl(ByteView name) { return name == kAccessAcl || name == kDefaultAcl; }

struct AclEntry {
  enum class Tag : uint16_t { kOwner = 1, kUser = 2, kOwnerGroup = 4, kGroup = 8, kMask = 16, kOther = 32 };
  Tag tag = Tag::kOther;
  uint16_t permissions = 0;  // rwx, as in a mode
  uint32_t id = 0;
};

class Acl {
 public:
  // kInvalid unless it has the entries that a list must have.
  static Result<Acl> decode(ByteView bytes);
  [[nodiscard]] Bytes encode() const;

  // Owner, group and others only: a mode says as much.
  [[nodiscard]] bool is_minimal() const { return entries_.size() == 3; }
  // The permission bits that stat(2) shows.
  [[nodiscard]] uint32_t mode() const;
  void set_mode(uint32_t mode);    // as chmod does
  void limit_mode(uint32_t mode);  // as the mode of open or mkdir limits what a default list gives

 private:
  [[nodiscard]] AclEntry* find(AclEntry::Tag tag);
  [[nodiscard]] AclEntry& group_class();  // the mask, or the group where there is none

  std::vector<AclEntry> entries_;
};

// What one list costs in the log at most, bytes.
uint64_t acl_cost();
// The list of that name, if the inode has one.
Result<std::optional<Acl>> find_acl(const Tree& tree, const Inode& inode, ByteView name) REQUIRES_SHARED(inode.mutex);
// The inode gets the list; with an access list its mode follows.
Result<void> set_acl(Tree& tree, Ino ino, ByteView name, ByteView value);
// chmod: the access list follows the mode that the edit has drafted. Costs acl_cost().
Result<void> acl_follows_mode(Tree& tree, Edit& edit, Inode& inode) REQUIRES(inode.mutex);
// A new inode `ino` in `directory`, made with `mode`: its lists and the mode they give, if the directory has a default list.
// Costs twice acl_cost().
Result<void> inherit_acl(Tree& tree, Edit& edit, const Inode& directory, Ino ino, uint32_t mode,
                         format::Attributes& next) REQUIRES_SHARED(directory.mutex);

}  // namespace cairn::tree
