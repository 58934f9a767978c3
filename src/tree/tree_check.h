// The parts of pass 4: first every inode by itself, then what they say about each other.
//
// One pass over all keys in order, which are those of one inode after the other, so that of each inode only its group
// is in memory; and one over all entries. What a group cannot decide alone is remembered in CheckedInode. No recursion,
// whatever the tree looks like.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_set>
#include <vector>

#include "cairn/fsck.h"
#include "cairn/result.h"
#include "cairn/store.h"
#include "format/tree_format.h"
#include "tree/fsck_tree.h"

namespace cairn::tree {

// What has to be remembered of an inode while the others are read. 48 bytes.
struct CheckedInode {
  Ino ino = 0;
  Ino parent = 0;
  uint64_t place = 0;  // of parent and name, see place_hash(); files with one name
  uint32_t links = 0;
  uint32_t names = 0;  // entries that lead here
  uint32_t subdirectories = 0;
  uint32_t type = 0;  // S_IFMT bits
  // kWalking only within walk(): meeting it again means a circle.
  enum class Way : uint8_t { kUnknown, kWalking, kRoot, kNowhere };
  Way way = Way::kUnknown;  // directories: where the parents lead
};

// Not thread-safe; for one run. The store and `find` outlive it. Everything in the store may be wrong: what does not
// decode is a finding, and numbers are only compared, never used as sizes.
class TreeCheck {
 public:
  TreeCheck(const Store& store, const std::function<void(FsckFinding)>& find) : store_(store), find_(find) {}
  // Errors are those of the device; damage is told to `find`.
  Result<TreeReport> run();

 private:
  // Everything under one inode number, while its keys go by. They come in the order A, D, E, L, P, X.
  struct Group {
    Ino ino = 0;
    bool has_attributes = false;  // decoded
    bool bad_attributes = false;  // there, but reported already
    format::Attributes attributes;
    uint64_t keys = 0;
    uint64_t stored = 0;          // bytes of the chunks below sweep_from
    uint64_t chunk = UINT64_MAX;  // the one whose keys are going by
    uint64_t chunk_length = 0;    // bytes, with its patches so far
    uint8_t patches = 0;          // of it, so far
    uint64_t entries = 0, listings = 0, back_links = 0, xattrs = 0;
    uint64_t entry_sum = 0, listing_sum = 0;  // of hashes: equal if both say the same
    bool bad_value = false;                   // one could not be read: sums and counts say nothing
  };

  // tree_check.cc: every inode by itself
  // Fills inodes_ and the lists.
  Result<void> read_inodes();
  // Noted, to be compared once all inodes are known.
  void read_list_key(const format::TreeKey& key);
  void read_eviction_state(const format::TreeKey& key, const Cursor& cursor);
  // One key of the group; those of chunks, entries and listings have readers of their own.
  void read_key(Group& group, const format::TreeKey& key, const Cursor& cursor);
  void read_attributes(Group& group, const Cursor& cursor);
  void read_chunk(Group& group, const format::TreeKey& key, const Cursor& cursor);
  void read_patch(Group& group, const format::TreeKey& key, const Cursor& cursor);
  void finish_chunk(Group& group);
  void read_name(Group& group, const format::TreeKey& key, const Cursor& cursor);
  // All keys of the inode have gone by: sums and counts against its attributes.
  void finish(Group& group);
  void finish_file(const Group& group);
  void finish_directory(const Group& group);
  // O(entries) lookups; only where the sums differ.
  void compare_listing(Ino directory);
  void finish_links(const Group& group);
  void count(const format::Attributes& attributes);

  // tree_check_names.cc: what they say about each other
  Result<void> read_names();
  // One name: whether what it leads to agrees.
  void check_entry(CheckedInode& directory, ByteView name, const format::Entry& entry);
  void check_links(const CheckedInode& inode);
  void check_lists();
  // O(directories): each is walked over once, as the way of its parents is remembered.
  void check_ways();
  void walk(CheckedInode& start);
  // Null if there is none that could be read.
  CheckedInode* inode(Ino ino);

  // All end here. Messages are escaped; paths are looked up only where there is something to report.
  void report(std::string structure, std::string message, std::vector<std::string> affected);
  void report_inode(std::string structure, std::string message, Ino ino);
  void report_unreadable(const char* what, ByteView key, const Error& error);

  const Store& store_;
  const std::function<void(FsckFinding)>& find_;
  TreeReport report_;
  // All that grows with the store: 48 bytes for each inode, and the few that are listed.
  std::vector<CheckedInode> inodes_;  // by ascending number
  std::unordered_set<Ino> orphans_;   // that the list names
  std::unordered_set<Ino> sweeps_;
  std::unordered_set<Ino> units_;
  std::unordered_set<Ino> unreadable_;  // inodes whose attributes are there, but damaged
};

// Of a name in a directory: two that differ have different hashes, but for accidents that matter to nobody.
uint64_t place_hash(Ino parent, ByteView name);

}  // namespace cairn::tree
