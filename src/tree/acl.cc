#include "tree/acl.h"

#include <sys/stat.h>

#include <algorithm>

#include "base/try.h"
#include "format/decode.h"
#include "format/le.h"

namespace cairn::tree {
namespace {

// POSIX_ACL_XATTR_VERSION of the kernel. Version 1 was never sent by a kernel that speaks FUSE.
constexpr uint32_t kVersion = 2;

// As in <linux/posix_acl_xattr.h>.
struct HeaderDisk {
  format::Le32 version;
};
struct EntryDisk {
  format::Le16 tag;
  format::Le16 permissions;
  format::Le32 id;
};
static_assert(sizeof(HeaderDisk) == 4 && sizeof(EntryDisk) == 8);
static_assert((kMaxAclSize - sizeof(HeaderDisk)) / sizeof(EntryDisk) == 511, "as many entries as ext4 has room for");
static_assert(kMaxAclSize <= kMaxXattrSize);

// Exactly one of the six bits.
bool is_known(uint16_t tag) { return tag != 0 && tag <= 32 && (tag & (tag - 1)) == 0; }

Result<void> require_whole(const std::vector<AclEntry>& entries) {
  using Tag = AclEntry::Tag;
  const auto count = [&entries](Tag tag) {
    return std::count_if(entries.begin(), entries.end(), [tag](const AclEntry& e) { return e.tag == tag; });
  };
  // acl(5): one owner, one owning group, one other; a mask as soon as somebody is named, since it is what the group
  // bits of the mode then show.
  const bool named = count(Tag::kUser) + count(Tag::kGroup) != 0;
  const bool whole = count(Tag::kOwner) == 1 && count(Tag::kOwnerGroup) == 1 && count(Tag::kOther) == 1 &&
                     count(Tag::kMask) <= 1 && (!named || count(Tag::kMask) == 1);
  if (!whole) return fail(ErrorCode::kInvalid);
  return {};
}

// Puts the list, or takes it away where the mode says as much.
Result<void> put_acl(Edit& edit, Ino ino, ByteView name, const Acl& acl, bool there, format::Attributes& next) {
  const Bytes key = format::xattr_key(ino, name);
  if (name == kAccessAcl && acl.is_minimal()) {
    if (there) edit.batch().erase(key);
    if (there && next.xattrs > 0) --next.xattrs;
    return {};
  }
  // ext4 keeps no list that says what the mode says, and neither do we: it would have to be looked for with every open.
  const Bytes value = acl.encode();
  if (value.size() > kMaxAclSize) return fail(ErrorCode::kNoSpace);
  edit.batch().put(key, value);
  if (!there) ++next.xattrs;
  return {};
}

}  // namespace

Result<Acl> Acl::decode(ByteView bytes) {
  // From a program or from the disk: both are looked at in full.
  if (bytes.size() < sizeof(HeaderDisk) || (bytes.size() - sizeof(HeaderDisk)) % sizeof(EntryDisk) != 0) {
    return fail(ErrorCode::kInvalid);
  }
  if (format::load<HeaderDisk>(bytes).version != kVersion) return fail(ErrorCode::kInvalid);
  Acl acl;
  for (size_t at = sizeof(HeaderDisk); at < bytes.size(); at += sizeof(EntryDisk)) {
    const auto disk = format::load<EntryDisk>(bytes.substr(at));
    const uint16_t tag = disk.tag, permissions = disk.permissions;
    if (!is_known(tag) || permissions > 7) return fail(ErrorCode::kInvalid);
    acl.entries_.push_back({.tag = AclEntry::Tag{tag}, .permissions = permissions, .id = disk.id});
  }
  TRY(require_whole(acl.entries_));
  return acl;
}

Bytes Acl::encode() const {
  HeaderDisk header;
  header.version = kVersion;
  Bytes bytes(format::bytes_of(header));
  for (const AclEntry& entry : entries_) {
    EntryDisk disk;
    disk.tag = static_cast<uint16_t>(entry.tag);
    disk.permissions = entry.permissions;
    disk.id = entry.id;
    bytes += format::bytes_of(disk);
  }
  return bytes;
}

AclEntry* Acl::find(AclEntry::Tag tag) {
  const auto found = std::find_if(entries_.begin(), entries_.end(), [tag](const AclEntry& e) { return e.tag == tag; });
  return found == entries_.end() ? nullptr : &*found;
}

AclEntry& Acl::group_class() {
  AclEntry* mask = find(AclEntry::Tag::kMask);
  return mask != nullptr ? *mask : *find(AclEntry::Tag::kOwnerGroup);
}

uint32_t Acl::mode() const {
  Acl copy = *this;
  // decode() let only whole lists in, so the three are there.
  const uint32_t owner = copy.find(AclEntry::Tag::kOwner)->permissions;
  const uint32_t other = copy.find(AclEntry::Tag::kOther)->permissions;
  return owner << 6 | uint32_t{copy.group_class().permissions} << 3 | other;
}

void Acl::set_mode(uint32_t mode) {
  find(AclEntry::Tag::kOwner)->permissions = static_cast<uint16_t>(mode >> 6 & 7);
  group_class().permissions = static_cast<uint16_t>(mode >> 3 & 7);
  find(AclEntry::Tag::kOther)->permissions = static_cast<uint16_t>(mode & 7);
}

void Acl::limit_mode(uint32_t mode) { set_mode(this->mode() & mode); }

uint64_t acl_cost() { return log_cost(format::xattr_key(0, kDefaultAcl).size(), kMaxAclSize); }

Result<std::optional<Acl>> find_acl(const Tree& tree, const Inode& inode, ByteView name) {
  if (inode.attributes.xattrs == 0) return std::optional<Acl>();
  // The kernel asks for the list of every inode it opens: most have no attributes at all, and cost no lookup.
  const auto value = tree.store.get(format::xattr_key(inode.ino, name));
  if (!value && value.error().code == ErrorCode::kNotFound) return std::optional<Acl>();
  TRY(value);
  TRY_ASSIGN(Acl acl, Acl::decode(value->view()));
  return std::optional(std::move(acl));
}

Result<void> set_acl(Tree& tree, Ino ino, ByteView name, ByteView value) {
  // Before the operation is begun: it waits for nothing.
  TRY_ASSIGN(const Acl acl, Acl::decode(value));
  const InodeRef inode = tree.inodes.get(ino);
  TRY_ASSIGN(auto edit, Edit::begin(tree, acl_cost() + attributes_cost_max(kMaxSymlinkSize)));
  const WriteLock lock(inode->mutex);
  TRY(require_usable(*inode));
  if (inode->attributes.is_symlink()) return fail(ErrorCode::kUnsupported);
  if (name == kDefaultAcl && !inode->attributes.is_directory()) return fail(ErrorCode::kAccess);
  TRY_ASSIGN(const auto present, find_acl(tree, *inode, name));
  format::Attributes& next = edit.draft(*inode);
  TRY(put_acl(edit, ino, name, acl, present.has_value(), next));
  // Both in one batch: mode and list never disagree, whatever the crash.
  if (name == kAccessAcl) next.mode = (next.mode & ~0777u) | acl.mode();
  next.ctime = edit.now();
  return edit.commit();
}

Result<void> acl_follows_mode(Tree& tree, Edit& edit, Inode& inode) {
  TRY_ASSIGN(auto acl, find_acl(tree, inode, kAccessAcl));
  if (!acl) return {};
  format::Attributes& next = edit.draft(inode);
  acl->set_mode(next.mode);
  return put_acl(edit, inode.ino, kAccessAcl, *acl, /*there=*/true, next);
}

Result<void> inherit_acl(Tree& tree, Edit& edit, const Inode& directory, Ino ino, uint32_t mode,
                         format::Attributes& next) {
  TRY_ASSIGN(auto acl, find_acl(tree, directory, kDefaultAcl));
  if (!acl) return {};
  if (next.is_directory()) TRY(put_acl(edit, ino, kDefaultAcl, *acl, /*there=*/false, next));
  // The umask is left out: the default list takes its place.
  acl->limit_mode(mode);
  next.mode = (next.mode & ~0777u) | acl->mode();
  return put_acl(edit, ino, kAccessAcl, *acl, /*there=*/false, next);
}

}  // namespace cairn::tree
