// Checking a store without mounting it. It needs nothing but the segments to check, or to rebuild, everything else.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "cairn/result.h"

namespace cairn {

namespace io {
class Env;
}

// Without scrub every header, footer, record header and index block is checked; values only where they prove what else
// is there.
struct FsckOptions {
  bool scrub = false;                                // also verify every value's checksum
  bool rebuild_index = false;                        // make manifest and tables anew from superblock and segments
  std::function<void(const std::string&)> progress;  // one line per pass; may be empty
};

// One thing that is wrong. Names and keys in it come from the disk and are escaped: safe to print.
struct FsckFinding {
  int pass = 0;           // 1..4
  std::string file;       // in the store, for example "segments/0000000000000003.seg"; empty: the tree
  std::string structure;  // "segment header", "record", "commit mark", "footer", "table block", "inode", ...
  uint64_t offset = 0;    // bytes into `file`
  std::string message;    // one line, escaped
  std::vector<std::string> affected;  // paths (escaped) of files that lose data by it
  bool rebuildable = false;           // `fsck --rebuild-index` mends it without loss
};

// No findings: everything that was looked at is as it was written. The counts are of what was found, also in a damaged
// store.
struct FsckReport {
  std::vector<FsckFinding> findings;
  // The index was made anew before the passes ran; what they report is the state after that.
  bool rebuilt = false;
  // Summary
  std::string uuid, mode;
  uint64_t segments = 0, records = 0, commits = 0, tables = 0;
  uint64_t inodes = 0, directories = 0, files = 0, symlinks = 0, others = 0, orphans = 0;
  uint64_t content_bytes = 0;   // logical bytes of regular files
  uint64_t stored_bytes = 0;    // allocated in the store directory
  uint64_t verified_bytes = 0;  // value bytes whose checksum was computed
};

// Checks the store at `path`: pass 1 superblock, headers, footers, trailers · 2 records (all values with `scrub`) · 3 index
// against segments, counters · 4 the tree. Writes nothing but the lock file, unless rebuild_index is set. Survives any
// bytes at all: memory is bounded by the largest segment and by a few dozen bytes for each inode, time by the bytes
// that are there. Holds the store's lock.
// Errors are those that keep it from checking: kBusy (mounted: says by whom), kNotFound, kInvalid (not a store),
// kUnsupported (newer format), kIo. Damage is in the report, not an error.
// A store with damage is still checked to the end, as far as one pass does not need what another has found missing: it
// says so then.
Result<FsckReport> fsck(const std::filesystem::path& path, const FsckOptions& options);
Result<FsckReport> fsck(io::Env& env, const std::string& path, const FsckOptions& options);

}  // namespace cairn
