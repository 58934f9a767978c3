#include "tree/units.h"

#include <algorithm>
#include <unordered_set>
#include <utility>

#include "base/check.h"
#include "base/try.h"

namespace cairn::tree {
namespace {

constexpr size_t kDirectoriesMax = 1 << 20;  // looked at for one question: more can only be a circle

Result<bool> is_marked(const Tree& tree, const Inode& inode, ByteView xattr) REQUIRES_SHARED(inode.mutex) {
  // Of nearly all inodes.
  if (inode.attributes.xattrs == 0) return false;
  const auto value = tree.store.get(format::xattr_key(inode.ino, xattr));
  if (!value && value.error().code == ErrorCode::kNotFound) return false;
  TRY(value);
  return value->size() != 0 && value->view() != "0";
}

// One step up: what `ino` itself says, and where its names are.
Result<std::vector<Ino>> look_at(Tree& tree, Ino ino, Unit& unit) {
  const InodeRef inode = tree.inodes.get(ino);
  const ReadLock lock(inode->mutex);
  TRY(require_usable(*inode));
  TRY_ASSIGN(const bool pinned, is_marked(tree, *inode, kPinXattr));
  unit.pinned |= pinned;
  DCHECK(inode->ino == ino);
  const format::Attributes a = inode->attributes;  // a copy: the analysis loses the lock behind a reference
  if (a.is_directory()) {
    TRY_ASSIGN(const bool group, is_marked(tree, *inode, kGroupXattr));
    // The walk goes upwards, so the outermost one is what stays.
    if (group) unit.group = ino;
  }
  std::vector<Ino> parents;
  if (ino == kRootIno || a.links == 0) return parents;
  if (a.parent != 0) return std::vector<Ino>{a.parent};
  Cursor cursor = tree.store.scan(format::kind_prefix(ino, format::KeyKind::kBackLink));
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    if (std::find(parents.begin(), parents.end(), key.number) == parents.end()) parents.push_back(key.number);
  }
  TRY(cursor.status());
  return parents;
}

// Calls visit(inode), locked shared, for everything below a directory, and for itself.
template <class Visit>
Result<void> walk_subtree(Tree& tree, Ino top, Visit&& visit) {
  std::vector<Ino> directories;
  // The listing was read without the child's lock, so it may be gone.
  const auto look = [&](Ino ino) -> Result<void> {
    const InodeRef inode = tree.inodes.get(ino);
    const ReadLock lock(inode->mutex);
    if (auto usable = require_usable(*inode); !usable) {
      return usable.error().code == ErrorCode::kStale ? Result<void>() : usable;  // removed meanwhile
    }
    if (inode->attributes.is_directory()) directories.push_back(ino);
    return visit(*inode);
  };
  TRY(look(top));
  // Depth first with a list of its own: a tree may be deeper than a stack.
  for (size_t n = 0; !directories.empty() && n < kDirectoriesMax; ++n) {
    const Ino directory = directories.back();
    directories.pop_back();
    std::vector<Ino> children;
    Cursor cursor = tree.store.scan(format::kind_prefix(directory, format::KeyKind::kListing));
    for (; cursor.valid(); cursor.next()) {
      TRY_ASSIGN(const Value value, cursor.value());
      TRY_ASSIGN(const auto listing, format::decode_listing(value.view()));
      children.push_back(listing.ino);
    }
    TRY(cursor.status());
    for (const Ino child : children) TRY(look(child));
  }
  return {};
}

struct Survey {
  EvictOutcome outcome = EvictOutcome::kEvicted;
  uint64_t files = 0, bytes = 0;
  Time last_use;
};

Time latest(const format::Attributes& a) { return later(later(a.atime, a.mtime), later(a.btime, a.ctime)); }

Result<Survey> survey(Tree& tree, Ino top, const EvictRules& rules) {
  Survey out;
  TRY(walk_subtree(tree, top, [&](const Inode& inode) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
    const format::Attributes& a = inode.attributes;
    TRY_ASSIGN(const bool pinned, is_marked(tree, inode, kPinXattr));
    // The last reason that is found is the one that is told; any of them keeps the whole.
    if (pinned) out.outcome = EvictOutcome::kPinned;
    if (tree.inodes.opens(inode) != 0) out.outcome = EvictOutcome::kOpen;
    if (a.is_directory()) return {};
    if (is_young(a, rules)) out.outcome = EvictOutcome::kChanged;
    ++out.files;
    out.bytes += a.stored;
    out.last_use = later(out.last_use, latest(a));
    return {};
  }));
  return out;
}

}  // namespace

bool is_unit_xattr(ByteView name) { return name == kPinXattr || name == kGroupXattr; }

Result<Unit> unit_of(Tree& tree, Ino ino) {
  Unit unit;
  std::vector<Ino> todo = {ino};
  for (size_t n = 0; !todo.empty() && n < kDirectoriesMax; ++n) {
    const Ino next = todo.back();
    todo.pop_back();
    // Several names may lead up several ways; a pin on any of them counts.
    TRY_ASSIGN(const auto parents, look_at(tree, next, unit));
    todo.insert(todo.end(), parents.begin(), parents.end());
  }
  return unit;
}

Result<Eviction> evict_group(Tree& tree, Ino directory, const EvictRules& rules) {
  // Without a lock over all of it: a file that is opened between this and the eviction keeps its content until it is
  // closed, as after an unlink.
  TRY_ASSIGN(const Survey found, survey(tree, directory, rules));
  if (found.outcome != EvictOutcome::kEvicted) {
    Eviction stays;
    stays.outcome = found.outcome;
    return stays;
  }
  CHECK(found.bytes == 0 || found.files != 0);
  EvictRules whole = rules;
  whole.with_entries = true;
  TRY_ASSIGN(Eviction eviction, evict_directory(tree, directory, whole));
  eviction.bytes = found.bytes;
  eviction.files = found.files;
  eviction.last_use = found.last_use;
  return eviction;
}

Result<Pinned> count_pinned(Tree& tree) {
  Pinned out;
  std::unordered_set<Ino> counted;  // pins lie within pins, and files have several names
  Cursor cursor = tree.store.scan(format::kind_prefix(0, format::KeyKind::kUnit));
  std::vector<Ino> marked;
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    marked.push_back(key.ino);
  }
  TRY(cursor.status());
  for (const Ino ino : marked) {
    const auto unit = unit_of(tree, ino);
    // The list names what ever had such an attribute.
    if (!unit || !unit->pinned) continue;  // gone, or a group
    TRY(walk_subtree(tree, ino, [&](const Inode& inode) NO_THREAD_SAFETY_ANALYSIS -> Result<void> {
      if (inode.attributes.is_directory() || !counted.insert(inode.ino).second) return {};
      ++out.files;
      out.bytes += inode.attributes.stored;
      return {};
    }));
  }
  return out;
}

}  // namespace cairn::tree
