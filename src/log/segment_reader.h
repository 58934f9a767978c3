// Reading single records out of a segment file.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/result.h"
#include "format/segment.h"
#include "format/table.h"
#include "io/buffer_pool.h"
#include "io/env.h"

namespace cairn::log {

// A segment's file that is open, and what its records are bound to.
struct RecordSource {
  const io::File& file;
  const std::string& name;  // for messages
  uint64_t salt;
  SegmentId segment;
  io::BufferPool& buffers;
  bool direct = false;  // the file is open for direct I/O: whole blocks are read
};

// Reads the record that `entry` describes (entry.offset, lengths, checksum) with one pread, and verifies: header
// checksum (salt, segment, offset), that key, sequence, lengths and value checksum agree with `key` and `entry`, and
// the value's checksum. Returns the stored bytes (not decompressed). kCorrupt if anything disagrees; kIo as the file
// says; kOutOfMemory.
Result<Value> read_record(const RecordSource& source, ByteView key, const format::IndexEntry& entry);

// Of records that are read together, one and the next lie at most so far apart, bytes: what lies between is read as well.
inline constexpr uint64_t kReadGapMax = 16 << 10;

struct RecordRequest {
  ByteView key;
  const format::IndexEntry* entry;
};
// read_record() of each, by one read of the file. Needs at least one; they ascend in the file, do not overlap, and are no further
// apart than kReadGapMax (CHECK); their lengths were bounded by the file's. Each value is in a buffer of its own, as one that was
// read alone. Nothing is where a value did not come or does not verify: reading it alone says why.
std::vector<std::optional<Value>> read_records(const RecordSource& source, std::span<const RecordRequest> requests);

// Decompresses what read_record() or a slab gave, or returns it as it is. kCorrupt, also when the entry claims more
// than `max_raw_length` bytes (what the caller can be asked to hold, for example the chunk size); kOutOfMemory.
Result<Value> decode_value(const format::IndexEntry& entry, Value stored,
                           uint32_t max_raw_length = format::kMaxRawLength);

// Writes an extent: a whole segment file that holds `value` in pieces, synced when this returns, not yet named by
// anything. `file` is new and empty, not open for direct I/O. `header` gives id, salt, superblock. The caller syncs the
// directory. Needs a value and piece_size >= format::kMinPieceSize. kTooLarge beyond format::kMaxExtentLength.
Result<void> write_extent(io::File& file, const format::SegmentHeader& header, ByteView key, ByteView value,
                          uint32_t piece_size, format::Compression compression);
// Reads bytes [offset, offset+length) of an extent's value, verifying the pieces it touches. Needs the range inside the
// value, and a file that is not open for direct I/O. kCorrupt if a piece is missing, damaged or of something else. What proves the
// pieces is the pointer, not what the source says of its segment. A piece that is not compressed is read to where it is handed out.
Result<Value> read_extent(const RecordSource& source, const format::ExtentPointer& pointer, ByteView key,
                          uint64_t offset, uint64_t length);

}  // namespace cairn::log
