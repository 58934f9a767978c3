// A small store that contains every structure of the format, what each byte of it is, and what must hold when one rots.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "cairn/store.h"
#include "io/sim_env.h"

namespace cairn::crash {

using Values = std::map<Bytes, Bytes>;  // by key
using Keys = std::set<Bytes>;

// Bytes of a segment that hold one record.
struct RecordSpan {
  uint64_t begin = 0, end = 0;  // bytes
  Bytes key;
  bool newest = false;  // the value that is read under its key is this one
  uint64_t commit = 0;  // where its commit begins; unsealed segments
  uint64_t batch = 0;   // the number of its batch in the segment
};

struct RotFile {
  std::string path;
  uint64_t size = 0;
  std::vector<RecordSpan> records;  // what lies between them can be made again, or is padding
  // A damage before this offset is found. Not so in what holds nothing: a file that the next open removes, or writes
  // without a look, and the part of an unsealed segment that a crash may have torn.
  uint64_t found_until = 0;
  uint64_t index_from = UINT64_MAX;  // bytes from here on are entries of the index
  bool unsealed = false;

  // Keys that may be lost if bytes begin..end-1 are; with their whole batches, if the index of the file is lost as well.
  [[nodiscard]] Keys lost(uint64_t begin, uint64_t end, bool batches = false) const;
};

struct RotWorld {
  std::unique_ptr<io::SimEnv> env;
  std::vector<RotFile> files;
  Values values;                                   // of every key, the store's own included
  std::vector<std::unique_ptr<io::SimEnv>> older;  // the same store at earlier times
};

// Cleanly closed: log segments in and outside of runs, a compacted one, extents, tables, both copies of the liveness map,
// a retired id with its file, and records raw and compressed, small and large, puts and erases.
RotWorld closed_store(const char* compression);
// The same, killed: also an open segment of which some commits are known to be durable, and a prepared one.
RotWorld killed_store(const char* compression);

// Which places are damaged: each step-th, from the first on. `usual` steps, or all places if CAIRNFS_ROT is `all`; `N` in it are
// N steps, and `N:FIRST` says where they begin, so that several processes share the work.
struct RotShare {
  uint64_t step = 1;
  uint64_t first = 0;  // less than `step`
};
RotShare rot_share(uint64_t usual);

// What rot must leave. run() adds a gtest failure for each promise that does not hold.
struct RotCheck {
  const RotWorld& world;
  std::string file;         // that was damaged: what is said of it must name it
  Keys lost = {};           // reading these may be an error
  bool must_find = true;    // fsck --scrub reports something
  bool index = false;       // a part of the index is damaged: until it is made again, any key may be an error
  bool unreadable = false;  // the damage is a sector that cannot be read: what needs it is an I/O error
  bool whole = false;       // so much is damaged that a rebuild cannot know which keys it lost: they may be forgotten
  bool may_forget = false;  // lost keys may read as an older version, or as absent
  bool writes = false;      // also opens it for writing, and writes
  bool rebuild = false;     // also makes the index anew, and reads again

  void run(io::SimEnv& damaged) const;

 private:
  void check_fsck(io::SimEnv& env) const;
  void check_reads(io::SimEnv& env, bool after_rebuild) const;
  void check_values(const Store& store, bool after_rebuild) const;
  void check_writes(io::SimEnv& env) const;
};

}  // namespace cairn::crash
