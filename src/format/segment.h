// Segment headers, record headers, commit marks. FORMAT.md, "Segment", "Record", "Commit mark".
//
// A segment is: header block (4096 bytes) · commits · footer · trailer. A commit is records and then a mark, padded
// with zeros to a multiple of 4096. The footer and trailer are a table (format/table.h) that lists every record of the
// segment.
//
// All functions are pure: bytes in, struct or Error out, no state, thread-safe. Encoders CHECK the rules that decoders
// check, so that what is written can be read; decoders take any bytes at all and answer kCorrupt or kUnsupported.
#pragma once

#include <cstdint>
#include <optional>

#include "base/types.h"
#include "cairn/bytes.h"
#include "cairn/result.h"
#include "format/codec.h"
#include "format/le.h"
#include "format/superblock.h"

namespace cairn::format {

inline constexpr uint64_t kSegmentMagic = 0x31'47'45'53'4e'52'49'43;  // "CIRNSEG1" as bytes on disk
inline constexpr uint64_t kSegmentHeaderSize = 4096;                  // bytes; the struct twice, and zeros
inline constexpr uint64_t kSegmentHeaderCopyOffset = 2048;            // where it lies again, in other sectors
inline constexpr uint64_t kCommitAlignment = 4096;                    // bytes
inline constexpr uint64_t kRecordAlignment = 8;                       // bytes
inline constexpr uint32_t kMaxKeyLength = 1024;                       // bytes
inline constexpr uint32_t kMaxInlineValue = 256;                      // bytes; such values also sit in index entries

// Decides what a walk of the file expects, and what proves it.
enum class SegmentKind : uint8_t {
  kLog = 1,        // the write-ahead log, open or sealed
  kCompacted = 2,  // made by compaction: records of a range of sequence numbers, no marks; valid only as a whole
  kExtent = 3,     // the pieces of one large value
};

// 512 bytes at offset 0: one sector, so it is old or new after a crash, never mixed.
struct SegmentHeaderDisk {
  Le64 magic;                   //   0
  Le32 version;                 //   8  kFormatVersion
  uint8_t kind;                 //  12  SegmentKind
  uint8_t prepared;             //  13  1: created ahead, holds nothing yet; 0: in use
  uint8_t zero0[2];             //  14
  Le64 id;                      //  16  equals the number in the file's name
  Le64 salt;                    //  24  random; part of every checksum in the file
  Le64 previous_id;             //  32  log: the log segment before this one, 0 for the first
  Le64 previous_mark;           //  40  log: commit number of its last mark
  Le64 previous_mark_offset;    //  48  log: where that mark's record begins
  Le64 previous_mark_checksum;  //  56  log: header checksum of that mark's record
  Le64 first_seq;               //  64  log: the first sequence number it may hold; compacted: first of the owned range
  Le64 last_seq;                //  72  compacted: last of the owned range; else 0
  Le64 next_ino;                //  80  inode numbers at or above this were not given out when the header was written
  Le64 proven_id;               //  88  every log segment up to this id was sealed and synced before this was written
  Le32 generation;              //  96  compacted: 1 + the highest among its sources; else 0
  uint8_t zero1[28];            // 100
  SuperblockDisk superblock;    // 128  copy of the store's
  uint8_t zero2[248];           // 256
  Le64 checksum;                // 504  XXH3-64 of bytes 0..503, seed 0
};
static_assert(sizeof(SegmentHeaderDisk) == 512 && alignof(SegmentHeaderDisk) == 1);

// The same as values, checked. Fields that a kind does not have are 0, and decoding refuses anything else.
struct SegmentHeader {
  SegmentKind kind = SegmentKind::kLog;
  bool prepared = false;
  // Which file this is: with the salt part of every checksum in it.
  SegmentId id;
  uint64_t salt = 0;
  // The chain of the log: the mark that was the log's newest when this segment took its first batch. All 0 for the
  // first of a store, and for kinds other than kLog. Recovery cuts the predecessor behind exactly that mark (FORMAT.md,
  // "Reading a segment").
  SegmentId previous_id;
  CommitNo previous_mark;
  uint64_t previous_mark_offset = 0;
  uint64_t previous_mark_checksum = 0;
  // What it owns: of a log segment everything from first_seq up to the next one's, of a compacted one both ends
  // included.
  SeqNo first_seq;
  SeqNo last_seq;
  // Counters: a store whose manifest and tables are gone still gives no number out twice.
  uint64_t next_ino = 0;
  // A footer proves nothing about the bytes before it (they may not have been synced): a later header does.
  SegmentId proven_id;
  // Tells copies of one range apart after a crash within a compaction: the higher one replaces the others.
  uint32_t generation = 0;
  Superblock superblock;
};

// CHECKs that the header keeps the rules of its kind.
SegmentHeaderDisk encode_segment_header(const SegmentHeader& header);
// Needs the first 512 bytes; checks magic, version, checksum, then ranges. The caller compares id and uuid with what it
// expects. kCorrupt / kUnsupported.
Result<SegmentHeader> decode_segment_header(ByteView bytes);
// The whole header block, both copies: kSegmentHeaderSize bytes at `block`.
void encode_segment_header_block(const SegmentHeader& header, char* block);
// Takes the first copy that decodes, one that is in use before one that is prepared (a crash may have left the second
// copy behind). If none decodes, the error of the first, but kUnsupported before kCorrupt. Does not look at the block's
// zeros.
Result<SegmentHeader> decode_segment_header_block(ByteView block);

enum class RecordType : uint8_t {
  kPut = 1,
  kErase = 2,   // no value
  kExtent = 3,  // a put whose value is an ExtentPointer: the real value fills a segment of its own
  kMark = 4,    // commit mark: no key, the value is a CommitMarkDisk
  kPiece = 5,   // only in extent segments: one piece of the value; seq is the piece's number, from 0
};

// A batch is the records from one with kBatchFirst to the next with kBatchLast, which may be the same; it counts as a
// whole or not at all (hazard 22). In compacted segments, where batches are torn apart, they mean nothing.
inline constexpr uint8_t kBatchFirst = 1;  // record flags
inline constexpr uint8_t kBatchLast = 2;

// 40 bytes, then the key, then the stored value, then zeros to a multiple of 8.
struct RecordHeaderDisk {
  Le64 checksum;        //  0  XXH3-64 of bytes 8..39 and the key, seed: the record's place
  Le64 value_checksum;  //  8  XXH3-64 of the stored value (after compression), seed 0
  Le64 seq;             // 16
  Le32 stored_length;   // 24  bytes of the value as stored
  Le32 raw_length;      // 28  bytes of the value as written; equals stored_length when codec is none
  Le16 key_length;      // 32  0..kMaxKeyLength
  uint8_t type;         // 34  RecordType
  uint8_t codec;        // 35  Codec
  uint8_t flags;        // 36  kBatchFirst | kBatchLast
  uint8_t zero[3];      // 37
};
static_assert(sizeof(RecordHeaderDisk) == 40 && alignof(RecordHeaderDisk) == 1);
inline constexpr uint64_t kRecordHeaderSize = sizeof(RecordHeaderDisk);

// The same as values. After decode_record_header(): every field in its range, and header and key as they were written,
// at that place.
struct RecordHeader {
  // The checksum is also the record's name: marks hash those of their commit, and the next mark and segment repeat that
  // of a mark.
  uint64_t checksum = 0;
  uint64_t value_checksum = 0;
  // Of a mark the last of its commit; of a piece its index, from 0.
  SeqNo seq;
  uint32_t stored_length = 0;
  uint32_t raw_length = 0;
  uint16_t key_length = 0;
  RecordType type = RecordType::kPut;
  Codec codec = Codec::kNone;
  // kBatchFirst | kBatchLast
  uint8_t flags = 0;
};

// Bytes that a record takes in a segment: header, key, value, padding to 8.
// Does not overflow for lengths that passed a decoder.
constexpr uint64_t record_size(uint64_t key_length, uint64_t stored_length) {
  return (kRecordHeaderSize + key_length + stored_length + kRecordAlignment - 1) & ~(kRecordAlignment - 1);
}

// Where a record lies: binds its checksum. The same bytes elsewhere do not verify: not in an old slab, not in another
// segment, not in an image of a segment that somebody stored as a file's content (hazards 10 and 19).
struct RecordPlace {
  uint64_t salt = 0;
  SegmentId id;
  uint64_t offset = 0;
};

// Writes header, key, value and padding to `out` (record_size() bytes) and returns the header checksum.
// `header.checksum` is computed here; lengths come from key and stored. The caller gives seq, type, codec, flags,
// value_checksum, and raw_length where there is a codec. `out` is all written, padding included. Needs place.offset %
// kRecordAlignment == 0. Costs one pass over header and key; the value is only copied.
uint64_t encode_record(RecordHeader header, ByteView key, ByteView stored, const RecordPlace& place, char* out);

// A record as it lies in somebody's bytes, which must outlive it.
struct Record {
  RecordHeader header;
  ByteView key;     // into the bytes that were decoded
  ByteView stored;  // into the bytes that were decoded; not verified
};

// `bytes` starts at the record and may hold more than it. Checks that header and key lie inside `bytes`, then the
// header checksum, then ranges (type, codec, lengths, zeros), then that the value lies inside `bytes`. Does not hash
// the value. kCorrupt; a value that reaches beyond `bytes` gives kRange when header and key verified.
Result<Record> decode_record(ByteView bytes, const RecordPlace& place);
// Header and key only: stored is empty. For walks that do not read values. kCorrupt.
Result<Record> decode_record_header(ByteView bytes, const RecordPlace& place);
// Whether decode_record_header() would succeed. Cheap where there is no record: for searching through any bytes.
[[nodiscard]] bool is_record_header(ByteView bytes, const RecordPlace& place);
// The value's checksum, and with codec none also stored == raw length.
[[nodiscard]] bool value_verifies(const RecordHeader& header, ByteView stored);

// 80 bytes: the value of a mark's record. A commit is everything after the previous mark.
struct CommitMarkDisk {
  Le64 number;             //  0  previous + 1, without gaps through the whole log
  Le64 first_seq;          //  8  first and last sequence number of the commit; last = first - 1: empty
  Le64 last_seq;           // 16
  Le64 records_checksum;   // 24  XXH3-64 of the header checksums of the commit's records, in order, 8 bytes each
  Le64 previous_offset;    // 32  offset of the previous mark in this segment, 0 if this is the first here
  Le64 previous_checksum;  // 40  header checksum of the previous mark's record (here or in the segment before), or 0
  Le64 durable_offset;     // 48  everything in this segment below this offset was durable when the mark was written
  Le64 next_ino;           // 56  as in the segment header
  Le64 start_offset;       // 64  where the commit's first record begins (multiple of 4096)
  Le64 zero;               // 72
};
static_assert(sizeof(CommitMarkDisk) == 80 && alignof(CommitMarkDisk) == 1);

// The same as values. Whether it fits its commit is for the walk to find out (log/scan_log.cc): the number follows the
// mark before it, the checksum is over what was walked.
struct CommitMark {
  CommitNo number;
  SeqRange range;
  uint64_t records_checksum = 0;
  uint64_t previous_offset = 0;
  uint64_t previous_checksum = 0;
  uint64_t durable_offset = 0;
  uint64_t next_ino = 0;
  uint64_t start_offset = 0;
};
inline constexpr uint64_t kMarkRecordSize = record_size(0, sizeof(CommitMarkDisk));

// Needs a number, and a start that is aligned and behind the previous mark (CHECK).
CommitMarkDisk encode_commit_mark(const CommitMark& mark);
// Needs exactly the value of the record, whose checksum the caller has verified. kCorrupt.
Result<CommitMark> decode_commit_mark(ByteView bytes);

// 32 bytes: the value of a kExtent record.
struct ExtentPointerDisk {
  Le64 segment_id;  //  0
  Le64 length;      //  8  bytes of the value
  Le64 salt;        // 16  of the extent segment: a pointer never matches a recycled id
  Le32 piece_size;  // 24  bytes of every piece but the last
  Le32 zero;        // 28
};
static_assert(sizeof(ExtentPointerDisk) == 32 && alignof(ExtentPointerDisk) == 1);
// Larger values are refused (bytes): so that every segment can be held in memory to check or rebuild it.
inline constexpr uint64_t kMaxExtentLength = uint64_t{2} << 30;
inline constexpr uint32_t kMinPieceSize = 4096;  // bytes; bounds what headers and keys add
// A value in a segment of its own. The segment counts only while such a pointer is in the log, and dies with it: one
// pointer for each.
struct ExtentPointer {
  SegmentId segment;
  uint64_t length = 0;
  uint64_t salt = 0;
  uint32_t piece_size = 0;
};
// Where piece `index` begins in its segment. Each has the room that it needs uncompressed, so that any piece is found
// without an index; what compression saves is a hole in the file.
constexpr uint64_t extent_piece_offset(uint64_t key_length, uint32_t piece_size, uint64_t index) {
  return kSegmentHeaderSize + index * record_size(key_length, piece_size);
}
// Needs a segment, and lengths within the limits above (CHECK).
ExtentPointerDisk encode_extent_pointer(const ExtentPointer& pointer);
// kCorrupt. Says nothing of whether the segment is there, or as long as it should be.
Result<ExtentPointer> decode_extent_pointer(ByteView bytes);

// "00000000000000a7.seg" and back; nothing for any other name.
Bytes segment_file_name(SegmentId id);
std::optional<SegmentId> parse_segment_file_name(ByteView name);
// The name of a segment's file until its first bytes are durable: what a crash left under it holds nothing.
Bytes new_segment_file_name(SegmentId id);
std::optional<SegmentId> parse_new_segment_file_name(ByteView name);
inline constexpr char kSegmentsDir[] = "segments";

}  // namespace cairn::format
