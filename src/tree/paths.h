// From an inode, or any key of a store, back to the paths it belongs to. For reports: escaped, never to be opened.
#pragma once

#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/store.h"

namespace cairn::tree {

// All paths of an inode, from the root; "/" is the root itself. What cannot be followed up to the root begins with
// "(inode N)", and an inode without any name that can be read is just that. Never fails: damage makes it less precise.
std::vector<std::string> paths_of(const Store& store, Ino ino);
// The paths of the files that a record under `key` is a part of; none for the engine's own keys.
std::vector<std::string> affected_paths(const Store& store, ByteView key);

}  // namespace cairn::tree
