#include "format/segment.h"

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"

namespace cairn::format {
namespace {

// FORMAT.md, "Segment header".
static_assert(offsetof(SegmentHeaderDisk, kind) == 12 && offsetof(SegmentHeaderDisk, prepared) == 13);
static_assert(offsetof(SegmentHeaderDisk, salt) == 24 && offsetof(SegmentHeaderDisk, previous_mark_checksum) == 56);
static_assert(offsetof(SegmentHeaderDisk, first_seq) == 64 && offsetof(SegmentHeaderDisk, proven_id) == 88);
static_assert(offsetof(SegmentHeaderDisk, superblock) == 128 && offsetof(SegmentHeaderDisk, zero2) == 256);
static_assert(offsetof(SegmentHeaderDisk, checksum) == sizeof(SegmentHeaderDisk) - sizeof(Le64));
static_assert(kSegmentHeaderCopyOffset % 512 == 0 && kSegmentHeaderCopyOffset >= 2 * sizeof(SegmentHeaderDisk),
              "one bad sector takes one copy, and so do two neighbours");
static_assert(kSegmentHeaderCopyOffset + sizeof(SegmentHeaderDisk) <= kSegmentHeaderSize);
static_assert(kSegmentHeaderSize % kCommitAlignment == 0, "the first commit is aligned");
static_assert(std::has_single_bit(kCommitAlignment) && std::has_single_bit(kRecordAlignment));
static_assert(kCommitAlignment % kRecordAlignment == 0);

constexpr ByteView kFileSuffix = ".seg";
constexpr ByteView kNewFileSuffix = ".new";

// Exactly what segment_file_name() makes: upper case, fewer digits or a sign are another's file, which nobody deletes
// or renames.
std::optional<SegmentId> parse_file_name(ByteView name, ByteView suffix) {
  constexpr size_t kDigits = 16;
  if (name.size() != kDigits + suffix.size() || !name.ends_with(suffix)) return std::nullopt;
  uint64_t id = 0;
  for (const char c : name.substr(0, kDigits)) {
    const bool digit = c >= '0' && c <= '9';
    const bool letter = c >= 'a' && c <= 'f';
    if (!digit && !letter) return std::nullopt;
    id = id << 4 | static_cast<uint64_t>(digit ? c - '0' : c - 'a' + 10);
  }
  // The last number has no successor, so ids could not go on above it: whoever made such a file, it was not us.
  if (id == 0 || id == UINT64_MAX) return std::nullopt;
  return SegmentId(id);
}

// Only the log is a chain. A compacted segment stands where its sources stood, and an extent belongs to a pointer.
bool names_no_predecessor(const SegmentHeader& header) {
  return header.previous_id == SegmentId{} && header.previous_mark == CommitNo{} && header.previous_mark_offset == 0 &&
         header.previous_mark_checksum == 0;
}

// The first rule that `header` breaks, or null. Held before writing and after reading.
const char* broken_rule(const SegmentHeader& header) {
  if (header.kind < SegmentKind::kLog || header.kind > SegmentKind::kExtent) return "unknown kind";
  if (header.id == SegmentId{}) return "id 0";
  if (header.kind == SegmentKind::kCompacted) {
    if (header.first_seq == SeqNo{} || header.last_seq < header.first_seq) return "sequence range out of order";
    if (header.generation == 0) return "compacted without a generation";
  } else if (header.last_seq != SeqNo{} || header.generation != 0) {
    return "fields of a compacted segment in one of another kind";
  }
  if (header.kind != SegmentKind::kLog) return names_no_predecessor(header) ? nullptr : "predecessor outside the log";
  if (header.previous_id >= header.id) return "predecessor is not older";
  if (header.proven_id >= header.id) return "proven segment is not older";
  if (header.previous_mark_offset % kRecordAlignment != 0) return "predecessor's mark is not aligned";
  // While it is prepared nobody knows yet which number will be the first.
  if (header.first_seq == SeqNo{} && !header.prepared) return "no first sequence number";
  return nullptr;
}

// Seed 0: the id and the salt are not known before this is read, so the header cannot be bound to them. Whoever reads
// it compares.
uint64_t struct_checksum(const SegmentHeaderDisk& disk) {
  return checksum(bytes_of(disk).substr(0, offsetof(SegmentHeaderDisk, checksum)));
}

// Takes the fields as they are: the caller has looked at `prepared`, broken_rule() looks at the kind.
SegmentHeader fields_of(const SegmentHeaderDisk& disk) {
  SegmentHeader header;
  header.kind = static_cast<SegmentKind>(disk.kind);
  header.prepared = disk.prepared != 0;
  header.id = SegmentId(disk.id);
  header.salt = disk.salt;
  header.previous_id = SegmentId(disk.previous_id);
  header.previous_mark = CommitNo(disk.previous_mark);
  header.previous_mark_offset = disk.previous_mark_offset;
  header.previous_mark_checksum = disk.previous_mark_checksum;
  header.first_seq = SeqNo(disk.first_seq);
  header.last_seq = SeqNo(disk.last_seq);
  header.next_ino = disk.next_ino;
  header.proven_id = SegmentId(disk.proven_id);
  header.generation = disk.generation;
  return header;
}

}  // namespace

SegmentHeaderDisk encode_segment_header(const SegmentHeader& header) {
  CHECK(broken_rule(header) == nullptr);
  SegmentHeaderDisk disk{};
  disk.magic = kSegmentMagic;
  disk.version = kFormatVersion;
  disk.kind = static_cast<uint8_t>(header.kind);
  disk.prepared = header.prepared ? 1 : 0;
  disk.id = header.id.value;
  disk.salt = header.salt;
  disk.previous_id = header.previous_id.value;
  disk.previous_mark = header.previous_mark.value;
  disk.previous_mark_offset = header.previous_mark_offset;
  disk.previous_mark_checksum = header.previous_mark_checksum;
  disk.first_seq = header.first_seq.value;
  disk.last_seq = header.last_seq.value;
  disk.next_ino = header.next_ino;
  disk.proven_id = header.proven_id.value;
  disk.generation = header.generation;
  disk.superblock = encode_superblock(header.superblock);
  disk.checksum = struct_checksum(disk);
  return disk;
}

Result<SegmentHeader> decode_segment_header(ByteView bytes) {
  const auto bad = [](std::string_view what) {
    return fail(ErrorCode::kCorrupt, fmt::format("segment header: {}", what));
  };
  if (bytes.size() < sizeof(SegmentHeaderDisk)) return bad("shorter than 512 bytes");
  const auto disk = load<SegmentHeaderDisk>(bytes);
  if (disk.magic != kSegmentMagic) return bad("wrong magic");
  if (auto version = check_version(disk.version, kFormatVersion); !version) return fail(std::move(version).error());
  if (disk.checksum != struct_checksum(disk)) return bad("checksum mismatch");
  if (disk.prepared > 1) return bad("unknown state");
  if (!all_zero(bytes_of(disk.zero0)) || !all_zero(bytes_of(disk.zero1)) || !all_zero(bytes_of(disk.zero2))) {
    return bad("unused bytes are not zero");
  }
  SegmentHeader header = fields_of(disk);
  if (const char* rule = broken_rule(header)) return bad(rule);
  auto superblock = decode_superblock(bytes_of(disk.superblock));
  if (!superblock) return bad(fmt::format("copy of the {}", superblock.error().message));
  header.superblock = *superblock;
  return header;
}

void encode_segment_header_block(const SegmentHeader& header, char* block) {
  // Both copies are in one block, written at once; a torn write leaves one of them old or new as a whole, since each is
  // one sector.
  const auto disk = encode_segment_header(header);
  std::memset(block, 0, kSegmentHeaderSize);
  std::memcpy(block, &disk, sizeof disk);
  std::memcpy(block + kSegmentHeaderCopyOffset, &disk, sizeof disk);
}

Result<SegmentHeader> decode_segment_header_block(ByteView block) {
  auto first = decode_segment_header(block);
  if (first && !first->prepared) return first;
  // The copies differ after a crash between "prepared" and "in use" only. In use wins: records may follow, and a walk
  // that finds none loses nothing, but one that is not made may.
  auto second = decode_segment_header(block.substr(std::min<size_t>(block.size(), kSegmentHeaderCopyOffset)));
  if (second && (!first || !second->prepared)) return second;
  if (!first && second.error().code == ErrorCode::kUnsupported) return second;
  return first;
}

Bytes segment_file_name(SegmentId id) { return fmt::format("{:016x}{}", id.value, kFileSuffix); }

std::optional<SegmentId> parse_segment_file_name(ByteView name) { return parse_file_name(name, kFileSuffix); }

Bytes new_segment_file_name(SegmentId id) { return fmt::format("{:016x}{}", id.value, kNewFileSuffix); }

std::optional<SegmentId> parse_new_segment_file_name(ByteView name) { return parse_file_name(name, kNewFileSuffix); }

}  // namespace cairn::format
