#include "tree/names.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "tree/content.h"

namespace cairn::tree {
namespace {

// Between reading a name and locking what it names, others may change it: then it is read again. A name whose inode is
// still missing after so many times is damage.
constexpr int kTries = 100;

tl::unexpected<Error> dangling(Ino directory, const format::Entry& entry) {
  return fail(ErrorCode::kCorrupt,
              fmt::format("directory {}: an entry names inode {}, which does not exist", directory, entry.ino));
}

constexpr uint64_t kEraseRoom = 64;  // keys of a file that is erased with its last name
static_assert(kTries > 1);

struct Removal {
  Ino parent = 0;
  ByteView name;
  bool directory = false;  // rmdir, else unlink
};

Result<void> check_removal(const Removal& removal, const Inode& child) REQUIRES_SHARED(child.mutex) {
  const bool is_directory = child.attributes.is_directory();
  if (removal.directory && !is_directory) return fail(ErrorCode::kNotDirectory);
  if (!removal.directory && is_directory) return fail(ErrorCode::kIsDirectory);
  if (is_directory && child.attributes.size != 0) return fail(ErrorCode::kNotEmpty);
  return {};
}

// True: done. False: the name meant something else meanwhile, try again.
Result<bool> try_remove(Tree& tree, const Removal& removal) {
  const InodeRef directory = tree.inodes.get(removal.parent);
  uint64_t changes = 0;
  TRY_ASSIGN(const format::Entry entry, peek_entry(tree, *directory, removal.name, &changes));
  const InodeRef child = tree.inodes.get(entry.ino);
  // The worst case, before anything is locked: its attributes may be logged, or the inode erased with its chunks.
  const uint64_t target = entry.type == S_IFLNK ? kMaxSymlinkSize : 0;
  const uint64_t room = name_cost(removal.name.size()) + name_cost(kMaxNameSize) + attributes_cost_max() +
                        attributes_cost_max(target) + drop_cost() + kEraseRoom * log_cost(format::kChunkKeySize, 0);
  TRY_ASSIGN(auto edit, Edit::begin(tree, room, Store::OperationKind::kFree));
  const InodeLocks locks(directory.get(), child.get());
  assume_locked(*directory);
  assume_locked(*child);
  TRY(require_directory(*directory));
  // What was looked at without its lock is looked at again under it (hazard 4), unless nothing has changed.
  if (directory->names_changed != changes) {
    TRY_ASSIGN(const format::Entry again, find_entry(tree, *directory, removal.name));
    if (again != entry) return false;
  }
  if (auto usable = require_usable(*child); !usable) {
    if (usable.error().code == ErrorCode::kStale) return dangling(removal.parent, entry);
    return fail(usable.error());
  }
  TRY(check_removal(removal, *child));
  remove_name(edit, *directory, removal.name, entry);
  TRY(drop_link(tree, edit, *child, removal.parent, removal.name));
  TRY(edit.commit());
  // Behind the commit: only now it really has no name.
  after_drop(tree, *child);
  return true;
}

Result<void> remove(Tree& tree, const Removal& removal) {
  TRY(format::check_name(removal.name));
  // Ends: each round somebody else has changed the name, or it is gone.
  for (;;) {
    TRY_ASSIGN(const bool done, try_remove(tree, removal));
    if (done) return {};
  }
}

// The attributes of what read_dir found. An inode that was removed meanwhile, or is damaged, has none: ino 0.
void read_attributes(Tree& tree, const std::vector<DirEntry>& entries, std::vector<Attr>& attrs) {
  // One inode at a time, and without the directory's lock: a listing of a large one does not stop others.
  attrs.reserve(entries.size());
  for (const DirEntry& entry : entries) {
    const InodeRef inode = tree.inodes.get(entry.ino);
    const ReadLock lock(inode->mutex);
    attrs.push_back(require_usable(*inode) ? to_attr(entry.ino, inode->attributes) : Attr{});
  }
}

Result<std::vector<DirEntry>> list(const Tree& tree, const Inode& directory, uint64_t cookie, size_t max)
    REQUIRES_SHARED(directory.mutex) {
  std::vector<DirEntry> out;
  // Behind it there is no cookie, and adding one would begin again at the front.
  if (cookie == UINT64_MAX) return out;
  Cursor cursor = tree.store.scan(format::kind_prefix(directory.ino, format::KeyKind::kListing));
  for (cursor.seek(format::listing_key(directory.ino, cookie + 1)); cursor.valid() && out.size() < max; cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    TRY_ASSIGN(const Value value, cursor.value());
    TRY_ASSIGN(const auto listing, format::decode_listing(value.view()));
    DCHECK(key.number > cookie);
    out.push_back({.name = Bytes(listing.name), .ino = listing.ino, .type = listing.type, .cookie = key.number});
  }
  TRY(cursor.status());
  return out;
}

}  // namespace

Result<format::Entry> find_entry(const Tree& tree, const Inode& directory, ByteView name) {
  TRY_ASSIGN(const Value value, tree.store.get(format::entry_key(directory.ino, name)));
  return format::decode_entry(value.view());
}

Result<format::Entry> peek_entry(Tree& tree, Inode& directory, ByteView name, uint64_t* changes) {
  const ReadLock lock(directory.mutex);
  TRY(require_directory(directory));
  if (changes != nullptr) *changes = directory.names_changed;
  return find_entry(tree, directory, name);
}

Result<Attr> lookup(Tree& tree, Ino parent, ByteView name) {
  if (name.size() > kMaxNameSize) return fail(ErrorCode::kNameTooLong);
  // Such a name cannot exist; the kernel asks for "." and ".." of its own.
  if (!format::check_name(name)) return fail(ErrorCode::kNotFound);
  const InodeRef directory = tree.inodes.get(parent);
  format::Entry entry;
  for (int i = 0; i < kTries; ++i) {
    TRY_ASSIGN(entry, peek_entry(tree, *directory, name));
    const InodeRef child = tree.inodes.get(entry.ino);
    const ReadLock lock(child->mutex);
    const auto usable = require_usable(*child);
    if (!usable && usable.error().code != ErrorCode::kStale) return fail(usable.error());
    if (!usable || child->life != Life::kAlive) continue;
    // Under the child's lock: an eviction, which holds it alone, sees the count or comes before it.
    tree.inodes.count_lookup(*child);
    if (child->attributes.is_directory()) tree.note_use(*child);
    return to_attr(entry.ino, child->attributes);
  }
  return dangling(parent, entry);
}

Result<void> unlink(Tree& tree, Ino parent, ByteView name) {
  return remove(tree, {.parent = parent, .name = name, .directory = false});
}

Result<void> rmdir(Tree& tree, Ino parent, ByteView name) {
  return remove(tree, {.parent = parent, .name = name, .directory = true});
}

Result<std::vector<DirEntry>> read_dir(Tree& tree, Ino dir, uint64_t cookie, size_t max, std::vector<Attr>* attrs) {
  const InodeRef directory = tree.inodes.get(dir);
  std::vector<DirEntry> entries;
  bool touch = false;
  {
    const ReadLock lock(directory->mutex);
    const auto usable = require_directory(*directory);
    if (!usable && usable.error().code == ErrorCode::kNotFound) return entries;  // removed, but still somebody's cwd
    TRY(usable);
    TRY_ASSIGN(entries, list(tree, *directory, cookie, max));
    tree.note_use(*directory);
    touch = tree.options.relatime && atime_is_old(directory->attributes, tree.now());
  }
  if (touch) touch_atime(tree, *directory);
  if (attrs != nullptr) {
    attrs->clear();
    read_attributes(tree, entries, *attrs);
  }
  return entries;
}

}  // namespace cairn::tree
