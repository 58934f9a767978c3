#include "format/superblock.h"

#include <bit>
#include <cstddef>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"

namespace cairn::format {
namespace {

constexpr uint64_t kMinSegmentSize = 64ull << 10;
constexpr uint64_t kMaxSegmentSize = 1ull << 30;
constexpr uint64_t kMinChunkSize = 4096;

// The first rule that `superblock` breaks, or null. Held before writing and after reading.
const char* broken_rule(const Superblock& superblock) {
  const auto [codec, level] = superblock.compression;
  if (superblock.mode != Mode::kCache && superblock.mode != Mode::kCas) return "unknown mode";
  if (codec > Codec::kZstd) return "unknown codec";
  if (codec == Codec::kZstd ? level < 1 || level > 19 : level != 0) return "compression level out of range";
  if (superblock.segment_size % 4096 != 0 || superblock.segment_size < kMinSegmentSize ||
      superblock.segment_size > kMaxSegmentSize) {
    return "segment size out of range";
  }
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
  for (size_t i = 0; i < uuid.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text.push_back('-');
    text += fmt::format("{:02x}", uuid[i]);
  }
  return text;
}

}  // namespace cairn::format
