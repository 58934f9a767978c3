#include "base/try.h"
#include "tree/acl.h"
#include "tree/attributes.h"
#include "tree/edit.h"
#include "tree/units.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kListMax = 65536;  // bytes of all names with their ends, as listxattr(2) can return
static_assert(kListMax >= 255 + 1, "any one name fits");

Result<bool> exists(const Tree& tree, ByteView key) {
  const auto size = tree.store.value_size(key);
  if (!size && size.error().code != ErrorCode::kNotFound) return fail(size.error());
  return size.has_value();
}

Result<std::vector<std::string>> list_locked(const Tree& tree, const Inode& inode) REQUIRES_SHARED(inode.mutex) {
  std::vector<std::string> names;
  if (inode.attributes.xattrs == 0) return names;
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kXattr));
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    names.emplace_back(key.name);
  }
  TRY(cursor.status());
  return names;
}

Result<void> check_list(const Tree& tree, const Inode& inode, ByteView name) REQUIRES_SHARED(inode.mutex) {
  TRY_ASSIGN(const auto names, list_locked(tree, inode));
  uint64_t size = name.size() + 1;
  for (const std::string& other : names) size += other.size() + 1;
  // Refused when it is set: a list that is too long could never be shown (E2BIG for every listxattr).
  if (size > kListMax) return fail(ErrorCode::kNoSpace);
  return {};
}

// Room in the log for attributes of whatever inode this is.
uint64_t any_attributes() { return attributes_cost_max(kMaxSymlinkSize); }

}  // namespace

Result<Bytes> get_xattr(Tree& tree, Ino ino, ByteView name) {
  TRY(format::check_xattr_name(name));
  const InodeRef inode = tree.inodes.get(ino);
  const ReadLock lock(inode->mutex);
  TRY(require_usable(*inode));
  // The kernel asks for security.capability before each write: answered from memory.
  if (inode->attributes.xattrs == 0) return fail(ErrorCode::kNoAttribute);
  auto value = tree.store.get(format::xattr_key(ino, name));
  if (!value && value.error().code == ErrorCode::kNotFound) return fail(ErrorCode::kNoAttribute);
  TRY(value);
  return Bytes(value->view());
}

Result<void> set_xattr(Tree& tree, Ino ino, ByteView name, ByteView value, XattrMode mode) {
  TRY(format::check_xattr_name(name));
  // As ext4, for which it would be more than its block.
  if (value.size() > kMaxXattrSize) return fail(ErrorCode::kNoSpace);
  if (is_acl(name)) return set_acl(tree, ino, name, value);
  const Bytes key = format::xattr_key(ino, name);
  const InodeRef inode = tree.inodes.get(ino);
  const uint64_t room = log_cost(key.size(), value.size()) + log_cost(format::kListKeySize, sizeof(format::MarkerDisk));
  TRY_ASSIGN(auto edit, Edit::begin(tree, room + any_attributes()));
  const WriteLock lock(inode->mutex);
  TRY(require_usable(*inode));
  TRY_ASSIGN(const bool there, exists(tree, key));
  // Under the inode's lock, so two that create the same one do not both succeed (hazard 4).
  if (mode == XattrMode::kCreate && there) return fail(ErrorCode::kExists);
  if (mode == XattrMode::kReplace && !there) return fail(ErrorCode::kNoAttribute);
  if (!there) TRY(check_list(tree, *inode, name));
  edit.batch().put(key, value);
  const bool unit = tree.cache_mode && is_unit_xattr(name);
  // Listed in the same batch, so that eviction never misses a pin that is there.
  if (unit) edit.batch().put(format::unit_key(ino), format::encode_marker());
  format::Attributes& next = edit.draft(*inode);
  next.ctime = edit.now();
  if (!there) ++next.xattrs;
  TRY(edit.commit());
  if (unit) tree.evictor.units_changed();
  return {};
}

Result<void> remove_xattr(Tree& tree, Ino ino, ByteView name) {
  TRY(format::check_xattr_name(name));
  const Bytes key = format::xattr_key(ino, name);
  const InodeRef inode = tree.inodes.get(ino);
  TRY_ASSIGN(auto edit, Edit::begin(tree, log_cost(key.size(), 0) + any_attributes(), Store::OperationKind::kFree));
  const WriteLock lock(inode->mutex);
  TRY(require_usable(*inode));
  TRY_ASSIGN(const bool there, exists(tree, key));
  if (!there) return fail(ErrorCode::kNoAttribute);
  edit.batch().erase(key);
  format::Attributes& next = edit.draft(*inode);
  next.ctime = edit.now();
  // The count of a damaged inode may be wrong; fsck says so.
  if (next.xattrs > 0) --next.xattrs;
  TRY(edit.commit());
  if (tree.cache_mode && is_unit_xattr(name)) tree.evictor.units_changed();  // it stays listed, as having had one
  return {};
}

Result<std::vector<std::string>> list_xattrs(Tree& tree, Ino ino) {
  const InodeRef inode = tree.inodes.get(ino);
  const ReadLock lock(inode->mutex);
  TRY(require_usable(*inode));
  return list_locked(tree, *inode);
}

}  // namespace cairn::tree
