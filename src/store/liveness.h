// Which records are dead: one bit for each record of each segment.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "base/mutex.h"
#include "cairn/result.h"
#include "store/segment_set.h"

namespace cairn::store {

// Bits of one segment, by ordinal: the position of a record among those of its segment, in order of sequence numbers.
struct SegmentLiveness {
  uint64_t entries = 0;
  uint64_t dead = 0;        // bits set
  uint64_t dead_bytes = 0;  // record_size() of the dead
  std::vector<uint64_t> bits;
  bool changed = false;  // since it was last taken for the map
};

// So many records, and the sum of their record_size().
struct RecordTally {
  uint64_t records = 0, bytes = 0;
  void add(uint64_t record_bytes) { ++records, bytes += record_bytes; }
};

// The liveness map in memory (design §4.4). Setting a bit twice is harmless, and bits are never taken back: a record
// that is dead stays dead. Segments it never heard of are all live. What a bit says may lag behind the truth, never run
// ahead of it: kills are done for what is in sealed, proven segments only.
//
// Thread-safe: maintenance writes, statistics read. Memory: a bit for each record of segments of which anything is
// dead.
class Liveness {
 public:
  // True if the bit was not set, and is now. `record_bytes` is record_size() of the record. An ordinal that the segment
  // does not have is damage elsewhere, and nothing happens.
  bool kill(const Segment& segment, uint64_t ordinal, uint64_t record_bytes) EXCLUDES(mu_);
  [[nodiscard]] bool is_dead(SegmentId id, uint64_t ordinal) const EXCLUDES(mu_);
  [[nodiscard]] RecordTally dead(SegmentId id) const EXCLUDES(mu_);
  // Sum of record_size(), bytes. Of an extent the whole file is alive as long as its pointer is.
  [[nodiscard]] uint64_t live_bytes(const SegmentSet& segments) const EXCLUDES(mu_);
  // Erases have no bits: below a sequence number all of them are garbage. This says what that is worth, 0 if nobody has
  // counted.
  void set_erases(SegmentId id, RecordTally erases) EXCLUDES(mu_);
  [[nodiscard]] RecordTally erases(SegmentId id) const EXCLUDES(mu_);
  // The segment's file is durably gone. Its id is not used again while the manifest may name it.
  void forget(SegmentId id) EXCLUDES(mu_);
  // Ids of segments whose bits changed since the last call.
  std::vector<SegmentId> take_changed() EXCLUDES(mu_);
  // They could not be written: the next call gives them again.
  void give_back_changed(const std::vector<SegmentId>& ids) EXCLUDES(mu_);
  // The value of a map record, and back (adds the bits to what is known). kCorrupt, also if it is not about `entries` records.
  std::optional<Bytes> encode(SegmentId id) const EXCLUDES(mu_);
  Result<void> load(SegmentId id, uint64_t entries, ByteView value) EXCLUDES(mu_);

 private:
  mutable Mutex mu_;  // a leaf
  std::map<SegmentId, SegmentLiveness> segments_ GUARDED_BY(mu_);
  std::map<SegmentId, RecordTally> erases_ GUARDED_BY(mu_);  // where somebody has counted them
};

// Finds ordinals. For a whole log segment that is arithmetic; for a compacted or damaged one the sorted sequence numbers are read from the footer, and
// kept for the few segments asked for last. Not thread-safe.
class Ordinals {
 public:
  // kNotFound if the segment has no record of that number; what opening the footer says. O(1), or O(log entries) once
  // the footer was read.
  Result<uint64_t> of(const Segment& segment, SeqNo seq);

 private:
  // 8 bytes for each record, so only a few are kept; a kill step goes through one segment after the other.
  struct Known {
    SegmentId id;
    std::vector<SeqNo> sequence;
  };
  std::vector<Known> known_;  // most recently used last
};

// Keys of the map in the log, all under inode 0. FORMAT.md, "Liveness map".
Bytes liveness_key(unsigned copy, SegmentId id);
Bytes liveness_prefix(unsigned copy);
std::optional<SegmentId> parse_liveness_key(ByteView key);
Bytes liveness_header_key();
// Whether the key is one of these. Nobody else may write it, and scans pass it over.
bool is_liveness_key(ByteView key);

// What the map covers.
struct LivenessHeader {
  SeqNo through;                   // kills by records up to here are in the bitmaps
  SeqNo twice_through;             // ... are in both copies
  std::vector<SegmentId> retired;  // replaced and perhaps still there
};
// Written after all bitmaps it speaks for: half a map is never believed. Decoding gives kCorrupt.
Bytes encode_liveness_header(const LivenessHeader& header);
Result<LivenessHeader> decode_liveness_header(ByteView value);

}  // namespace cairn::store
