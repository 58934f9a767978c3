// Walking the records of a segment: for recovery, rebuild and fsck.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cairn/result.h"
#include "format/segment.h"
#include "format/table.h"
#include "io/env.h"

namespace cairn::log {

struct ScannedRecord {
  uint64_t offset = 0;
  format::RecordHeader header;
  ByteView key;          // into SegmentScan::image
  ByteView stored;       // into SegmentScan::image
  bool value_ok = true;  // false: header and key verified, the value did not (only reported with keep_damaged)
};

struct ScannedMark {
  uint64_t offset = 0;
  uint64_t checksum = 0;  // of its record header: what the next mark or segment header names
  format::CommitMark mark;
};

// A range that should hold something and does not verify.
struct Damage {
  uint64_t offset = 0;
  uint64_t length = 0;
  std::string what;  // "record header", "value of record seq=17", "padding", "commit mark", ...
  SeqNo seq;         // 0 if unknown
  Bytes key;         // of the record, if its header could be read
};

struct SegmentScan {
  // The file up to the end of what was scanned, zeros to a multiple of 4096. In [0, end) padding that a crash left
  // dirty is zero: who keeps the segment writes image[0, end) back.
  std::shared_ptr<const Bytes> image;
  std::vector<ScannedRecord> records;  // that count, ascending offset; marks are not among them
  std::vector<ScannedMark> marks;      // every sound one below `end`, ascending offset
  // Multiple of 4096: behind the last complete commit (log) or record that counts; sealed: where the data must end.
  uint64_t end = format::kSegmentHeaderSize;
  std::vector<Damage> damage;
  // Unsealed: bytes other than zero (an incomplete commit, stale bytes) lie behind `end`. Nobody was told that they are
  // durable, and they must be gone durably before the file is used again.
  bool torn_tail = false;
};

struct ScanOptions {
  // Where the data must end: the base of the footer of a sealed segment. Then everything up to there must verify,
  // padding included, and whatever does not is damage. Without it (an unsealed segment) a tail may be torn: what lies
  // behind the last complete commit and below no position that a later mark calls durable is dropped silently.
  std::optional<uint64_t> sealed_end;
  // Everything up to this offset is known to be durable from outside (the next segment's header names the mark that
  // ends there): a break below it is damage, not a torn tail.
  uint64_t durable_end = 0;
  bool verify_values = true;
  bool keep_damaged = false;  // also list records whose value does not verify, with value_ok = false
  // Blocks (4096 bytes) that the device cannot read count as zeros and are damage "unreadable: ..."; otherwise they are
  // kIo. For fsck: recovery must not take a device that is gone for one that lost everything.
  bool skip_unreadable = false;
  bool drop_cache = true;  // read past the page cache: after an I/O error it may look clean while the disk is not
};

// Reads the header block of a segment file and checks that it belongs to `id` (and, if given, to the store `uuid`).
// kCorrupt with what is wrong; messages name `name`.
Result<format::SegmentHeader> read_segment_header(const io::File& file, const std::string& name, SegmentId id,
                                                  const std::array<unsigned char, 16>* uuid);

// Walks one segment of any kind. In a log segment only records of complete commits count: the mark's range, start
// offset, records checksum and chain (previous offset and checksum, number + 1) agree with what was walked. After
// damage the walk goes on at the next offset where a header verifies with this segment's salt, id and that offset
// (never by magic alone); behind damage, complete batches count even if their commit is not complete. Kinds compacted
// and extent have no marks: every record that verifies counts. `file` must not be open for direct I/O. Errors are of
// the environment only (kIo, kOutOfMemory); bad bytes are in the result. Bounded by the file's real size.
Result<SegmentScan> scan_segment(const io::File& file, const format::SegmentHeader& header, const ScanOptions& options);

}  // namespace cairn::log
