#include "format/superblock.h"

#include <bit>
#include <cstddef>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"

namespace cairn::format {
namespace {

// FORMAT.md, "Superblock".
static_assert(offsetof(SuperblockDisk, uuid) == 16 && offsetof(SuperblockDisk, mode) == 32);
static_assert(offsetof(SuperblockDisk, segment_size) == 40 && offsetof(SuperblockDisk, limit) == 56);
static_assert(offsetof(SuperblockDisk, checksum) == sizeof(SuperblockDisk) - sizeof(Le64));

// From below: a segment holds its header, an operation's room and that of a commit's hook, a footer and a few records.
// From above: a walk holds one in memory.
constexpr uint64_t kMinSegmentSize = 64ull << 10;
constexpr uint64_t kMaxSegmentSize = 1ull << 30;
constexpr uint64_t kMinChunkSize = 4096;
static_assert(kMinChunkSize <= kMinSegmentSize / 8, "every segment size allows a chunk size");
static_assert(kMaxRawLength == kMaxSegmentSize / 4, "the largest batch");

// The first rule that `superblock` breaks, or null. Held before writing and after reading.
const char* broken_rule(const Superblock& superblock) {
  const auto [codec, level] = superblock.compression;
  if (superblock.mode != Mode::kCache && superblock.mode != Mode::kCas) return "unknown mode";
  if (codec > Codec::kZstd) return "unknown codec";
  // zstd's levels above 19 need memory by the hundred megabytes for each thread, and those below 1 are lz4's work.
  if (codec == Codec::kZstd ? level < 1 || level > 19 : level != 0) return "compression level out of range";
  if (superblock.segment_size % 4096 != 0 || superblock.segment_size < kMinSegmentSize ||
      superblock.segment_size > kMaxSegmentSize) {
    return "segment size out of range";
  }
  // A power of two, because the tree stores its logarithm; an eighth, because a chunk has to fit an operation beside
  // its attributes.
  if (!std::has_single_bit(superblock.chunk_size) || superblock.chunk_size < kMinChunkSize ||
      superblock.chunk_size > superblock.segment_size / 8) {
    return "chunk size out of range";
  }
  if ((superblock.mode == Mode::kCache) != (superblock.limit != 0)) return "limit does not fit the mode";
  return nullptr;
}

uint64_t struct_checksum(const SuperblockDisk& disk) {
  return checksum(bytes_of(disk).substr(0, offsetof(SuperblockDisk, checksum)));
}

}  // namespace

bool operator==(const Superblock& a, const Superblock& b) {
  // Not defaulted, as Compression has no operator of its own. A new field belongs in this list.
  return a.uuid == b.uuid && a.mode == b.mode && a.compression.codec == b.compression.codec &&
         a.compression.level == b.compression.level && a.segment_size == b.segment_size &&
         a.chunk_size == b.chunk_size && a.limit == b.limit && a.created_seconds == b.created_seconds;
}

SuperblockDisk encode_superblock(const Superblock& superblock) {
  CHECK(broken_rule(superblock) == nullptr);
  SuperblockDisk disk{};
  disk.magic = kSuperblockMagic;
  disk.version = kFormatVersion;
  disk.size = uint32_t{sizeof(SuperblockDisk)};
  disk.uuid = superblock.uuid;
  disk.mode = static_cast<uint8_t>(superblock.mode);
  disk.codec = static_cast<uint8_t>(superblock.compression.codec);
  disk.level = static_cast<uint8_t>(superblock.compression.level);
  disk.segment_size = superblock.segment_size;
  disk.chunk_size = superblock.chunk_size;
  disk.limit = superblock.limit;
  disk.created_seconds = static_cast<uint64_t>(superblock.created_seconds);
  disk.checksum = struct_checksum(disk);
  return disk;
}

Result<Superblock> decode_superblock(ByteView bytes) {
  if (bytes.size() < sizeof(SuperblockDisk)) {
    return fail(ErrorCode::kCorrupt, fmt::format("superblock has {} bytes, not 128", bytes.size()));
  }
  const auto disk = load<SuperblockDisk>(bytes);
  if (disk.magic != kSuperblockMagic) return fail(ErrorCode::kCorrupt, "not a superblock (wrong magic)");
  if (auto version = check_version(disk.version, kFormatVersion); !version) return fail(std::move(version).error());
  if (disk.checksum != struct_checksum(disk)) return fail(ErrorCode::kCorrupt, "superblock: checksum mismatch");
  const auto bad = [](const char* what) { return fail(ErrorCode::kCorrupt, fmt::format("superblock: {}", what)); };
  // Behind the checksum: from here on what is wrong was written so, by a bug or on purpose.
  if (disk.size != sizeof(SuperblockDisk)) return bad("wrong size");
  if (!all_zero(bytes_of(disk.zero0)) || !all_zero(bytes_of(disk.zero1)) ||
      !all_zero(bytes.substr(sizeof(SuperblockDisk)))) {
    return bad("unused bytes are not zero");
  }
  Superblock superblock;
  superblock.uuid = disk.uuid;
  superblock.mode = static_cast<Mode>(disk.mode);
  superblock.compression = {static_cast<Codec>(disk.codec), disk.level};
  superblock.segment_size = disk.segment_size;
  superblock.chunk_size = disk.chunk_size;
  superblock.limit = disk.limit;
  superblock.created_seconds = static_cast<int64_t>(uint64_t{disk.created_seconds});
  if (const char* rule = broken_rule(superblock)) return bad(rule);
  return superblock;
}

Bytes uuid_text(const std::array<unsigned char, 16>& uuid) {
  Bytes text;
  // 8-4-4-4-12 digits (RFC 4122). The bits for version and variant are random like the others.
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

}  // namespace cairn::format
