#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "tree/names.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kEraseRoom = 64;         // keys of a replaced file that is erased with its last name
constexpr uint64_t kDepthMax = 1ull << 24;  // directories above one: more can only be a circle

// One end of the rename, as it was when it was looked at.
struct Side {
  InodeRef directory;
  ByteView name;
  std::optional<format::Entry> entry;
  InodeRef child;        // null without an entry
  uint64_t changes = 0;  // the directory's names_changed then

  [[nodiscard]] bool is_directory() const { return entry && entry->type == S_IFDIR; }
};

struct Move {
  Side from, to;
  uint32_t flags = 0;
  Caller caller;

  [[nodiscard]] bool exchange() const { return (flags & kRenameExchange) != 0; }
  [[nodiscard]] bool across() const { return from.directory != to.directory; }
  // Whether a directory gets another parent.
  [[nodiscard]] bool moves_directory() const {
    return across() && (from.is_directory() || (exchange() && to.is_directory()));
  }
};

Result<void> look(Tree& tree, Side& side) {
  side.entry.reset();
  side.child.reset();
  auto entry = peek_entry(tree, *side.directory, side.name, &side.changes);
  if (!entry && entry.error().code != ErrorCode::kNotFound) return fail(entry.error());
  if (!entry) {
    const ReadLock lock(side.directory->mutex);
    return require_directory(*side.directory);  // not found because the directory is gone?
  }
  side.entry = *entry;
  side.child = tree.inodes.get(entry->ino);
  return {};
}

// Whether the name still means what it meant in look().
Result<bool> unchanged(const Tree& tree, const Side& side) REQUIRES_SHARED(side.directory->mutex) {
  TRY(require_directory(*side.directory));
  if (side.directory->names_changed == side.changes) return true;
  auto entry = find_entry(tree, *side.directory, side.name);
  if (!entry && entry.error().code != ErrorCode::kNotFound) return fail(entry.error());
  if (!entry) return !side.entry.has_value();
  return side.entry && *side.entry == *entry;
}

// kInvalid if `directory` is `top` or below it. Needs Tree::directory_moves, so that no way up changes meanwhile.
Result<void> check_not_below(Tree& tree, Ino directory, Ino top) REQUIRES(tree.directory_moves) {
  // One inode at a time: the parents stand still, as Tree::directory_moves is held.
  for (uint64_t depth = 0; depth < kDepthMax; ++depth) {
    if (directory == top) return fail(ErrorCode::kInvalid);
    if (directory == kRootIno) return {};
    const InodeRef inode = tree.inodes.get(directory);
    const ReadLock lock(inode->mutex);
    TRY(require_directory(*inode));
    directory = inode->attributes.parent;
  }
  return fail(ErrorCode::kCorrupt, fmt::format("directory {} is inside itself", directory));
}

Result<void> check_flags(uint32_t flags) {
  constexpr uint32_t kKnown = kRenameNoReplace | kRenameExchange | kRenameWhiteout;
  if ((flags & ~kKnown) != 0) return fail(ErrorCode::kInvalid);
  if ((flags & kRenameExchange) != 0 && flags != kRenameExchange) return fail(ErrorCode::kInvalid);
  return {};
}

Result<void> check_usable(const Side& side) REQUIRES_SHARED(side.child->mutex) {
  auto usable = require_usable(*side.child);
  if (!usable && usable.error().code == ErrorCode::kStale) {
    return fail(ErrorCode::kCorrupt, fmt::format("an entry names inode {}, which does not exist", side.child->ino));
  }
  return usable;
}

Result<void> check_replace(const Move& move) REQUIRES_SHARED(move.to.child->mutex) {
  CHECK(!move.exchange());
  if (move.from.is_directory() && !move.to.is_directory()) return fail(ErrorCode::kNotDirectory);
  if (!move.from.is_directory() && move.to.is_directory()) return fail(ErrorCode::kIsDirectory);
  if (move.to.is_directory() && move.to.child->attributes.size != 0) return fail(ErrorCode::kNotEmpty);
  return {};
}

// What is left under the old name so that overlayfs does not see through it.
void add_whiteout(Tree& tree, Edit& edit, const Move& move) REQUIRES(move.from.directory->mutex) {
  format::Attributes a;
  // A character device 0/0, as overlayfs wants it.
  a.mode = S_IFCHR;
  a.uid = move.caller.uid;
  a.gid = move.caller.gid;
  inherit_group(a, move.from.directory->attributes);
  a.links = 1;
  a.atime = a.mtime = a.ctime = a.btime = edit.now();
  a.parent = move.from.directory->ino;
  a.name = move.from.name;
  CHECK(move.from.directory->attributes.is_directory());
  const Ino ino = tree.store.next_number();
  edit.batch().put(format::attributes_key(ino), format::encode_attributes(a));
  tree.evictor.made(ino);
  add_name(edit, *move.from.directory, move.from.name, {.ino = ino, .type = S_IFCHR, .cookie = ino});
}

