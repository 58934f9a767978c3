// Making nodes, with and without a name.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "tree/acl.h"
#include "tree/names.h"

namespace cairn::tree {
namespace {

format::Attributes new_attributes(const Tree& tree, const NewNode& node, const Caller& caller, const Time& now) {
  format::Attributes a;
  const uint32_t type = node.mode & S_IFMT;
  // symlink(7): the mode of a link is of no use, and always 0777.
  a.mode = type == S_IFLNK ? S_IFLNK | 0777 : type | (node.mode & 07777 & ~caller.umask);
  a.uid = caller.uid;
  a.gid = caller.gid;
  a.links = type == S_IFDIR ? 2 : 1;
  a.size = node.target.size();
  // Of other types it would not be encoded.
  a.rdev = type == S_IFCHR || type == S_IFBLK ? node.rdev : 0;
  a.atime = a.mtime = a.ctime = a.btime = now;
  a.chunk_bits = type == S_IFREG ? tree.chunk_bits : 0;
  a.target = node.target;
  return a;
}

// Commits the edit, and the inode is there: in memory before in the log, but locked, so that whoever finds its name, or
// guesses its number, finds this object. Its number is the greatest, so its mutex comes last.
Result<Attr> add_inode(Tree& tree, Edit& edit, Ino ino, format::Attributes attributes, bool open) {
  const auto inode = std::make_shared<Inode>(ino);
  const WriteLock lock(inode->mutex);
  CHECK(ino > kRootIno);
  edit.batch().put(format::attributes_key(ino), format::encode_attributes(attributes));
  CHECK((attributes.mode & S_IFMT) != 0);
  inode->attributes = std::move(attributes);
  inode->loaded = true;
  inode->linkable = inode->attributes.links == 0;
  if (inode->linkable) inode->life = Life::kUnlinked;
  inode->new_open = open;
  // Its number is known to nobody, but may be guessed: who guesses it waits for the lock.
  tree.inodes.publish(inode, 1, open ? 1 : 0);
  if (auto made = edit.commit(); !made) {
    inode->loaded = false;
    inode->load_error = Error(ErrorCode::kStale);
    // Whoever has found it meanwhile sees that it never was.
    tree.inodes.withdraw(*inode);
    return fail(std::move(made).error());
  }
  tree.note_use(*inode);
  if (!inode->linkable) tree.evictor.made(ino);
  return to_attr(ino, inode->attributes);
}

Result<void> check_free(const Tree& tree, const Inode& directory, ByteView name) REQUIRES_SHARED(directory.mutex) {
  const auto entry = find_entry(tree, directory, name);
  if (entry) return fail(ErrorCode::kExists);
  if (entry.error().code != ErrorCode::kNotFound) return fail(entry.error());
  return {};
}

}  // namespace

void inherit_group(format::Attributes& a, const format::Attributes& directory) {
  // inode(7): and directories hand the bit on.
  DCHECK(directory.is_directory());
  if ((directory.mode & S_ISGID) == 0) return;
  a.gid = directory.gid;
  if (a.is_directory()) a.mode |= S_ISGID;
}

Result<Attr> make_node(Tree& tree, Ino parent, ByteView name, const NewNode& node, const Caller& caller) {
  const bool unnamed = name.empty() && S_ISREG(node.mode);
  if (!unnamed) TRY(format::check_name(name));
  if (S_ISLNK(node.mode) && node.target.empty()) return fail(ErrorCode::kNotFound);
  if (node.target.size() > kMaxSymlinkSize) return fail(ErrorCode::kNameTooLong);
  const InodeRef directory = tree.inodes.get(parent);
  const uint64_t room = name_cost(name.size()) + attributes_cost_max(node.target.size()) + attributes_cost_max() +
                        log_cost(17, sizeof(format::MarkerDisk)) + (tree.options.acl ? 2 * acl_cost() : 0);
  TRY_ASSIGN(auto edit, Edit::begin(tree, room));
  const WriteLock lock(directory->mutex);
  TRY(require_directory(*directory));
  format::Attributes a = new_attributes(tree, node, caller, edit.now());
  inherit_group(a, directory->attributes);
  if (!unnamed) TRY(check_free(tree, *directory, name));
  tree.note_use(*directory);

  // Also the cookie of its first name: listings run in the order in which files were made, which is that of the log.
  const Ino ino = tree.store.next_number();
  if (tree.options.acl && !S_ISLNK(node.mode)) TRY(inherit_acl(tree, edit, *directory, ino, node.mode, a));
  if (unnamed) {
    a.links = 0;
    // Until it has a name it is an orphan: a crash leaves nothing behind.
    edit.batch().put(format::orphan_key(ino), format::encode_marker());
  } else {
    a.parent = parent;
    a.name = name;
    add_name(edit, *directory, name, {.ino = ino, .type = a.mode & S_IFMT, .cookie = ino});
  }
  return add_inode(tree, edit, ino, std::move(a), node.open);
}

Result<void> make_root(Tree& tree) {
  TRY_ASSIGN(auto edit, Edit::begin(tree, attributes_cost_max()));
  // Whoever mounts first, as with mkfs.ext4 -E root_owner.
  const Caller owner{.uid = geteuid(), .gid = getegid(), .umask = 0};
  format::Attributes root = new_attributes(tree, {.mode = S_IFDIR | 0755, .rdev = 0, .target = {}}, owner, edit.now());
  root.parent = kRootIno;
  edit.batch().put(format::attributes_key(kRootIno), format::encode_attributes(root));
  return edit.commit();
}

Result<Attr> link(Tree& tree, Ino ino, Ino new_parent, ByteView new_name) {
  TRY(format::check_name(new_name));
  const InodeRef inode = tree.inodes.get(ino);
  const InodeRef directory = tree.inodes.get(new_parent);
  uint64_t target_length = 0;
  {
    const ReadLock lock(inode->mutex);
    TRY(require_usable(*inode));
    if (inode->attributes.is_directory()) return fail(ErrorCode::kPermission);
    target_length = inode->attributes.target.size();  // never changes
  }
  const uint64_t room = name_cost(new_name.size()) + name_cost(kMaxNameSize) + attributes_cost_max() +
                        attributes_cost_max(target_length) + drop_cost();
  TRY_ASSIGN(auto edit, Edit::begin(tree, room));
  const InodeLocks locks(inode.get(), directory.get());
  assume_locked(*inode);
  assume_locked(*directory);
  TRY(require_usable(*inode));
  TRY(require_directory(*directory));
  TRY(check_free(tree, *directory, new_name));
  // linkat(2): a file that lost its last name gets no other.
  if (inode->life == Life::kUnlinked && !inode->linkable) return fail(ErrorCode::kNotFound);

  format::Attributes& next = edit.log(*inode);
  if (next.links >= kMaxLinks) return fail(ErrorCode::kTooManyLinks);
  next.ctime = edit.now();
  if (++next.links == 1) {
    edit.batch().erase(format::orphan_key(ino));
    next.parent = new_parent;
    next.name = new_name;
  } else {
    // Its second name: from now on both are back links, and the attributes name none.
    if (next.parent != 0) {
      edit.batch().put(format::back_link_key(ino, next.parent, next.name), format::encode_marker());
      next.parent = 0;
      next.name.clear();
    }
    edit.batch().put(format::back_link_key(ino, new_parent, new_name), format::encode_marker());
  }
  add_name(edit, *directory, new_name, {.ino = ino, .type = next.mode & S_IFMT, .cookie = tree.store.next_number()});
  TRY(edit.commit());
  if (std::exchange(inode->linkable, false)) tree.evictor.made(ino);
  tree.evictor.used(ino);
  tree.note_use(*directory);
  DCHECK(inode->attributes.links != 0);
  inode->life = Life::kAlive;
  tree.inodes.count_lookup(*inode);
  return to_attr(ino, inode->attributes);
}

}  // namespace cairn::tree
