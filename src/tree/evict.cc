#include "tree/evict.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "tree/edit.h"
#include "tree/names.h"

namespace cairn::tree {
namespace {

constexpr size_t kMaxDirectories = 3;  // that are locked beside the inode
static_assert(kMaxDirectories + 1 <= 4, "InodeLocks holds four");
constexpr uint64_t kEraseRoom = 64;  // keys of a file that is erased with its last name

struct Name {
  Ino parent = 0;
  Bytes name;
  friend bool operator==(const Name&, const Name&) = default;
};

// Names that go in one batch, and their directories: each once, the rest null.
struct Victim {
  InodeRef inode;
  std::vector<Name> names;
  std::array<InodeRef, kMaxDirectories> directories;

  [[nodiscard]] Inode& directory(Ino ino) const {
    for (const InodeRef& d : directories) {
      if (d && d->ino == ino) return *d;
    }
    CHECK(false);
  }
};

// Whole times, with nanoseconds: files that a build makes within a second have an order too.
bool not_before(const Time& time, const Time& bound) {
  return std::tie(time.seconds, time.nanoseconds) >= std::tie(bound.seconds, bound.nanoseconds);
}

Result<std::vector<Name>> names_of(const Tree& tree, const Inode& inode) REQUIRES_SHARED(inode.mutex) {
  std::vector<Name> names;
  const format::Attributes& a = inode.attributes;
  // Already without a name: nothing to take.
  if (a.links == 0) return names;
  if (a.parent != 0) {
    names.push_back({.parent = a.parent, .name = a.name});
    return names;
  }
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kBackLink));
  for (; cursor.valid(); cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    names.push_back({.parent = key.number, .name = Bytes(key.name)});
  }
  TRY(cursor.status());
  if (names.empty()) return fail(ErrorCode::kCorrupt, "an inode with links has no name");
  return names;
}

// As many of the names, from the front, as lie in directories that can be locked together.
void choose(Tree& tree, std::vector<Name> names, Victim& victim) {
  victim.directories = {};
  victim.names.clear();
  for (Name& name : names) {
    auto* const place = std::find_if(victim.directories.begin(), victim.directories.end(),
                                     [&](const InodeRef& d) { return !d || d->ino == name.parent; });
    // A fourth directory: its names wait for the next batch.
    if (place == victim.directories.end()) return;
    if (!*place) *place = tree.inodes.get(name.parent);
    victim.names.push_back(std::move(name));
  }
}

bool is_bounded(const EvictRules& rules) {
  return !rules.young_too && (rules.young_after.seconds != 0 || rules.young_after.nanoseconds != 0);
}

// Why it has to stay; kEvicted: it need not.
EvictOutcome judge(const Tree& tree, const Inode& inode, const EvictRules& rules) REQUIRES_SHARED(inode.mutex) {
  // In this order: what is certain to stay is told apart first, and "young" ends the walk, as all greater numbers are
  // younger still.
  if (!inode.loaded || inode.life != Life::kAlive || inode.attributes.links == 0) return EvictOutcome::kGone;
  if (!rules.open_too && tree.inodes.opens(inode) != 0) return EvictOutcome::kOpen;
  const format::Attributes& a = inode.attributes;
  const bool bounded = is_bounded(rules);
  if (bounded && not_before(a.btime, rules.young_after)) return EvictOutcome::kYoung;
  if (!a.is_directory() && bounded && not_before(a.ctime, rules.young_after)) return EvictOutcome::kChanged;
  if (!a.is_directory()) return EvictOutcome::kEvicted;
  if (inode.ino == kRootIno || (a.size != 0 && !rules.with_entries)) return EvictOutcome::kDirectory;
  if (bounded && inode.used_s >= rules.young_after.seconds) return EvictOutcome::kChanged;
  return EvictOutcome::kEvicted;
}

uint64_t room_for(const Victim& victim) {
  uint64_t room = drop_cost() + attributes_cost_max(kMaxSymlinkSize) + kEraseRoom * log_cost(format::kChunkKeySize, 0);
  for (const Name& name : victim.names) room += name_cost(name.name.size()) + name_cost(kMaxNameSize);
  return room + kMaxDirectories * attributes_cost_max();
}

