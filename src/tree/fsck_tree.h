// fsck, pass 4: whether the keys and values of a store make one tree.
#pragma once

#include <cstdint>
#include <functional>

#include "cairn/fsck.h"
#include "cairn/result.h"
#include "cairn/store.h"
#include "tree/paths.h"

namespace cairn::tree {

struct TreeReport {
  uint64_t inodes = 0, directories = 0, files = 0, symlinks = 0, others = 0;
  uint64_t orphans = 0;        // without a name; they are in none of the numbers above
  uint64_t content_bytes = 0;  // logical, of regular files
};

// Checks every key: attributes, chunks against sizes, entries against listings, names against link counts and parents, back
// links, extended attributes, the lists of orphans and sweeps; that every directory hangs below the root, without circles.
// `find` gets what is wrong, in the order in which it is found. Reads only; takes any bytes at all; about 50 bytes of memory
// for each inode. Errors are those of the device; an index that cannot be read to its end is a finding.
Result<TreeReport> check_tree(const Store& store, const std::function<void(FsckFinding)>& find);

}  // namespace cairn::tree
