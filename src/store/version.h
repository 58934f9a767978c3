// A version: everything a reader needs to find any key, at one moment. Immutable; readers hold it, so nothing vanishes under
// them. Levels, newest first: log segments not yet merged (memtable or footer), then runs.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "cache/chunk_cache.h"
#include "cairn/result.h"
#include "cairn/store.h"
#include "format/table.h"
#include "index/iterator.h"
#include "index/memtable.h"
#include "index/table.h"
#include "log/slab.h"
#include "store/segment_set.h"

namespace cairn::store {

// Nothing in a version changes once it is current but the memtable of the open level, which grows; who needs a moment
// takes a sequence number with it.

// One log segment as a level of the index. At least one of memtable and footer is there.
struct LogLevel {
  std::shared_ptr<const Segment> segment;
  std::shared_ptr<index::Memtable> memtable;   // until the slab's room is needed
  std::shared_ptr<log::Slab> slab;             // with the memtable, unless it was recovered
  std::shared_ptr<const index::Table> footer;  // once sealed
  [[nodiscard]] std::unique_ptr<index::Iterator> iterate(bool fill_cache) const;
};

// A table that is open, and what the manifest says of it: its clip is not in the file.
struct RunTable {
  index::ManifestTable meta;
  std::shared_ptr<const index::Table> table;
};
struct Run {
  std::vector<RunTable> tables;  // key ranges ascending, disjoint
};

// A run as one ordered sequence: its tables one after the other, without what was clipped. Holds the run.
std::unique_ptr<index::Iterator> iterate_run(std::shared_ptr<const Run> run, bool fill_cache);

// What find() gives: small values come with it, others are read by ValueReader.
struct FoundEntry {
  format::IndexEntry entry;
  std::shared_ptr<const void> pin;        // keeps entry.small alive
  std::shared_ptr<const log::Slab> slab;  // where the record's bytes still are, or null
};

struct Version {
  std::vector<LogLevel> log;                     // newest first; [0] is the open one (none when read-only)
  std::vector<std::shared_ptr<const Run>> runs;  // newest first
  std::shared_ptr<const SegmentSet> segments;    // sealed ones

  // The newest version of `key` with seq <= max_seq: a put, an erase, or nothing. The first level that has one ends the
  // search: merges take neighbours only, so what is below is older. kCorrupt, kIo: a level that cannot be read is never
  // skipped.
  Result<std::optional<FoundEntry>> find(ByteView key, SeqNo max_seq) const;
  // Every version of every key from all levels, merged. The version outlives the iterator.
  [[nodiscard]] std::unique_ptr<index::Iterator> iterate(bool fill_cache) const;
};

// Version::find() below one log segment, for many keys in ascending order: filters are fetched once and not for each key, and
// tables that end before a key are left behind. Not thread-safe. The version outlives it.
class OlderEntries {
 public:
  OlderEntries(const Version& version, SegmentId below);
  // Needs a key that is not below the one before.
  Result<std::optional<FoundEntry>> find(ByteView key);

 private:
  struct Footer {
    const LogLevel* level;
    index::Table::Filter filter;  // of a level without memtable
  };
  struct Tables {
    const Run* run;
    size_t at = 0;                               // the first table that does not end before the last key
    std::optional<index::Table::Filter> filter;  // its
  };
  static Result<std::optional<FoundEntry>> find_in(Tables& tables, ByteView key, uint64_t hash);

  std::vector<Footer> footers_;  // newest first, as in the version
  std::vector<Tables> runs_;
};

// One of several values that are wanted at once. The view is the caller's.
struct Lookup {
  ByteView key;
  FoundEntry found;
  ReadRange range;
};

// Turns what find() gave into the value, verified: small values as they are, others from slab, chunk cache or segment; where the
// place is out of date (the segment was compacted) the owner of the sequence number is asked. Thread-safe.
class ValueReader {
 public:
  ValueReader(std::shared_ptr<const SegmentFiles> files, size_t chunk_cache_bytes)
      : files_(std::move(files)), chunks_(chunk_cache_bytes) {}
  // Bytes [range.offset, range.offset + range.length), clipped to the value. Needs an entry that is no erase. kCorrupt
  // (counted), kIo, kOutOfMemory.
  Result<Value> read(const Version& version, ByteView key, const FoundEntry& found, ReadRange range);
  // read() of each, in their order; records that lie side by side in a segment come by one read of the disk.
  std::vector<Result<Value>> read_all(const Version& version, std::span<const Lookup> lookups);
  // Length of the value in bytes, without reading it (but for an extent's pointer).
  Result<uint64_t> size(const Version& version, ByteView key, const FoundEntry& found);
  [[nodiscard]] uint64_t corrupt_reads() const { return corrupt_reads_; }

 private:
  // As it lies in the slab or the file, not decompressed. Not verified where it comes from a slab: nobody else has
  // written there.
  Result<Value> stored(const Version& version, ByteView key, const FoundEntry& found);
  Result<Value> extent(const Version& version, ByteView key, const format::ExtentPointer& pointer, ReadRange range);
  Result<Value> whole(const Version& version, ByteView key, const FoundEntry& found, bool fill_cache);
  // Values of lookups whose records can be read by one call; nothing where read() has to see to it.
  std::vector<std::optional<Value>> together(const Segment& segment, std::span<const Lookup* const> lookups);

  const std::shared_ptr<const SegmentFiles> files_;
  // By sequence number, so it serves all versions.
  cache::ChunkCache chunks_;
  std::atomic<uint64_t> corrupt_reads_ = 0;
};

// The record of `key` and `seq` in `segment`, by its footer. kCorrupt if it is not there (it must be).
Result<format::IndexEntry> locate(const Segment& segment, ByteView key, SeqNo seq);

}  // namespace cairn::store
