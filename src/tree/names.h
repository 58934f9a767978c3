// Directories: finding, making, linking, moving and removing names.
#pragma once

#include <cstdint>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/edit.h"
#include "tree/tree.h"

namespace cairn::tree {

// As the functions of FileSystem of the same names.
Result<Attr> lookup(Tree& tree, Ino parent, ByteView name);
Result<Attr> link(Tree& tree, Ino ino, Ino new_parent, ByteView new_name);
Result<void> unlink(Tree& tree, Ino parent, ByteView name);
Result<void> rmdir(Tree& tree, Ino parent, ByteView name);
Result<void> rename(Tree& tree, Ino parent, ByteView name, Ino new_parent, ByteView new_name, uint32_t flags,
                    const Caller& caller);
Result<std::vector<DirEntry>> read_dir(Tree& tree, Ino dir, uint64_t cookie, size_t max, std::vector<Attr>* attrs);

// A node that is to be made. mknod, mkdir, symlink and create differ in nothing else.
struct NewNode {
  uint32_t mode = 0;  // type and permissions
  uint64_t rdev = 0;
  ByteView target;    // symlinks
  bool open = false;  // count an open as well as the lookup
};
// An empty name makes a regular file without one (O_TMPFILE).
Result<Attr> make_node(Tree& tree, Ino parent, ByteView name, const NewNode& node, const Caller& caller);
// The root of a new tree.
Result<void> make_root(Tree& tree);

// ---- Parts that names.cc, nodes.cc and rename.cc share ----

// Under `name` in `directory`, or kNotFound.
Result<format::Entry> find_entry(const Tree& tree, const Inode& directory, ByteView name)
    REQUIRES_SHARED(directory.mutex);
// The same, taking the lock for it; checks that it is a directory. `changes` gets its names_changed, also if there is no such
// name: who finds it the same when it has the lock again need not look again.
Result<format::Entry> peek_entry(Tree& tree, Inode& directory, ByteView name, uint64_t* changes = nullptr)
    EXCLUDES(directory.mutex);

// What one name costs in the log at most: its entry, listing and back link, put or erased, bytes.
uint64_t name_cost(uint64_t name_size);
// What taking an inode's last name costs at most, bytes; more room is used to erase it there and then.
uint64_t drop_cost();

// Puts and erases the two records of a name and counts it in the directory's draft.
void add_name(Edit& edit, Inode& directory, ByteView name, const format::Entry& entry) REQUIRES(directory.mutex);
void remove_name(Edit& edit, Inode& directory, ByteView name, const format::Entry& entry) REQUIRES(directory.mutex);

// One name less for `inode`, whose entry was at `name` in `parent`: with its last one it becomes an orphan, or is erased at
// once if it is small and nobody has it open.
Result<void> drop_link(Tree& tree, Edit& edit, Inode& inode, Ino parent, ByteView name) REQUIRES(inode.mutex);
// To be called once the edit is committed: what drop_link() left to do.
void after_drop(Tree& tree, Inode& inode) REQUIRES(inode.mutex);
// The same for what eviction took away: the kernel may know it still, and is told kStale unless it is open.
void after_eviction(Tree& tree, Inode& inode) REQUIRES(inode.mutex);

// BSD's rule for new inodes, which a setgid directory asks for.
void inherit_group(format::Attributes& a, const format::Attributes& directory);

// The back links in inode.attributes and under 'P' follow a name from `parent`/`name` to `new_parent`/`new_name`.
void move_back_link(Edit& edit, Inode& inode, Ino parent, ByteView name, Ino new_parent, ByteView new_name)
    REQUIRES(inode.mutex);

}  // namespace cairn::tree