Result<void> drop_names(Tree& tree, Edit& edit, const Victim& victim) NO_THREAD_SAFETY_ANALYSIS {
  for (const Name& name : victim.names) {
    Inode& directory = victim.directory(name.parent);
    TRY(require_directory(directory));
    TRY_ASSIGN(const format::Entry entry, find_entry(tree, directory, name.name));
    if (entry.ino != victim.inode->ino) return fail(ErrorCode::kCorrupt, "a name leads to another inode");
    remove_name(edit, directory, name.name, entry);
    TRY(drop_link(tree, edit, *victim.inode, name.parent, name.name));
  }
  return edit.commit();
}

// The names are gone: what follows from it.
void record(Tree& tree, const Victim& victim, Eviction& eviction) NO_THREAD_SAFETY_ANALYSIS {
  Inode& inode = *victim.inode;
  // Only the kernel's own names are worth telling it about (fusefs/README.md, "Eviction").
  if (tree.inodes.lookups(inode) != 0) {
    for (const Name& name : victim.names) {
      eviction.names.push_back({.parent = name.parent, .name = name.name, .ino = inode.ino});
    }
  }
  for (const InodeRef& directory : victim.directories) {
    if (directory && directory->attributes.size == 0) eviction.emptied.push_back(directory->ino);
  }
  after_eviction(tree, inode);
}

// False: something changed meanwhile, look again.
Result<bool> evict_batch(Tree& tree, const Victim& victim, const EvictRules& rules,
                         Eviction& eviction) NO_THREAD_SAFETY_ANALYSIS {
  // kFree: making room must work on a store that has none.
  TRY_ASSIGN(auto edit, Edit::begin(tree, room_for(victim), Store::OperationKind::kFree));
  const InodeLocks locks(victim.directories[0].get(), victim.directories[1].get(), victim.directories[2].get(),
                         victim.inode.get());
  Inode& inode = *victim.inode;
  // Again, now that it is locked: somebody may have opened it.
  eviction.outcome = judge(tree, inode, rules);
  if (eviction.outcome != EvictOutcome::kEvicted) return true;
  TRY_ASSIGN(auto names, names_of(tree, inode));
  const bool all = names.size() == victim.names.size();
  names.resize(std::min(names.size(), victim.names.size()));
  // Renamed or linked since.
  if (names != victim.names) return false;
  const format::Attributes& a = inode.attributes;
  // Before drop_names(): after it the file has neither.
  if (eviction.names.empty()) {
    eviction.bytes = a.stored;
    eviction.last_use = later(later(a.atime, a.mtime), later(a.btime, a.ctime));
  }
  CHECK(!victim.names.empty());
  TRY(drop_names(tree, edit, victim));
  record(tree, victim, eviction);
  return all;
}

Result<Eviction> evict(Tree& tree, Ino ino, const EvictRules& rules, bool directory) {
  Eviction eviction;
  eviction.directory = directory;
  Victim victim;
  victim.inode = tree.inodes.get(ino);
  // Each round takes at least one name, or finds that somebody else changed one.
  for (bool done = false; !done;) {
    std::vector<Name> names;
    {
      const ReadLock lock(victim.inode->mutex);
      eviction.outcome = judge(tree, *victim.inode, rules);
      if (eviction.outcome == EvictOutcome::kEvicted && victim.inode->attributes.is_directory() != directory) {
        eviction.outcome = EvictOutcome::kDirectory;
      }
      if (eviction.outcome != EvictOutcome::kEvicted) return eviction;
      TRY_ASSIGN(names, names_of(tree, *victim.inode));
    }
    choose(tree, std::move(names), victim);
    TRY_ASSIGN(done, evict_batch(tree, victim, rules, eviction));
  }
  return eviction;
}

}  // namespace

bool is_young(const format::Attributes& a, const EvictRules& rules) {
  return is_bounded(rules) && (not_before(a.btime, rules.young_after) || not_before(a.ctime, rules.young_after));
}

Time later(const Time& a, const Time& b) { return not_before(a, b) ? a : b; }

Result<Eviction> evict_file(Tree& tree, Ino ino, const EvictRules& rules) { return evict(tree, ino, rules, false); }

Result<Eviction> evict_directory(Tree& tree, Ino ino, const EvictRules& rules) { return evict(tree, ino, rules, true); }

}  // namespace cairn::tree
