// Tables: sorted index entries in checksummed blocks. A footer is a table at the end of its segment; a run is made of
// table files. FORMAT.md, "Table".
//
// Layout, from `base` (where the table starts in its file; 0 in a table file, a multiple of 4096 in a segment):
//   entry blocks · filter block · index block · trailer (the last kTableTrailerSize bytes of the file)
// Every block ends with its 8-byte checksum: XXH3-64 of the block's other bytes, seed place_seed(salt, id, block
// offset).
#pragma once

#include <cstdint>

#include "base/types.h"
#include "cairn/bytes.h"
#include "cairn/result.h"
#include "format/segment.h"

namespace cairn::format {

// What the index knows about one version of a key. `small` points into the bytes that were decoded (or a memtable).
// Entries are ordered by key, and the versions of one key by sequence number, newest first: the first that is found is
// the one.
struct IndexEntry {
  SeqNo seq;
  RecordType type = RecordType::kPut;  // kPut, kErase, kExtent
  Codec codec = Codec::kNone;
  bool has_small = false;      // the value (<= kMaxInlineValue bytes, codec none) is `small`; always so for those
  SegmentId segment;           // where the record was when the entry was made: a hint once segments are compacted
  uint64_t offset = 0;         // of the record in that segment
  uint32_t sub_index = 0;      // position inside a shared frame; 0 in this version
  uint32_t stored_length = 0;  // bytes
  uint32_t raw_length = 0;     // bytes
  uint64_t value_checksum = 0;
  ByteView small;
};

// Bytes that key and entry can take at most in a table (whole key, no prefix shared), for reserving footer room.
// 72 bounds nine fields as varints and the checksum; see the assert in table.cc.
constexpr uint64_t max_entry_size(uint64_t key_length, uint64_t small_length) { return key_length + small_length + 72; }
// Bytes of filter, block checksums and block index per entry, at most, likewise. (10 bits + a share of the blocks'
// index.)
// Together with max_entry_size() this is what a writer promises before it accepts a record: a seal never finds that its
// footer does not fit (index/table_builder.cc CHECKs it).
constexpr uint64_t kEntryOverhead = 12;
// Filter minimum, index block, trailer and rounding of one table, at most.
constexpr uint64_t kTableOverhead = 16384;

// Entry: varint shared · varint rest · rest bytes of the key · varint seq · u8 bits (type | codec<<3 | small<<5) ·
// varint segment · varint offset/8 · varint sub_index · varint stored_length · varint raw_length · u64 value_checksum ·
// the small value if bit 5. `shared` is what the key shares with the key before it in the block (0 at restarts).
// Appends to `out`. Needs key >= previous_key only for a good encoding, not to be right. CHECKs lengths and the
// alignment of the offset.
void encode_entry(Bytes& out, ByteView previous_key, ByteView key, const IndexEntry& entry);

inline constexpr uint64_t kTableMagic = 0x31'42'41'54'4e'52'49'43;  // "CIRNTAB1"
inline constexpr uint64_t kTableTrailerSize = 256;

enum class TableKind : uint8_t { kFooter = 1, kRun = 2 };

// The last 256 bytes of a segment or table file.
struct TableTrailerDisk {
  Le64 magic;               //   0
  Le32 version;             //   8
  uint8_t kind;             //  12  TableKind
  uint8_t zero0[3];         //  13
  Le64 id;                  //  16  segment id or table id
  Le64 salt;                //  24  the segment's, or the table's own
  Le64 base;                //  32  offset of the first entry block
  Le64 filter_offset;       //  40
  Le64 filter_length;       //  48  bytes, checksum included; 0 = no filter
  Le64 index_offset;        //  56
  Le64 index_length;        //  64  bytes, checksum included
  Le64 entries;             //  72  number of entries
  Le64 erases;              //  80  how many of them are erases
  Le64 first_seq;           //  88  smallest and largest sequence number of an entry; footer: the range that is owned
  Le64 last_seq;            //  96
  Le64 record_bytes;        // 104  sum of record_size() over the entries
  Le64 last_mark;           // 112  footer of a log segment: commit number of its last mark
  Le64 last_mark_offset;    // 120
  Le64 last_mark_checksum;  // 128
  Le64 next_ino;            // 136  footer: as in the last mark
  uint8_t zero1[104];       // 144
  Le64 checksum;            // 248  XXH3-64 of bytes 0..247, seed place_seed(salt, id, offset of the trailer)
};
static_assert(sizeof(TableTrailerDisk) == kTableTrailerSize && alignof(TableTrailerDisk) == 1);

// The same as values. A trailer is all that is trusted before a block is read, so decoding bounds each offset and count
// by the file.
struct TableTrailer {
  TableKind kind = TableKind::kRun;
  uint64_t id = 0;
  uint64_t salt = 0;
  uint64_t base = 0;
  uint64_t filter_offset = 0, filter_length = 0;
  uint64_t index_offset = 0, index_length = 0;
  uint64_t entries = 0;
  uint64_t erases = 0;
  // Of a footer what the segment owns, also where erases or compaction left no record; of a run what is in it.
  SeqRange range;
  uint64_t record_bytes = 0;
  CommitNo last_mark;
  uint64_t last_mark_offset = 0;
  uint64_t last_mark_checksum = 0;
  uint64_t next_ino = 0;
};
// `trailer_offset` is where it will lie: the file's size without it. CHECKs the layout.
TableTrailerDisk encode_table_trailer(const TableTrailer& trailer, uint64_t trailer_offset);
// `file_size` bounds every offset: blocks lie inside [base, file_size - trailer). kCorrupt, kUnsupported.
Result<TableTrailer> decode_table_trailer(ByteView bytes, uint64_t file_size);

}  // namespace cairn::format
