// fsck, passes 1 to 3: everything below the tree. And making the index anew from the segments.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "cairn/fsck.h"
#include "cairn/result.h"
#include "format/superblock.h"
#include "io/env.h"

namespace cairn::store {

// What a finding means for the tree: the key of a record that was damaged. Pass 4 turns it into paths.
struct DamagedKey {
  size_t finding = 0;  // index into FsckReport::findings
  Bytes key;
};

// What passes 1 to 3 found.
struct StoreCheck {
  FsckReport report;
  std::vector<DamagedKey> damaged_keys;
  bool can_open = false;    // superblock, manifest and tables are good enough for Store::open, so that pass 4 can go on
  bool index_read = false;  // pass 3 came to its end, so Store::open has to succeed
};

// Needs the store's lock to be held by the caller. Writes nothing. Errors are of the environment; damage is in the report.
Result<StoreCheck> check_store(io::Env& env, io::Directory& directory, const std::string& path,
                               const FsckOptions& options);

// Makes manifest and tables anew, from superblock and segments alone; footers that are damaged are written again. Nothing of the
// segments' content is changed or removed. The lock is held by the caller.
// kCorrupt if the superblock cannot be read, or no segment makes sense.
Result<void> rebuild_index(io::Env& env, io::Directory& directory, const std::string& path);

// Names and keys come from a disk that somebody else may have written: they could hold terminal codes, or look like a
// line of ours.
// For messages and reports: bytes that are no printable ASCII as \xNN.
std::string escaped(ByteView text);

}  // namespace cairn::store
