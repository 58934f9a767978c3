// Pins and groups: what user.cairn.pin and user.cairn.group on a file or directory mean to eviction.
#pragma once

#include <cstdint>

#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/evict.h"
#include "tree/tree.h"

namespace cairn::tree {

inline constexpr ByteView kPinXattr = "user.cairn.pin";      // of a file or directory: it, and all below it, stays
inline constexpr ByteView kGroupXattr = "user.cairn.group";  // of a directory: all below it goes together, or stays

// Either of the two. What has one of them is listed under inode 0 (key 'N'), so that it can be found without a walk.
bool is_unit_xattr(ByteView name);

// What an inode belongs to. A value that is empty or "0" means no.
struct Unit {
  bool pinned = false;
  Ino group = 0;  // the outermost directory with kGroupXattr above it, or itself; 0: none
};
// Follows all its names up to the root. Holds one inode's mutex at a time.
Result<Unit> unit_of(Tree& tree, Ino ino);

// Takes a directory away with all that is below it, unless something there is open, pinned, or young: its name in one batch,
// so that the subtree is gone at once, for everybody and after any crash; the sweeper erases the rest.
Result<Eviction> evict_group(Tree& tree, Ino directory, const EvictRules& rules);

// Of all that is pinned.
struct Pinned {
  uint64_t files = 0;
  uint64_t bytes = 0;  // logical
};
Result<Pinned> count_pinned(Tree& tree);

}  // namespace cairn::tree
