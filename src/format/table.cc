#include "format/table.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/varint.h"

namespace cairn::format {
namespace {

// FORMAT.md, "Table".
static_assert(offsetof(TableTrailerDisk, kind) == 12 && offsetof(TableTrailerDisk, base) == 32);
static_assert(offsetof(TableTrailerDisk, filter_offset) == 40 && offsetof(TableTrailerDisk, index_offset) == 56);
static_assert(offsetof(TableTrailerDisk, entries) == 72 && offsetof(TableTrailerDisk, first_seq) == 88);
static_assert(offsetof(TableTrailerDisk, last_mark) == 112 && offsetof(TableTrailerDisk, next_ino) == 136);
static_assert(offsetof(TableTrailerDisk, checksum) == sizeof(TableTrailerDisk) - sizeof(Le64));

constexpr uint64_t kBlockChecksumSize = 8;
constexpr uint64_t kMinEntrySize = 17;  // nine fields of at least one byte, and the value's checksum
// Two lengths of the key (2 bytes each at most), the sequence number (10), the bits (1), segment and offset (10), the
// sub-index and two lengths (5), the checksum (8).
static_assert(max_entry_size(0, 0) >= 2 * 2 + 10 + 1 + 2 * 10 + 3 * 5 + sizeof(Le64), "room for any entry");
static_assert(kTableOverhead >= kTableTrailerSize + 2 * kCommitAlignment);

// A block of `length` bytes at `offset` lies inside [begin, end) and has room for its checksum. Does not overflow.
bool block_fits(uint64_t offset, uint64_t length, uint64_t begin, uint64_t end) {
  return length >= kBlockChecksumSize && offset >= begin && offset <= end && length <= end - offset;
}

// The first rule about places that `trailer` breaks, or null. Everything that a reader allocates or loops over is bounded
// here by the file's real size: a hostile trailer costs no more than its file.
const char* broken_layout(const TableTrailer& trailer, uint64_t trailer_offset) {
  const bool footer = trailer.kind == TableKind::kFooter;
  const bool base_ok =
      footer ? trailer.base >= kSegmentHeaderSize && trailer.base % kCommitAlignment == 0 : trailer.base == 0;
  if (!base_ok || trailer.base > trailer_offset) return "base out of range";
  if (!block_fits(trailer.index_offset, trailer.index_length, trailer.base, trailer_offset)) {
    return "index block out of range";
  }
  if (trailer.filter_length == 0
          ? trailer.filter_offset > trailer.index_offset
          : !block_fits(trailer.filter_offset, trailer.filter_length, trailer.base, trailer.index_offset)) {
    return "filter block out of range";
  }
  // Divided, not multiplied: a product of what is on disk could overflow.
  if (trailer.entries > (trailer.index_offset - trailer.base) / kMinEntrySize) return "more entries than fit";
  return nullptr;
}

// The first rule that `trailer` breaks, or null. Held before writing and after reading.
const char* broken_rule(const TableTrailer& trailer, uint64_t trailer_offset) {
  if (trailer.kind != TableKind::kFooter && trailer.kind != TableKind::kRun) return "unknown kind";
  if (trailer.id == 0) return "id 0";
  if (const char* rule = broken_layout(trailer, trailer_offset)) return rule;
  if (trailer.erases > trailer.entries) return "more erases than entries";
  // The range of a footer may be empty, with its place kept ({n, n - 1}): no records are left.
  // prev() is safe behind the test for 0.
  if (trailer.range.first == SeqNo{} || trailer.range.last < trailer.range.first.prev()) {
    return "sequence range out of order";
  }
  if (trailer.entries > 0 && trailer.range.empty()) return "entries without a sequence range";
  // Summed up by room and liveness, where a footer's word is taken for it.
  if (trailer.kind == TableKind::kFooter && trailer.record_bytes > trailer.base - kSegmentHeaderSize) {
    return "records beyond the segment's";
  }
  return nullptr;
}

uint64_t struct_checksum(const TableTrailerDisk& disk, uint64_t trailer_offset) {
  return checksum(bytes_of(disk).substr(0, offsetof(TableTrailerDisk, checksum)),
                  place_seed(disk.salt, disk.id, trailer_offset));
}

// Enum fields may hold any byte: broken_rule() looks at them.
TableTrailer fields_of(const TableTrailerDisk& disk) {
  TableTrailer trailer;
  trailer.kind = static_cast<TableKind>(disk.kind);
  trailer.id = disk.id;
  trailer.salt = disk.salt;
  trailer.base = disk.base;
  trailer.filter_offset = disk.filter_offset;
  trailer.filter_length = disk.filter_length;
  trailer.index_offset = disk.index_offset;
  trailer.index_length = disk.index_length;
  trailer.entries = disk.entries;
  trailer.erases = disk.erases;
  trailer.range = {SeqNo(disk.first_seq), SeqNo(disk.last_seq)};
  trailer.record_bytes = disk.record_bytes;
  trailer.last_mark = CommitNo(disk.last_mark);
  trailer.last_mark_offset = disk.last_mark_offset;
  trailer.last_mark_checksum = disk.last_mark_checksum;
  trailer.next_ino = disk.next_ino;
  return trailer;
}

}  // namespace

void encode_entry(Bytes& out, ByteView previous_key, ByteView key, const IndexEntry& entry) {
  CHECK(key.size() <= kMaxKeyLength);
  CHECK(entry.type <= RecordType::kExtent && entry.codec <= Codec::kZstd && entry.offset % kRecordAlignment == 0);
  CHECK(!entry.has_small || (entry.codec == Codec::kNone && entry.small.size() == entry.stored_length &&
                             entry.small.size() <= kMaxInlineValue));
  CHECK(entry.seq != SeqNo{} && entry.segment != SegmentId{});
  // The same key twice is fine (several versions of it in one segment): `shared` is then all of it and `rest` 0.
  const auto differs = std::mismatch(previous_key.begin(), previous_key.end(), key.begin(), key.end());
  const auto shared = static_cast<size_t>(differs.second - key.begin());
  put_varint(out, shared);
  put_varint(out, key.size() - shared);
  out.append(key.substr(shared));
  put_varint(out, entry.seq.value);
  out.push_back(static_cast<char>(static_cast<unsigned>(entry.type) | static_cast<unsigned>(entry.codec) << 3 |
                                  (entry.has_small ? 1u : 0u) << 5));
  put_varint(out, entry.segment.value);
  // Offsets are multiples of 8: three bits less to store.
  put_varint(out, entry.offset / kRecordAlignment);
  put_varint(out, entry.sub_index);
  put_varint(out, entry.stored_length);
  put_varint(out, entry.raw_length);
  out.append(bytes_of(Le64(entry.value_checksum)));
  if (entry.has_small) out.append(entry.small);
}

TableTrailerDisk encode_table_trailer(const TableTrailer& trailer, uint64_t trailer_offset) {
  CHECK(broken_rule(trailer, trailer_offset) == nullptr);
  TableTrailerDisk disk{};
  disk.magic = kTableMagic;
  disk.version = kFormatVersion;
  disk.kind = static_cast<uint8_t>(trailer.kind);
  disk.id = trailer.id;
  disk.salt = trailer.salt;
  disk.base = trailer.base;
  disk.filter_offset = trailer.filter_offset;
  disk.filter_length = trailer.filter_length;
  disk.index_offset = trailer.index_offset;
  disk.index_length = trailer.index_length;
  disk.entries = trailer.entries;
  disk.erases = trailer.erases;
  disk.first_seq = trailer.range.first.value;
  disk.last_seq = trailer.range.last.value;
  disk.record_bytes = trailer.record_bytes;
  disk.last_mark = trailer.last_mark.value;
  disk.last_mark_offset = trailer.last_mark_offset;
  disk.last_mark_checksum = trailer.last_mark_checksum;
  disk.next_ino = trailer.next_ino;
  disk.checksum = struct_checksum(disk, trailer_offset);
  return disk;
}

Result<TableTrailer> decode_table_trailer(ByteView bytes, uint64_t file_size) {
  const auto bad = [](const char* what) { return fail(ErrorCode::kCorrupt, fmt::format("table trailer: {}", what)); };
  if (bytes.size() != kTableTrailerSize || file_size < kTableTrailerSize) return bad("cut short");
  // The trailer is found from the file's end, and bound to that place: a file that was cut or grew shows at once.
  const uint64_t trailer_offset = file_size - kTableTrailerSize;
  const auto disk = load<TableTrailerDisk>(bytes);
  if (disk.magic != kTableMagic) return bad("wrong magic");
  if (auto version = check_version(disk.version, kFormatVersion); !version) return fail(std::move(version).error());
  if (disk.checksum != struct_checksum(disk, trailer_offset)) return bad("checksum mismatch");
  if (!all_zero(bytes_of(disk.zero0)) || !all_zero(bytes_of(disk.zero1))) return bad("unused bytes are not zero");
  const TableTrailer trailer = fields_of(disk);
  if (const char* rule = broken_rule(trailer, trailer_offset)) return bad(rule);
  return trailer;
}

}  // namespace cairn::format
