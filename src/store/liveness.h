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

// Setting a bit twice is harmless. Segments it never heard of are all live. Thread-safe.
class Liveness {
 public:
  // True if the bit was not set, and is now.
  bool kill(const Segment& segment, uint64_t ordinal, uint64_t record_bytes) EXCLUDES(mu_);
  [[nodiscard]] bool is_dead(SegmentId id, uint64_t ordinal) const EXCLUDES(mu_);
  [[nodiscard]] uint64_t dead_bytes(SegmentId id) const EXCLUDES(mu_);
  [[nodiscard]] uint64_t live_bytes(const SegmentSet& segments) const EXCLUDES(mu_);
  void set_erase_bytes(SegmentId id, uint64_t bytes) EXCLUDES(mu_);
  [[nodiscard]] uint64_t erase_bytes(SegmentId id) const EXCLUDES(mu_);
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
  std::map<SegmentId, uint64_t> erase_bytes_
      GUARDED_BY(mu_);  // record_size() of erases, where somebody has counted them
};

// Finds ordinals. For a whole log segment that is arithmetic; for a compacted or damaged one the sorted sequence numbers are read from the footer, and
// kept for the few segments asked for last. Not thread-safe.
class Ordinals {
 public:
  Result<uint64_t> of(const Segment& segment, SeqNo seq);

 private:
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

// What the map covers.
struct LivenessHeader {
  SeqNo through;                   // kills by records up to here are in the bitmaps
  SeqNo twice_through;             // ... are in both copies
  std::vector<SegmentId> retired;  // replaced and perhaps still there
};
Bytes encode_liveness_header(const LivenessHeader& header);
Result<LivenessHeader> decode_liveness_header(ByteView value);

}  // namespace cairn::store
