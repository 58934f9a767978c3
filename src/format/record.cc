// Records, and the two values whose bytes the log itself defines: commit marks and extent pointers.
#include <cstddef>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"

namespace cairn::format {
namespace {

// FORMAT.md, "Record". Both structs are their own layout, so a field that moved is a format that nobody can read.
static_assert(offsetof(RecordHeaderDisk, value_checksum) == 8, "the header checksum covers everything behind itself");
static_assert(offsetof(RecordHeaderDisk, stored_length) == 24 && offsetof(RecordHeaderDisk, key_length) == 32);
static_assert(offsetof(RecordHeaderDisk, type) == 34 && offsetof(RecordHeaderDisk, flags) == 36);
static_assert(offsetof(CommitMarkDisk, records_checksum) == 24 && offsetof(CommitMarkDisk, durable_offset) == 48);
static_assert(offsetof(CommitMarkDisk, start_offset) == 64 && offsetof(ExtentPointerDisk, piece_size) == 24);
static_assert(kRecordHeaderSize % kRecordAlignment == 0, "a record without key and value needs no padding");
static_assert(kMarkRecordSize == 120 && kMarkRecordSize % kRecordAlignment == 0);
static_assert(kMaxKeyLength <= UINT16_MAX, "RecordHeaderDisk::key_length");
static_assert(kMinPieceSize % kRecordAlignment == 0 && kMinPieceSize <= kMaxRawLength);
static_assert(sizeof(ExtentPointerDisk) <= kMaxInlineValue, "a pointer travels inside the index entry");

// The first rule that `header` breaks, or null. Held before writing and after reading.
const char* broken_rule(const RecordHeader& header) {
  if (header.type < RecordType::kPut || header.type > RecordType::kPiece) return "unknown type";
  if (header.codec > Codec::kZstd) return "unknown codec";
  if (header.flags > (kBatchFirst | kBatchLast)) return "unknown flags";
  if (header.raw_length > kMaxRawLength) return "raw length out of range";
  // compress() keeps what it made only where it saves something, so a compressed value is shorter. This bounds
  // raw_length from below.
  const bool whole = header.codec == Codec::kNone;
  if (whole ? header.stored_length != header.raw_length : header.stored_length >= header.raw_length) {
    return "stored and raw length disagree";
  }
  // A type decides about lengths: recovery takes marks and pointers by the type alone, and decodes what the length
  // promised.
  switch (header.type) {
    case RecordType::kErase:
      if (header.raw_length != 0) return "erase with a value";
      break;
    case RecordType::kExtent:
      if (!whole || header.raw_length != sizeof(ExtentPointerDisk)) return "wrong length of an extent pointer";
      break;
    case RecordType::kMark:
      if (!whole || header.raw_length != sizeof(CommitMarkDisk)) return "wrong length of a commit mark";
      if (header.key_length != 0) return "commit mark with a key";
      break;
    case RecordType::kPut:
    case RecordType::kPiece: break;
  }
  // Marks repeat the last sequence number of their commit, pieces count from 0.
  const bool sequenced = header.type <= RecordType::kExtent;
  if (sequenced && header.seq == SeqNo{}) return "sequence number 0";
  return nullptr;
}

// Of the record that begins at `record`: what follows the checksum field, up to the end of the key.
uint64_t header_checksum(const char* record, uint64_t key_length, const RecordPlace& place) {
  constexpr size_t kFieldSize = sizeof(RecordHeaderDisk::checksum);
  return checksum({record + kFieldSize, kRecordHeaderSize - kFieldSize + key_length},
                  place_seed(place.salt, place.id.value, place.offset));
}

// memcpy with a null pointer is undefined, also for no bytes: what a default ByteView has.
char* append(char* out, ByteView bytes) {
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  return out + bytes.size();
}

// Enum fields may hold any byte here; broken_rule() looks at them before anybody switches on one.
RecordHeader fields_of(const RecordHeaderDisk& disk) {
  RecordHeader header;
  header.checksum = disk.checksum;
  header.value_checksum = disk.value_checksum;
  header.seq = SeqNo(disk.seq);
  header.stored_length = disk.stored_length;
  header.raw_length = disk.raw_length;
  header.key_length = disk.key_length;
  header.type = static_cast<RecordType>(disk.type);
  header.codec = static_cast<Codec>(disk.codec);
  header.flags = disk.flags;
  return header;
}

// What is wrong with the header at the front of `bytes`, or null and the header.
// A search asks this at every eighth byte of garbage, so the rules that most garbage breaks come before the checksum.
const char* check_header(ByteView bytes, const RecordPlace& place, RecordHeader& header) {
  if (bytes.size() < kRecordHeaderSize) return "cut short";
  const auto disk = load<RecordHeaderDisk>(bytes);
  header = fields_of(disk);
  if (header.key_length > kMaxKeyLength) return "key length out of range";
  if (!all_zero(bytes_of(disk.zero))) return "unused bytes are not zero";
  if (const char* rule = broken_rule(header)) return rule;
  if (header.key_length > bytes.size() - kRecordHeaderSize) return "key cut short";
  if (header.checksum != header_checksum(bytes.data(), header.key_length, place)) return "checksum mismatch";
  return nullptr;
}

}  // namespace

uint64_t encode_record(RecordHeader header, ByteView key, ByteView stored, const RecordPlace& place, char* out) {
  // The casts below would cut longer ones off silently (hazard 11).
  CHECK(key.size() <= kMaxKeyLength && stored.size() <= kMaxRawLength);
  CHECK(place.id != SegmentId{} && place.offset % kRecordAlignment == 0);
  header.key_length = static_cast<uint16_t>(key.size());
  header.stored_length = static_cast<uint32_t>(stored.size());
  if (header.codec == Codec::kNone) header.raw_length = header.stored_length;
  CHECK(broken_rule(header) == nullptr);

  RecordHeaderDisk disk{};
  disk.value_checksum = header.value_checksum;
  disk.seq = header.seq.value;
  disk.stored_length = header.stored_length;
  disk.raw_length = header.raw_length;
  disk.key_length = header.key_length;
  disk.type = static_cast<uint8_t>(header.type);
  disk.codec = static_cast<uint8_t>(header.codec);
  disk.flags = header.flags;

  // The checksum comes last, over the bytes as they lie in the slab: what another thread does to the caller's value
  // meanwhile shows when it is read, and not as a record that verifies.
  char* const after_header = append(out, bytes_of(disk));
  char* const after_key = append(after_header, key);
  char* const after_value = append(after_key, stored);
  std::memset(after_value, 0, static_cast<size_t>(out + record_size(key.size(), stored.size()) - after_value));
  const Le64 sum = header_checksum(out, key.size(), place);
  append(out, bytes_of(sum));
  return sum;
}

Result<Record> decode_record_header(ByteView bytes, const RecordPlace& place) {
  RecordHeader header;
  if (const char* problem = check_header(bytes, place, header)) {
    return fail(ErrorCode::kCorrupt, fmt::format("record header: {}", problem));
  }
  return Record{header, bytes.substr(kRecordHeaderSize, header.key_length), {}};
}

bool is_record_header(ByteView bytes, const RecordPlace& place) {
  RecordHeader header;
  return check_header(bytes, place, header) == nullptr;
}

Result<Record> decode_record(ByteView bytes, const RecordPlace& place) {
  auto record = decode_record_header(bytes, place);
  if (!record) return record;
  const size_t begin = kRecordHeaderSize + record->key.size();
  // Another error than for damage: the header verified, so the caller may fetch the rest and ask again.
  if (record->header.stored_length > bytes.size() - begin) {
    return fail(ErrorCode::kRange, "record: value reaches beyond the bytes that are there");
  }
  record->stored = bytes.substr(begin, record->header.stored_length);
  return record;
}

bool value_verifies(const RecordHeader& header, ByteView stored) {
  // Lengths first: the checksum of a value that was cut short would only say that it differs.
  return stored.size() == header.stored_length &&
         (header.codec != Codec::kNone || header.stored_length == header.raw_length) &&
         checksum(stored) == header.value_checksum;
}

CommitMarkDisk encode_commit_mark(const CommitMark& mark) {
  CommitMarkDisk disk{};
  disk.number = mark.number.value;
  disk.first_seq = mark.range.first.value;
  disk.last_seq = mark.range.last.value;
  disk.records_checksum = mark.records_checksum;
  disk.previous_offset = mark.previous_offset;
  disk.previous_checksum = mark.previous_checksum;
  disk.durable_offset = mark.durable_offset;
  disk.next_ino = mark.next_ino;
  disk.start_offset = mark.start_offset;
  // What is written is read back by the rules of reading, before it counts.
  CHECK(decode_commit_mark(bytes_of(disk)));
  return disk;
}

Result<CommitMark> decode_commit_mark(ByteView bytes) {
  const auto bad = [](const char* what) { return fail(ErrorCode::kCorrupt, fmt::format("commit mark: {}", what)); };
  if (bytes.size() != sizeof(CommitMarkDisk)) return bad("wrong length");
  const auto disk = load<CommitMarkDisk>(bytes);
  CommitMark mark;
  mark.number = CommitNo(disk.number);
  mark.range = {SeqNo(disk.first_seq), SeqNo(disk.last_seq)};
  mark.records_checksum = disk.records_checksum;
  mark.previous_offset = disk.previous_offset;
  mark.previous_checksum = disk.previous_checksum;
  mark.durable_offset = disk.durable_offset;
  mark.next_ino = disk.next_ino;
  mark.start_offset = disk.start_offset;
  if (disk.zero != 0) return bad("unused bytes are not zero");
  if (mark.number == CommitNo{}) return bad("number 0");
  if (mark.range.first == SeqNo{} || mark.range.last < mark.range.first.prev())
    return bad("sequence range out of order");
  // None of these can come from a crash: the mark is in one record with a checksum. They keep a hostile segment from
  // sending a walk backwards.
  if (mark.start_offset < kSegmentHeaderSize || mark.start_offset % kCommitAlignment != 0) return bad("wrong start");
  if (mark.previous_offset % kRecordAlignment != 0 || mark.previous_offset >= mark.start_offset) {
    return bad("wrong offset of the previous mark");
  }
  // A mark cannot vouch for its own commit: when it was written, that was still on its way to the disk.
  if (mark.durable_offset > mark.start_offset) return bad("calls itself durable");
  return mark;
}

ExtentPointerDisk encode_extent_pointer(const ExtentPointer& pointer) {
  ExtentPointerDisk disk{};
  disk.segment_id = pointer.segment.value;
  disk.length = pointer.length;
  disk.salt = pointer.salt;
  disk.piece_size = pointer.piece_size;
  CHECK(decode_extent_pointer(bytes_of(disk)));
  return disk;
}

Result<ExtentPointer> decode_extent_pointer(ByteView bytes) {
  const auto bad = [](const char* what) { return fail(ErrorCode::kCorrupt, fmt::format("extent pointer: {}", what)); };
  if (bytes.size() != sizeof(ExtentPointerDisk)) return bad("wrong length");
  const auto disk = load<ExtentPointerDisk>(bytes);
  if (disk.zero != 0) return bad("unused bytes are not zero");
  if (disk.segment_id == 0) return bad("names no segment");
  // The segment's real size is not known here; read_extent() asks the file before it allocates anything.
  if (disk.length == 0 || disk.length > kMaxExtentLength) return bad("length out of range");
  if (disk.piece_size < kMinPieceSize || disk.piece_size > kMaxRawLength) return bad("piece size out of range");
  return ExtentPointer{SegmentId(disk.segment_id), disk.length, disk.salt, disk.piece_size};
}

}  // namespace cairn::format