// Puts what was at `from` to `to`. The old names are removed already.
void put_name(Tree& tree, Edit& edit, const Side& from, const Side& to)
    REQUIRES(to.directory->mutex, from.child->mutex) {
  CHECK(from.entry && from.child);
  format::Entry entry = *from.entry;
  // A new name gets a new place in the listing: whoever lists the directory meanwhile sees it, or has seen the old one.
  entry.cookie = tree.store.next_number();
  add_name(edit, *to.directory, to.name, entry);
  move_back_link(edit, *from.child, from.directory->ino, from.name, to.directory->ino, to.name);
  edit.draft(*from.child).ctime = edit.now();
}

// All inodes are locked, and the names mean what the sides say.
Result<void> move_locked(Tree& tree, Edit& edit, const Move& move) NO_THREAD_SAFETY_ANALYSIS {
  const auto& [from, to, flags, caller] = move;
  TRY(check_usable(from));
  if (to.child) TRY(check_usable(to));
  const bool replace = to.child && !move.exchange();
  if (replace) TRY(check_replace(move));

  CHECK(from.child && from.entry);
  remove_name(edit, *from.directory, from.name, *from.entry);
  if (to.child) remove_name(edit, *to.directory, to.name, *to.entry);
  if (replace) TRY(drop_link(tree, edit, *to.child, to.directory->ino, to.name));
  put_name(tree, edit, from, to);
  CHECK(!move.exchange() || to.entry);
  if (move.exchange()) put_name(tree, edit, to, from);
  if ((flags & kRenameWhiteout) != 0) add_whiteout(tree, edit, move);
  TRY(edit.commit());
  tree.note_use(*to.directory);
  if (replace) after_drop(tree, *to.child);
  return {};
}

// True: done. False: a name meant something else meanwhile, try again.
Result<bool> lock_and_move(Tree& tree, Edit& edit, const Move& move) NO_THREAD_SAFETY_ANALYSIS {
  const InodeLocks locks(move.from.directory.get(), move.to.directory.get(), move.from.child.get(),
                         move.to.child.get());
  for (const Side* side : {&move.from, &move.to}) {
    TRY_ASSIGN(const bool same, unchanged(tree, *side));
    if (!same) return false;
  }
  TRY(move_locked(tree, edit, move));
  return true;
}

uint64_t room_for(const Move& move) {
  const auto target = [](const Side& side) {
    return attributes_cost_max(side.entry && side.entry->type == S_IFLNK ? kMaxSymlinkSize : 0);
  };
  // Everything twice, for an exchange.
  const uint64_t names = 2 * (name_cost(move.from.name.size()) + name_cost(move.to.name.size()));
  const uint64_t replaced = name_cost(kMaxNameSize) + drop_cost() + kEraseRoom * log_cost(format::kChunkKeySize, 0);
  return names + target(move.from) + target(move.to) + 3 * attributes_cost_max() + replaced;
}

Result<bool> try_rename(Tree& tree, Move& move) {
  TRY(look(tree, move.from));
  TRY(look(tree, move.to));
  if (!move.from.entry) return fail(ErrorCode::kNotFound);
  if (move.exchange() && !move.to.entry) return fail(ErrorCode::kNotFound);
  if ((move.flags & kRenameNoReplace) != 0 && move.to.entry) return fail(ErrorCode::kExists);
  // Two names of one file: nothing to do, says POSIX.
  if (move.to.entry && move.to.entry->ino == move.from.entry->ino) return true;

  using Kind = Store::OperationKind;
  TRY_ASSIGN(auto edit, Edit::begin(tree, room_for(move), move.to.entry ? Kind::kFree : Kind::kGrow));
  if (!move.moves_directory()) return lock_and_move(tree, edit, move);
  // After begin(), which waits, and before any inode (src/README.md, "Locks"). Two directories that move into each
  // other at the same time would both find the way free.
  const MutexLock moves(tree.directory_moves);
  if (move.from.is_directory()) TRY(check_not_below(tree, move.to.directory->ino, move.from.child->ino));
  if (move.exchange() && move.to.is_directory()) {
    TRY(check_not_below(tree, move.from.directory->ino, move.to.child->ino));
  }
  return lock_and_move(tree, edit, move);
}

}  // namespace

Result<void> rename(Tree& tree, Ino parent, ByteView name, Ino new_parent, ByteView new_name, uint32_t flags,
                    const Caller& caller) {
  TRY(format::check_name(name));
  TRY(format::check_name(new_name));
  TRY(check_flags(flags));
  Move move;
  move.from = {.directory = tree.inodes.get(parent), .name = name, .entry = {}, .child = {}, .changes = 0};
  move.to = {.directory = tree.inodes.get(new_parent), .name = new_name, .entry = {}, .child = {}, .changes = 0};
  move.flags = flags;
  move.caller = caller;
  for (;;) {
    TRY_ASSIGN(const bool done, try_rename(tree, move));
    if (done) return {};
  }
}

}  // namespace cairn::tree
