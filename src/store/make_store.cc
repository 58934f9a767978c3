// mkfs: an empty store.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/try.h"
#include "cairn/store.h"
#include "format/segment.h"
#include "format/superblock.h"
#include "index/manifest.h"
#include "io/env.h"
#include "store/layout.h"
#include "store/reserve.h"

namespace cairn {
namespace {

constexpr uint64_t kKiB = 1024, kMiB = 1024 * kKiB, kGiB = 1024 * kMiB;
constexpr uint64_t kMinSegment = 64 * kKiB, kMaxSegment = 1 * kGiB;
constexpr uint64_t kMinChunk = 4 * kKiB;
static_assert(kMinSegment / 8 >= kMinChunk, "the smallest segment has a chunk size");
static_assert(kMaxSegment / 4 == format::kMaxRawLength, "the largest batch holds the largest record");

Result<format::Compression> parse_compression(const std::string& text) {
  if (text == "none") return format::Compression{format::Codec::kNone, 0};
  if (text == "lz4") return format::Compression{format::Codec::kLz4, 0};
  if (text == "zstd") return format::Compression{format::Codec::kZstd, 3};
  constexpr std::string_view kPrefix = "zstd:";
  if (text.starts_with(kPrefix)) {
    const std::string level = text.substr(kPrefix.size());
    if (!level.empty() && level.size() <= 2 && level.find_first_not_of("0123456789") == std::string::npos) {
      // Two digits at most: cannot fail.
      const int n = std::stoi(level);
      if (n >= 1 && n <= 19) return format::Compression{format::Codec::kZstd, n};
    }
    return fail(ErrorCode::kInvalid, fmt::format("compression level \"{}\": zstd takes 1 to 19", level));
  }
  return fail(ErrorCode::kInvalid, fmt::format("unknown compression \"{}\": use none, lz4, zstd or zstd:LEVEL", text));
}

Result<uint64_t> choose_segment_size(const StoreGeometry& g) {
  const bool cache = g.mode == Mode::kCache;
  // Checked as a user would ask: the limit first, then what it means for segments.
  if (cache && g.limit < store::kMinLimit)
    return fail(ErrorCode::kInvalid,
                fmt::format("limit of {} bytes is too small: a cache needs room for {} segments of 1 MiB, so at "
                            "least --limit 16M",
                            g.limit, store::kMinLimitSegments));
  uint64_t size = g.segment_size;
  if (size == 0) {
    // A 64th: small enough that a cache of any size has segments to choose from, large enough that a big one has not
    // too many files.
    size = cache ? std::clamp<uint64_t>(g.limit / 64, kMiB, 64 * kMiB) / 4096 * 4096 : 32 * kMiB;
  }
  if (size < kMinSegment || size > kMaxSegment || size % 4096 != 0)
    return fail(ErrorCode::kInvalid,
                fmt::format("segment size of {} bytes: allowed are multiples of 4K from 64K to 1G", size));
  if (cache && size > g.limit / store::kMinLimitSegments)
    return fail(ErrorCode::kInvalid,
                fmt::format("segment size of {} bytes is too large: at least {} segments must fit the limit of {} "
                            "bytes",
                            size, store::kMinLimitSegments, g.limit));
  return size;
}

Result<format::Superblock> plan(io::Env& env, const StoreGeometry& g) {
  format::Superblock sb;
  sb.mode = g.mode;
  sb.limit = g.limit;
  if (g.mode == Mode::kCas && g.limit != 0)
    return fail(ErrorCode::kInvalid, "--limit is for cache mode: a cas store never evicts");
  TRY_ASSIGN(sb.compression, parse_compression(g.compression));
  TRY_ASSIGN(sb.segment_size, choose_segment_size(g));
  sb.chunk_size = g.chunk_size ? g.chunk_size : std::min<uint64_t>(128 * kKiB, std::bit_floor(sb.segment_size / 8));
  if (!std::has_single_bit(sb.chunk_size) || sb.chunk_size < kMinChunk || sb.chunk_size > sb.segment_size / 8)
    return fail(ErrorCode::kInvalid,
                fmt::format("chunk size of {} bytes: allowed are powers of two from 4K to an eighth of the segment "
                            "size ({} bytes)",
                            sb.chunk_size, sb.segment_size));
  const uint64_t random[2] = {env.random(), env.random()};
  static_assert(sizeof random == sizeof sb.uuid);
  std::memcpy(sb.uuid.data(), random, sizeof random);
  sb.uuid[6] = static_cast<unsigned char>((sb.uuid[6] & 0x0f) | 0x40);  // RFC 9562: version 4, variant 10
  sb.uuid[8] = static_cast<unsigned char>((sb.uuid[8] & 0x3f) | 0x80);
  sb.created_seconds = env.now().seconds;
  return sb;
}

// Removes what a store consists of, so that --force starts from nothing. Only files that a store has are touched.
Result<void> clear_store(io::Directory& directory) {
  // A store that is mounted is not removed from under its daemon: kBusy.
  TRY_ASSIGN(auto lock, directory.lock(store::kLockFile, "mkfs.cairnfs"));
  // The superblock goes first: what is half removed is then no store any more.
  TRY(directory.unlink(format::kSuperblockFile));
  TRY(directory.sync());
  for (const char* name : {format::kSegmentsDir, index::kIndexDir, store::kQuarantineDir, store::kReserveDir}) {
    auto sub = directory.open_dir(name);
    if (!sub && sub.error().code == ErrorCode::kNotFound) continue;
    if (!sub) return fail(sub.error());
    TRY_ASSIGN(const auto names, (*sub)->list());
    for (const std::string& file : names) TRY((*sub)->unlink(file));
    TRY((*sub)->sync());
  }
  for (const char* name : {index::kManifestFile, store::kNewSuperblockFile}) {
    if (auto gone = directory.unlink(name); !gone && gone.error().code != ErrorCode::kNotFound) return gone;
  }
  return {};
}

Result<void> check_empty(io::Directory& directory, const std::string& path, bool force) {
  TRY_ASSIGN(const auto names, directory.list());
  if (names.empty()) return {};
  const bool is_store = std::find(names.begin(), names.end(), format::kSuperblockFile) != names.end();
  // Never with --force: what is no store is not ours to destroy.
  if (!is_store)
    return fail(ErrorCode::kNotEmpty,
                fmt::format("{} is not empty and not a store: choose another directory, or empty it", path));
  if (!force)
    return fail(ErrorCode::kNotEmpty,
                fmt::format("{} already holds a store: use --force to destroy it, or choose another directory", path));
  return clear_store(directory);
}

Result<void> ensure_dir(io::Directory& directory, const char* name) {
  auto made = directory.make_dir(name);
  if (!made && made.error().code == ErrorCode::kExists) return {};
  return made;
}

}  // namespace

Result<void> make_store(const std::filesystem::path& path, const StoreGeometry& geometry, bool force) {
  return make_store(io::posix_env(), path.string(), geometry, force);
}

Result<void> make_store(io::Env& env, const std::string& path, const StoreGeometry& geometry, bool force) {
  TRY_ASSIGN(const auto superblock, plan(env, geometry));
  auto made = env.make_dir(path);
  if (!made && made.error().code != ErrorCode::kExists)
    return fail(made.error().code, fmt::format("cannot make {}: {}", path, made.error().message));
  auto opened = env.open_dir(path);
  if (!opened) return fail(opened.error().code, fmt::format("cannot open {}: {}", path, opened.error().message));
  io::Directory& directory = **opened;
  TRY(check_empty(directory, path, force));
  TRY(ensure_dir(directory, format::kSegmentsDir));
  TRY(ensure_dir(directory, index::kIndexDir));
  index::Manifest manifest;
  manifest.number = 1;
  manifest.next_segment = SegmentId(1);
  manifest.next_table = TableId(1);
  // Numbers below are the tree's own: the root is 1.
  manifest.next_ino = 1024;
  TRY(index::write_manifest(directory, manifest, superblock.uuid));
  // The superblock comes last: only with it the directory is a store.
  TRY(store::write_superblock(directory, superblock));
  TRY(directory.sync());
  // The directory's own name.
  const auto parent = std::filesystem::absolute(path).lexically_normal().parent_path();
  TRY_ASSIGN(auto above, env.open_dir(parent.string()));
  return above->sync();
}

}  // namespace cairn
