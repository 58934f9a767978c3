#include "log/scan.h"

#include <algorithm>
#include <new>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/try.h"
#include "format/decode.h"
#include "log/segment_image.h"

namespace cairn::log {
namespace {

using format::kSegmentHeaderSize;

// Bytes of one read. Large enough for a disk, and small enough that one bad sector costs at most a megabyte of reading
// block by block.
constexpr size_t kReadSize = 1 << 20;
static_assert(kReadSize % io::kBlockSize == 0 && format::kCommitAlignment == io::kBlockSize);

// No segment is larger: an extent holds kMaxExtentLength bytes, and at most half as much again of headers and keys.
constexpr uint64_t kMaxImage = format::kMaxExtentLength * 3 / 2;

static_assert(kMaxImage % format::kCommitAlignment == 0, "what is scanned ends on a commit boundary");

// How much of the file can hold records at all: a hostile file may be as large as it likes.
uint64_t bytes_to_scan(uint64_t file_size, const format::SegmentHeader& header, const ScanOptions& options) {
  uint64_t bound = header.kind == format::SegmentKind::kLog ? header.superblock.segment_size : kMaxImage;
  if (options.sealed_end) bound = std::min(*options.sealed_end, kMaxImage);
  return std::min(file_size, bound);
}

// Fills `out`. What the device cannot read is tried again in blocks, so that only those are lost. One level of
// recursion.
Result<void> read_range(const io::File& file, uint64_t offset, std::span<char> out, const ScanOptions& options,
                        std::vector<Damage>& damage) {
  auto got = file.pread(offset, out);
  if (got) return {};
  if (!options.skip_unreadable || got.error().code != ErrorCode::kIo) return fail(std::move(got).error());
  if (out.size() > io::kBlockSize) {
    for (size_t at = 0; at < out.size(); at += io::kBlockSize) {
      TRY(read_range(file, offset + at, out.subspan(at, std::min(io::kBlockSize, out.size() - at)), options, damage));
    }
    return {};
  }
  std::fill(out.begin(), out.end(), '\0');
  damage.push_back({offset, out.size(), "unreadable: " + got.error().message, {}, {}});
  return {};
}

// The first `length` bytes, and zeros to a multiple of 4096.
Result<std::shared_ptr<Bytes>> read_image(const io::File& file, uint64_t length, const ScanOptions& options,
                                          std::vector<Damage>& damage) {
  std::shared_ptr<Bytes> image;
  // The length is the file's real one, bounded by what a segment can be. A sparse file may still be larger than memory.
  try {
    image = std::make_shared<Bytes>(round_up_to_commit(length), '\0');
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kOutOfMemory, fmt::format("no memory for {} bytes of a segment", length));
  }
  for (uint64_t at = 0; at < length; at += kReadSize) {
    const auto part = std::span<char>(*image).subspan(at, std::min<uint64_t>(kReadSize, length - at));
    TRY(read_range(file, at, part, options, damage));
  }
  return image;
}

// Both copies of the header must be there and equal, and the rest of their block zero.
void check_header_block(ByteView block, std::vector<Damage>& damage) {
  constexpr size_t kSize = sizeof(format::SegmentHeaderDisk);
  const ByteView first = block.substr(0, kSize);
  const ByteView second = block.substr(format::kSegmentHeaderCopyOffset, kSize);
  const bool first_ok = format::decode_segment_header(first).has_value();
  const bool second_ok = format::decode_segment_header(second).has_value();
  if (!first_ok) damage.push_back({0, kSize, "segment header, first copy", {}, {}});
  if (!second_ok || (first_ok && first != second)) {
    damage.push_back({format::kSegmentHeaderCopyOffset, kSize, "segment header, second copy", {}, {}});
  }
  for (const uint64_t begin : {uint64_t{kSize}, format::kSegmentHeaderCopyOffset + kSize}) {
    const uint64_t end = begin == kSize ? format::kSegmentHeaderCopyOffset : kSegmentHeaderSize;
    if (!format::all_zero(block.substr(begin, end - begin))) damage.push_back({begin, end - begin, "padding", {}, {}});
  }
}

}  // namespace

Result<format::SegmentHeader> read_segment_header(const io::File& file, const std::string& name, SegmentId id,
                                                  const std::array<unsigned char, 16>* uuid) {
  Bytes block(kSegmentHeaderSize, '\0');
  TRY_ASSIGN(const size_t length, file.pread(0, block));
  // A copy that came here by a misdirected write is sound, but another file's: the other copy may still be ours.
  std::optional<format::SegmentHeader> ours;
  for (const size_t at : {size_t{0}, size_t{format::kSegmentHeaderCopyOffset}}) {
    const auto copy = format::decode_segment_header(ByteView(block).substr(0, length).substr(std::min(at, length)));
    if (!copy || copy->id != id || (uuid != nullptr && copy->superblock.uuid != *uuid)) continue;
    if (!ours || (ours->prepared && !copy->prepared)) ours = *copy;
  }
  if (ours) return *ours;
  auto header = format::decode_segment_header_block(ByteView(block).substr(0, length));
  if (!header) return fail(header.error().code, fmt::format("{}: {}", name, header.error().message));
  if (header->id != id) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: segment header: is of segment {:016x}", name, header->id.value));
  }
  if (uuid != nullptr && header->superblock.uuid != *uuid) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: segment header: belongs to another store, {}", name,
                                                 format::uuid_text(header->superblock.uuid)));
  }
  return header;
}

Result<SegmentScan> scan_segment(const io::File& file, const format::SegmentHeader& header,
                                 const ScanOptions& options) {
  if (options.drop_cache) file.drop_cache();
  TRY_ASSIGN(const io::FileStat stat, file.stat());
  SegmentScan result;
  TRY_ASSIGN(auto bytes, read_image(file, bytes_to_scan(stat.size, header, options), options, result.damage));
  const SegmentImage image(*bytes, header);
  const uint64_t durable = header.kind == format::SegmentKind::kLog
                               ? scan_log(image, bytes->data(), header, options, result)
                               : scan_records(image, header, options, result);
  if (durable >= kSegmentHeaderSize && image.limit() >= kSegmentHeaderSize) {
    check_header_block(image.bytes(0, kSegmentHeaderSize), result.damage);
  }
  // Unreadable blocks were noted before the walk, which begins at the front again.
  std::stable_sort(result.damage.begin(), result.damage.end(),
                   [](const Damage& a, const Damage& b) { return a.offset < b.offset; });
  const uint64_t end = std::min(result.end, image.limit());
  // Also bytes of an earlier file that a crash left in blocks which were allocated and never written.
  result.torn_tail = !options.sealed_end && !format::all_zero(image.bytes(end, image.limit()));
  result.image = std::move(bytes);
  return result;
}

}  // namespace cairn::log
