#include "tree/attributes.h"

#include <algorithm>

#include "base/try.h"
#include "tree/acl.h"
#include "tree/chunks.h"
#include "tree/content.h"

namespace cairn::tree {
namespace {

constexpr uint32_t kNanoseconds = 1'000'000'000;

Result<void> check_change(const AttrChange& change) {
  using Kind = AttrChange::TimeKind;
  // The kernel checks that too; a wrong one would not be encoded.
  const bool bad = (change.atime_kind == Kind::kSet && change.atime.nanoseconds >= kNanoseconds) ||
                   (change.mtime_kind == Kind::kSet && change.mtime.nanoseconds >= kNanoseconds);
  if (bad) return fail(ErrorCode::kInvalid);
  if (change.set_size && change.size > kMaxFileSize) return fail(ErrorCode::kTooLarge);
  return {};
}

void set_time(AttrChange::TimeKind kind, const Time& given, const Time& now, Time& time) {
  if (kind == AttrChange::TimeKind::kSet) time = given;
  if (kind == AttrChange::TimeKind::kNow) time = now;
}

void set_fields(const AttrChange& change, const Time& now, format::Attributes& a) {
  // First: a mode that is set in the same call wins.
  if (change.kill_suidgid) kill_suidgid(a);
  if (change.set_mode) a.mode = (a.mode & S_IFMT) | (change.mode & 07777);
  if (change.set_uid) a.uid = change.uid;
  if (change.set_gid) a.gid = change.gid;
  if (change.set_size) a.mtime = now;
  set_time(change.atime_kind, change.atime, now, a.atime);
  set_time(change.mtime_kind, change.mtime, now, a.mtime);
  a.ctime = now;
}

// Tools touch what they find in their cache.
bool sets_times(const AttrChange& change) {
  using Kind = AttrChange::TimeKind;
  return !change.set_size && (change.atime_kind != Kind::kKeep || change.mtime_kind != Kind::kKeep);
}

// Before an operation is begun: whether the change is possible, and the room it takes.
Result<uint64_t> prepare(Tree& tree, Inode& inode, const AttrChange& change) {
  bool sweep = false;
  uint64_t room = 0;
  {
    const ReadLock lock(inode.mutex);
    TRY(require_usable(inode));
    if (change.set_size) TRY(require_regular(inode));
    room = attributes_cost_max(inode.attributes.target.size());
    if (tree.options.acl && change.set_mode) room += acl_cost();
    if (change.set_size) room += Resize::room(inode.attributes.chunk_size());
    sweep = change.set_size && sweep_in_the_way(inode.attributes, change.size);
  }
  // Without a lock or an operation: it has many of its own.
  if (sweep) TRY(finish_sweep(tree, inode));
  return room;
}

}  // namespace

Result<Attr> getattr(Tree& tree, Ino ino) {
  const InodeRef inode = tree.inodes.get(ino);
  const ReadLock lock(inode->mutex);
  if (!inode->loaded) return fail(inode->load_error);
  // What is gone still has attributes as long as somebody holds it: a removed directory that a process is in.
  if (inode->evicted) return fail(ErrorCode::kStale);
  const bool gone = inode->life == Life::kDying;
  if (gone && tree.inodes.lookups(*inode) == 0 && tree.inodes.opens(*inode) == 0) return fail(ErrorCode::kStale);
  return to_attr(ino, inode->attributes);
}

Result<Attr> setattr(Tree& tree, Ino ino, const AttrChange& change) {
  TRY(check_change(change));
  const InodeRef inode = tree.inodes.get(ino);
  for (;;) {
    TRY_ASSIGN(const uint64_t room, prepare(tree, *inode, change));
    // Never refused for want of space: none of this makes the store larger for long.
    TRY_ASSIGN(auto edit, Edit::begin(tree, room, Store::OperationKind::kFree));
    const WriteLock lock(inode->mutex);
    TRY(require_usable(*inode));
    // Somebody cut the file between our look and the lock: the sweep has to be waited for again.
    if (change.set_size && sweep_in_the_way(inode->attributes, change.size)) continue;
    Resize resize(tree, edit);
    if (change.set_size) TRY(resize.plan(*inode, change.size));
    set_fields(change, edit.now(), edit.draft(*inode));
    if (tree.options.acl && change.set_mode) TRY(acl_follows_mode(tree, edit, *inode));
    TRY(edit.commit());
    if (change.set_size) resize.apply(*inode);
    // A use, but for what cp -p and tar do to a file that they have just written.
    if (sets_times(change) && !inode->new_open) tree.evictor.used(ino);
    return to_attr(ino, inode->attributes);
  }
}

// A symlink is used by reading it: it cannot be opened.
Result<Bytes> readlink(Tree& tree, Ino ino) {
  const InodeRef inode = tree.inodes.get(ino);
  Bytes target;
  bool touch = false;
  {
    const ReadLock lock(inode->mutex);
    TRY(require_usable(*inode));
    if (!inode->attributes.is_symlink()) return fail(ErrorCode::kInvalid);
    target = inode->attributes.target;
    tree.evictor.used(ino);
    touch = tree.options.relatime && atime_is_old(inode->attributes, tree.now());
  }
  if (touch) touch_atime(tree, *inode);
  return target;
}

Result<Ino> parent_of(Tree& tree, Ino dir) {
  const InodeRef inode = tree.inodes.get(dir);
  const ReadLock lock(inode->mutex);
  TRY(require_directory(*inode));
  return inode->attributes.parent;
}

}  // namespace cairn::tree
