// What names cost and what becomes of an inode that loses one.
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "tree/chunks.h"
#include "tree/names.h"

namespace cairn::tree {
namespace {

// One batch then: the file is gone with its name, and no sweep has to come back for it.
constexpr uint64_t kErasedAtOnce = 64;  // keys of a file that goes with its last name

// All keys of the inode but its attributes, if they are few; nothing if they are many.
Result<std::optional<std::vector<Bytes>>> few_keys(const Tree& tree, const Inode& inode) REQUIRES_SHARED(inode.mutex) {
  std::vector<Bytes> keys;
  const format::Attributes& a = inode.attributes;
  // What there is follows from the attributes, without a scan: the case of nearly every file.
  const bool only_chunks = a.xattrs == 0 && (a.is_directory() || a.links <= 1);
  if (only_chunks && (!a.is_regular() || (is_dense(a) && a.sweep_from == format::kNoSweep))) {
    if (!a.is_regular()) return std::optional(std::move(keys));
    TRY_ASSIGN(const auto logged, logged_keys(tree, inode, 0, UINT64_MAX, kErasedAtOnce));
    if (!logged.complete) return std::optional<std::vector<Bytes>>();
    for (const ChunkKey& key : logged.keys) keys.push_back(format::chunk_key(inode.ino, key.index, key.patch));
    return std::optional(std::move(keys));
  }
  const Bytes attributes = format::attributes_key(inode.ino);
  Cursor cursor = tree.store.scan(format::inode_prefix(inode.ino));
  for (; cursor.valid(); cursor.next()) {
    if (cursor.key() == attributes) continue;
    if (keys.size() == kErasedAtOnce) return std::optional<std::vector<Bytes>>();
    keys.emplace_back(cursor.key());
  }
  TRY(cursor.status());
  return std::optional(std::move(keys));
}

// Erases the inode with its last name, if that is little work and nobody uses it. False: it must become an orphan.
Result<bool> erase_now(Tree& tree, Edit& edit, Inode& inode) REQUIRES(inode.mutex) {
  if (tree.in_use(inode)) return false;
  if (inode.attributes.is_directory() && inode.attributes.size != 0) return false;  // evicted with all that is in it
  auto keys = few_keys(tree, inode);
  if (!keys || !*keys) return false;  // what cannot be read now, the sweeper reports
  uint64_t cost = drop_cost();
  for (const Bytes& key : **keys) cost += log_cost(key.size(), 0);
  if (cost > edit.room_left()) return false;
  for (const Bytes& key : **keys) edit.batch().erase(key);
  if (inode.attributes.sweep_from != format::kNoSweep) edit.batch().erase(format::sweep_key(inode.ino));
  if (inode.attributes.xattrs != 0) edit.batch().erase(format::unit_key(inode.ino));
  edit.erase(inode);
  return true;
}

struct BackLink {
  Ino parent = 0;
  Bytes name;
};

// Of the back links of an inode with two names, the one that is not `gone`.
Result<BackLink> other_back_link(const Tree& tree, const Inode& inode, ByteView gone) REQUIRES_SHARED(inode.mutex) {
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kBackLink));
  for (; cursor.valid(); cursor.next()) {
    if (cursor.key() == gone) continue;
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    return BackLink{.parent = key.number, .name = Bytes(key.name)};
  }
  TRY(cursor.status());
  return fail(ErrorCode::kCorrupt, "a file with two names has one back link");
}

}  // namespace

uint64_t name_cost(uint64_t name_size) {
  const uint64_t key = 8 + 1 + 8 + name_size;  // of the longest: the back link
  return 2 * log_cost(key, sizeof(format::EntryDisk)) + log_cost(17, sizeof(format::ListingDisk) + name_size);
}

uint64_t drop_cost() { return attributes_cost_max() + 3 * log_cost(17, sizeof(format::MarkerDisk)); }

void add_name(Edit& edit, Inode& directory, ByteView name, const format::Entry& entry) {
  ++directory.names_changed;
  edit.batch().put(format::entry_key(directory.ino, name), format::encode_entry(entry));
  edit.batch().put(format::listing_key(directory.ino, entry.cookie), format::encode_listing(entry, name));
  format::Attributes& next = edit.draft(directory);
  ++next.size;
  if (entry.type == S_IFDIR) ++next.links;
  next.mtime = next.ctime = edit.now();
}

void remove_name(Edit& edit, Inode& directory, ByteView name, const format::Entry& entry) {
  ++directory.names_changed;
  edit.batch().erase(format::entry_key(directory.ino, name));
  edit.batch().erase(format::listing_key(directory.ino, entry.cookie));
  format::Attributes& next = edit.draft(directory);
  // Counts of a damaged directory may be wrong: fsck says so, and removing names goes on.
  if (next.size > 0) --next.size;
  if (entry.type == S_IFDIR && next.links > 2) --next.links;
  next.mtime = next.ctime = edit.now();
}

Result<void> drop_link(Tree& tree, Edit& edit, Inode& inode, Ino parent, ByteView name) {
  format::Attributes& next = edit.draft(inode);
  next.ctime = edit.now();
  if (next.is_directory() || next.links <= 1) {
    TRY_ASSIGN(const bool erased, erase_now(tree, edit, inode));
    // In the same batch as the name: a crash leaves it named, or listed to be erased, never lost.
    if (!erased) edit.batch().put(format::orphan_key(inode.ino), format::encode_marker());
    if (!erased) edit.log(inode);
    next.links = 0;
    next.parent = 0;
    next.name.clear();
    return {};
  }
  const Bytes gone = format::back_link_key(inode.ino, parent, name);
  edit.batch().erase(gone);
  edit.log(inode);
  // With one name left it knows that one itself again, and the last back link goes.
  if (--next.links > 1) return {};
  auto other = other_back_link(tree, inode, gone);
  // A name that is lost for good must not keep the others from being removed (fsck finds it); one that only could not be
  // read now must not be lost by that.
  if (!other && other.error().code != ErrorCode::kCorrupt) return fail(std::move(other).error());
  if (!other) {
    tree.note_error("back_link_lost", inode.ino, other.error());
    return {};
  }
  edit.batch().erase(format::back_link_key(inode.ino, other->parent, other->name));
  next.parent = other->parent;
  next.name = std::move(other->name);
  return {};
}

void after_drop(Tree& tree, Inode& inode) {
  if (inode.attributes.links != 0 || inode.erased) return;
  DCHECK(inode.life != Life::kDying || inode.erased);
  inode.life = Life::kUnlinked;
  inode.linkable = false;
  if (!tree.in_use(inode)) tree.sweeper.submit(inode.ino);
}

void after_eviction(Tree& tree, Inode& inode) {
  if (inode.attributes.links != 0) return;
  const bool in_use = tree.in_use(inode);
  after_drop(tree, inode);
  // Who has it open keeps it; to all others it is gone at once.
  inode.evicted = tree.inodes.opens(inode) == 0;
  if (!inode.evicted || inode.erased) return;
  inode.life = Life::kDying;
  if (in_use) tree.sweeper.submit(inode.ino);
}

void move_back_link(Edit& edit, Inode& inode, Ino parent, ByteView name, Ino new_parent, ByteView new_name) {
  format::Attributes& next = edit.log(inode);
  if (next.is_directory() || next.links == 1) {
    next.parent = new_parent;
    next.name = new_name;
    return;
  }
  edit.batch().erase(format::back_link_key(inode.ino, parent, name));
  edit.batch().put(format::back_link_key(inode.ino, new_parent, new_name), format::encode_marker());
}

}  // namespace cairn::tree
