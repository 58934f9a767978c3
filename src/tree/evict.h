// Taking files and directories out of the tree to make room: one at a time, whole, and only if nobody uses them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/tree.h"

namespace cairn::tree {

// What an eviction has to respect. Looked at again under the locks, so nothing slips in between.
struct EvictRules {
  bool open_too = false;      // it loses its names; who has it open keeps it until the close
  Time young_after{};         // what was made or changed at this time or later stays; default: nothing is young
  bool young_too = false;     // not even that stays
  bool with_entries = false;  // a directory goes with all that is below it: see evict_group()
};

enum class EvictOutcome : uint8_t {
  kEvicted,
  kGone,       // there is no such inode (any more)
  kOpen,       // somebody has it open
  kYoung,      // made after rules.young_after: so is every inode with a greater number
  kChanged,    // changed after rules.young_after
  kDirectory,  // not empty, or the root
  kPinned,     // it or something below it
};

struct Eviction {
  EvictOutcome outcome = EvictOutcome::kGone;
  bool directory = false;
  // Sums for the statistics; bytes and last_use as they were before the first name went.
  uint64_t files = 1;           // that went
  uint64_t bytes = 0;           // of content, logical
  Time last_use;                // as far as its times tell
  std::vector<LostName> names;  // that it had; for whoever told the kernel about them
  std::vector<Ino> emptied;     // directories that have no entry left
};

// The caller of all of these holds no mutex and no operation: they make one of kind kFree for each batch.

// Whether a file is too young to go.
bool is_young(const format::Attributes& attributes, const EvictRules& rules);
Time later(const Time& a, const Time& b);

// Takes all names of a file (or anything that is no directory) and erases it: in one batch, together with its last name. A
// file with names in more than three directories loses them in several batches; one with many chunks is swept
// afterwards. Errors: those of reading its names (kCorrupt: fsck finds it), and of the store; what was not evicted then
// is as it was.
Result<Eviction> evict_file(Tree& tree, Ino ino, const EvictRules& rules);
// Removes a directory that is empty. What counts as use of it: that it was made, listed, or looked into.
Result<Eviction> evict_directory(Tree& tree, Ino ino, const EvictRules& rules);

}  // namespace cairn::tree
