// Attributes and extended attributes of inodes.
#pragma once

#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/tree.h"

namespace cairn::tree {

// As the functions of FileSystem of the same names. All take and give back locks and an operation of their own: the
// caller holds neither an inode's mutex nor an operation.
Result<Attr> getattr(Tree& tree, Ino ino);
Result<Attr> setattr(Tree& tree, Ino ino, const AttrChange& change);
Result<Bytes> readlink(Tree& tree, Ino ino);
Result<Ino> parent_of(Tree& tree, Ino dir);

// Values may be large, so they are read from the store each time; whether there are any is in the attributes.
Result<Bytes> get_xattr(Tree& tree, Ino ino, ByteView name);
Result<void> set_xattr(Tree& tree, Ino ino, ByteView name, ByteView value, XattrMode mode);
Result<void> remove_xattr(Tree& tree, Ino ino, ByteView name);
Result<std::vector<std::string>> list_xattrs(Tree& tree, Ino ino);

}  // namespace cairn::tree
