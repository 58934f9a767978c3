// Merging levels of the index: which ones, and how.
//
// A merge takes neighbours: the oldest footers that are not merged yet, or runs that follow one another. So every level
// holds, for each key, only versions that are newer than those in the levels below it, and the first hit is the newest.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cairn/result.h"
#include "index/iterator.h"
#include "index/manifest.h"
#include "io/env.h"

namespace cairn::index {

inline constexpr uint64_t kMaxTableBytes = 8 << 20;       // of a table file of a run
inline constexpr uint64_t kMaxMergeStepBytes = 64 << 20;  // that one step writes: the temporary room of a merge
inline constexpr size_t kMaxRuns = 12;                    // more than that are merged, whatever their sizes
inline constexpr size_t kMergeWidth = 4;                  // runs that are merged, at least

struct MergeOptions {
  // Nothing older lies below the inputs: erases have nothing left to hide and are dropped.
  bool bottom = false;
  uint64_t max_table_bytes = kMaxTableBytes;
  uint64_t max_step_bytes = kMaxMergeStepBytes;
  std::function<TableId()> next_id;  // a new one each time
  // table_file_name() in index/, which must not exist. `size` bytes will be written, and the file cut to that.
  std::function<Result<std::unique_ptr<io::File>>(TableId, uint64_t size)> create;
  std::function<uint64_t()> random;  // Env::random(): salts
};

struct MergeOutput {
  // Synced and closed; the directory is not synced. Key ranges ascending and disjoint. Empty if everything was dropped.
  std::vector<ManifestTable> tables;
  // Where the next step goes on: every entry with a smaller key is in `tables` (or was dropped). Nothing: it is done.
  std::optional<Bytes> resume;
};

// One step of a merge: reads `merged` from key `from` on and writes tables, until the end or until max_step_bytes are
// written. Of each key only the newest version is kept: a snapshot that needs an older one holds the tables it came
// from. All versions of a key end in one table, and no key is in two.
// Errors: what reading, creating, writing or syncing said. Files created until then are left; nothing names them, so
// the caller unlinks them now or at the next open.
Result<MergeOutput> merge_step(Iterator& merged, ByteView from, const MergeOptions& options);

// What is left of an input run after a step that will resume at `clip`: tables that lie before it are gone, the one
// that straddles it is clipped. Without tables the run is used up.
ManifestRun clip_run(ManifestRun run, ByteView clip);

// Runs first .. first + count - 1, counted from the newest.
struct MergePick {
  size_t first = 0;
  size_t count = 0;
  [[nodiscard]] bool bottom(size_t runs) const { return first + count == runs; }
  friend bool operator==(const MergePick&, const MergePick&) = default;
};

// Which runs to merge next, by their sizes in bytes, newest first. Size-tiered: at least kMergeWidth neighbours of
// which none is larger than all the others together; the oldest such group, and as many as belong to it. With more than
// max_runs and no such group: the kMergeWidth (or more, so that max_runs remain) neighbours that cost least.
//
// An entry is then written log4(n) times for n flushes: 6 to 7.6 times for 8,192 flushes of even and of very uneven
// sizes, with at most 12 runs. "All within a factor of four of each other" instead of the sum leaves small runs stuck
// between large ones, is then forced all the time, and writes each entry 44 to 55 times.
std::optional<MergePick> pick_merge(std::span<const uint64_t> run_bytes, size_t max_runs = kMaxRuns);

}  // namespace cairn::index
