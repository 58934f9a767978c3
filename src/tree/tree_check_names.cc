// Pass 4, second part: names, link counts, and the way to the root.
#include <algorithm>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "tree/tree_check.h"

namespace cairn::tree {

CheckedInode* TreeCheck::inode(Ino ino) {
  // Sorted, as they were read in the order of keys.
  const auto found = std::lower_bound(inodes_.begin(), inodes_.end(), ino,
                                      [](const CheckedInode& i, Ino number) { return i.ino < number; });
  return found != inodes_.end() && found->ino == ino ? &*found : nullptr;
}

Result<void> TreeCheck::read_names() {
  // Orphans too: what an evicted group still holds has names there, and counts them.
  for (CheckedInode& directory : inodes_) {
    if (directory.type != S_IFDIR) continue;
    Cursor cursor = store_.scan(format::kind_prefix(directory.ino, format::KeyKind::kEntry));
    for (; cursor.valid(); cursor.next()) {
      const auto key = format::decode_tree_key(cursor.key());
      const auto value = cursor.value();
      if (!key || !value) continue;  // reported when the inodes were read
      const auto entry = format::decode_entry(value->view());
      if (entry) check_entry(directory, key->name, *entry);
    }
    const auto status = cursor.status();
    if (!status && status.error().code != ErrorCode::kCorrupt) return status;
  }
  return {};
}

void TreeCheck::check_entry(CheckedInode& directory, ByteView name, const format::Entry& entry) {
  const auto bad = [&](const char* what) {
    report("entry", fmt::format("a name of inode {}: {}", entry.ino, what),
           affected_paths(store_, format::entry_key(directory.ino, name)));
  };
  CheckedInode* const child = inode(entry.ino);
  if (child == nullptr) {
    if (!unreadable_.contains(entry.ino)) bad("there is no such inode");
    return;
  }
  ++child->names;
  if (child->type != entry.type) bad("it is of another type");
  if (child->type == S_IFDIR) {
    ++directory.subdirectories;
    if (child->parent != directory.ino) return bad("the directory says that it is elsewhere");
  }
  if (child->type == S_IFDIR || child->links == 1) {
    // By a hash: keeping every name would take as much memory as the index.
    if (child->place != place_hash(directory.ino, name)) bad("it knows itself by another name");
  } else if (child->links > 1) {
    const auto link = store_.value_size(format::back_link_key(entry.ino, directory.ino, name));
    if (!link) bad("it has no back link");
  }
}

void TreeCheck::check_links(const CheckedInode& i) {
  if (i.links == 0) {
    if (i.names != 0) report_inode("inode", "a name leads to an inode that counts as removed", i.ino);
    return;
  }
  if (i.type != S_IFDIR) {
    if (i.names != i.links) report_inode("inode", fmt::format("{} links, but {} names", i.links, i.names), i.ino);
    return;
  }
  // No entry leads to the root.
  const uint32_t expected = i.ino == kRootIno ? 0 : 1;
  if (i.names != expected) report_inode("inode", fmt::format("a directory with {} names", i.names), i.ino);
  if (i.links != 2 + i.subdirectories) {
    report_inode("inode", fmt::format("a directory with {} links and {} subdirectories", i.links, i.subdirectories),
                 i.ino);
  }
}

void TreeCheck::check_lists() {
  for (const CheckedInode& i : inodes_) {
    const bool listed = orphans_.erase(i.ino) != 0;
    if (listed && i.links != 0) report_inode("inode", "listed as an orphan, but it has names", i.ino);
    if (!listed && i.links == 0) report_inode("inode", "without a name, and not listed as an orphan", i.ino);
    if (i.links == 0) sweeps_.erase(i.ino);
    units_.erase(i.ino);
  }
  // Listed or not, nobody can tell whether rightly.
  for (const Ino ino : unreadable_) {
    orphans_.erase(ino);
    sweeps_.erase(ino);
    units_.erase(ino);
  }
  for (const Ino ino : orphans_) report("orphan list", fmt::format("inode {} does not exist", ino), {});
  for (const Ino ino : units_) report("unit list", fmt::format("inode {} does not exist", ino), {});
  for (const Ino ino : sweeps_) report("sweep list", fmt::format("inode {} does not exist", ino), {});
}

// Every directory's parents must lead to the root. A way that ends elsewhere is reported where it ends, by its missing
// name; one that never ends is reported here, once for each circle.
void TreeCheck::check_ways() {
  CheckedInode* const root = inode(kRootIno);
  if (root == nullptr || root->type != S_IFDIR) {
    if (!inodes_.empty()) report("inode", "the root directory is missing", {"/"});
    return;
  }
  root->way = CheckedInode::Way::kRoot;
  for (CheckedInode& i : inodes_) {
    if (i.type == S_IFDIR && i.links != 0) walk(i);
  }
}

void TreeCheck::walk(CheckedInode& start) {
  using Way = CheckedInode::Way;
  std::vector<CheckedInode*> path;
  Way end = Way::kNowhere;
  for (CheckedInode* i = &start;; i = inode(i->parent)) {
    if (i == nullptr) break;
    if (i->way == Way::kWalking) {
      DCHECK(!path.empty());
      report_inode("inode", "directories form a circle, cut off from the root", i->ino);
      break;
    }
    if (i->way != Way::kUnknown) {
      end = i->way;
      break;
    }
    i->way = Way::kWalking;
    path.push_back(i);
  }
  // All of them at once: each directory is walked over once, however deep the tree.
  for (CheckedInode* i : path) i->way = end;
}

}  // namespace cairn::tree
