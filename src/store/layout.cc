#include "store/layout.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "io/file_cache.h"
#include "log/scan.h"

namespace cairn::store {
namespace {

static_assert(kMinLimit >= kMinLimitSegments * (uint64_t{1} << 20), "sixteen segments of the default's minimum fit");

constexpr size_t kSuperblockFileSize = 4096;  // bytes

// Tells a store that lost its superblock from a directory that never was one.
static_assert(sizeof(format::SuperblockDisk) <= kSuperblockFileSize);

bool has_segments(const io::Directory& directory) {
  const auto segments = directory.open_dir(format::kSegmentsDir);
  if (!segments) return false;
  const auto names = (*segments)->list();
  return names && std::any_of(names->begin(), names->end(), [](const std::string& name) {
           return format::parse_segment_file_name(name).has_value();
         });
}

Result<Value> find_value(const Version& version, ValueReader& values, ByteView key) {
  TRY_ASSIGN(auto found, version.find(key, kMaxSeq));
  if (!found || found->entry.type == format::RecordType::kErase) return fail(ErrorCode::kNotFound);
  return values.read(version, key, *found, {});
}

}  // namespace

Result<std::shared_ptr<io::Directory>> open_store_directory(io::Env& env, const std::string& path) {
  auto directory = env.open_dir(path);
  if (!directory)
    return fail(directory.error().code, fmt::format("cannot open store {}: {}", path, directory.error().message));
  return std::shared_ptr<io::Directory>(std::move(*directory));
}

Result<format::Superblock> read_superblock(const io::Directory& directory, const std::string& path) {
  auto file = directory.open(format::kSuperblockFile, {});
  if (!file) {
    if (file.error().code == ErrorCode::kNotFound && has_segments(directory))
      return fail(ErrorCode::kCorrupt,
                  fmt::format("{}/superblock is missing; run: fsck.cairnfs --rebuild-index {}", path, path));
    if (file.error().code == ErrorCode::kNotFound)
      return fail(
          ErrorCode::kInvalid,
          fmt::format("{} is not a CairnFS store (it has no superblock); make one with: mkfs.cairnfs {}", path, path));
    return fail(file.error());
  }
  // Every error from here on names what to do next: it is the first thing that somebody with a damaged store reads.
  Bytes bytes(kSuperblockFileSize, '\0');
  TRY_ASSIGN(const size_t got, (*file)->pread(0, bytes));
  if (got < bytes.size())
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}/superblock is truncated ({} of {} bytes); run: fsck.cairnfs --rebuild-index {}", path,
                            got, bytes.size(), path));
  auto superblock = format::decode_superblock(bytes);
  if (superblock) return superblock;
  const Error& e = superblock.error();
  if (e.code == ErrorCode::kUnsupported)
    return fail(e.code, fmt::format("{}/superblock: {}; use a newer cairnfs", path, e.message));
  return fail(e.code, fmt::format("{}/superblock: {}; run: fsck.cairnfs --rebuild-index {}", path, e.message, path));
}

Result<format::Superblock> superblock_from_segments(const SegmentFiles& files) {
  TRY_ASSIGN(const auto names, files.directory->list());
  std::optional<format::Superblock> found;
  uint64_t limit = 0;
  SegmentId newest;
  for (const std::string& name : names) {
    const auto id = format::parse_segment_file_name(name);
    if (!id) continue;
    const auto file = files.directory->open(name, {});
    if (!file) continue;  // what cannot be opened is reported where it matters
    const auto header = log::read_segment_header(**file, name, *id, nullptr);
    if (!header) continue;
    format::Superblock copy = header->superblock;
    // Ids ascend with time, so the newest segment has the limit that was set last.
    if (!found || *id > newest) {
      limit = copy.limit;
      newest = *id;
    }
    if (found) copy.limit = found->limit;
    // Two stores in one directory: taking either would call the other's segments damaged, and a repair would set them
    // aside.
    if (found && !(copy == *found))
      return fail(ErrorCode::kCorrupt, fmt::format("segments/{} is of another store than those before it", name));
    found = copy;
  }
  if (!found) return fail(ErrorCode::kCorrupt, "the superblock is lost: no segment has a copy of it");
  DCHECK(newest != SegmentId{});
  found->limit = limit;
  return *found;
}

namespace {

// The struct, and zeros up to a block: so that it is read and written whole.
Bytes superblock_file(const format::Superblock& superblock) {
  const auto disk = format::encode_superblock(superblock);
  Bytes block(kSuperblockFileSize, '\0');
  std::memcpy(block.data(), &disk, sizeof disk);
  return block;
}

// Synced, under the name of a change to come.
Result<void> write_new_superblock(io::Directory& directory, const format::Superblock& superblock) {
  auto file = directory.open(kNewSuperblockFile, {io::OpenMode::kCreate, false});
  if (!file && file.error().code == ErrorCode::kExists) {  // a crash left it
    TRY(directory.unlink(kNewSuperblockFile));
    file = directory.open(kNewSuperblockFile, {io::OpenMode::kCreate, false});
  }
  if (!file) return fail(std::move(file).error());
  TRY((*file)->pwrite(0, superblock_file(superblock)));
  TRY((*file)->sync());
  return (*file)->close();
}

}  // namespace

Result<void> write_superblock(io::Directory& directory, const format::Superblock& superblock) {
  auto file = directory.open(format::kSuperblockFile, {io::OpenMode::kCreate, false});
  if (!file && file.error().code == ErrorCode::kExists)
    file = directory.open(format::kSuperblockFile, {io::OpenMode::kReadWrite, false});
  if (!file) return fail(std::move(file).error());
  // In place: for mkfs, where there is no old one to lose, and for a rebuild of one that is lost already.
  TRY((*file)->truncate(kSuperblockFileSize));
  TRY((*file)->pwrite(0, superblock_file(superblock)));
  TRY((*file)->sync());
  return (*file)->close();
}

Result<void> replace_superblock(io::Directory& directory, const format::Superblock& superblock) {
  if (auto written = write_new_superblock(directory, superblock); !written) {
    if (auto gone = directory.unlink(kNewSuperblockFile); !gone && gone.error().code != ErrorCode::kNotFound)
      written.error().message += "; and " + gone.error().message;  // the next change removes it
    return written;
  }
  // Old or new after a crash, as the rename is atomic and the content is on disk before it (hazard 15).
  TRY(directory.rename(kNewSuperblockFile, format::kSuperblockFile));
  return directory.sync();
}

Result<std::unique_ptr<io::FileLock>> lock_store(io::Directory& directory, const std::string& path,
                                                 const std::string& owner) {
  // Held for life. It dies with the process, so there is nothing to clean up after a crash (hazard 44).
  auto lock = directory.lock(kLockFile, owner);
  if (!lock) return fail(lock.error().code, fmt::format("store {}: {}", path, lock.error().message));
  return lock;
}

Result<std::shared_ptr<const SegmentFiles>> open_segment_files(const io::Directory& directory, size_t block_cache_bytes,
                                                               bool direct_reads) {
  auto files = std::make_shared<SegmentFiles>();
  TRY_ASSIGN(files->directory, directory.open_dir(format::kSegmentsDir));
  files->files = std::make_shared<io::FileCache>();
  files->blocks = std::make_shared<index::BlockCache>(block_cache_bytes);
  files->buffers = std::make_shared<io::BufferPool>();
  files->direct_reads = direct_reads;
  return std::shared_ptr<const SegmentFiles>(std::move(files));
}

Result<LivenessHeader> load_liveness(const Version& version, ValueReader& values, Liveness& liveness,
                                     const std::function<void(const std::string&)>& damaged,
                                     std::vector<SegmentId>* only_once) {
  auto header = find_value(version, values, liveness_header_key());
  // A young store has none yet: all its segments count as alive, and the first kills find out.
  if (!header && header.error().code == ErrorCode::kNotFound) return LivenessHeader{};
  if (!header) return fail(header.error());
  TRY_ASSIGN(auto decoded, decode_liveness_header(header->view()));
  for (const auto& segment : version.segments->all()) {
    if (segment->meta().kind == format::SegmentKind::kExtent) continue;
    Bytes copies[2];
    // Two copies in different segments: one damaged segment does not bring the dead of another back. Bits are only ever
    // set, so both may be loaded, whichever is newer.
    for (unsigned copy : {0u, 1u}) {
      auto value = find_value(version, values, liveness_key(copy, segment->id()));
      if (!value && value.error().code == ErrorCode::kNotFound) continue;
      Result<void> loaded;
      if (value) {
        copies[copy] = value->view();
        loaded = liveness.load(segment->id(), segment->meta().entries, value->view());
      } else {
        loaded = fail(value.error());
      }
      if (!loaded && damaged)
        damaged(fmt::format("liveness map of {}, copy {}: {}", segment->name(), copy, loaded.error().message));
    }
    // A crash, or a shutdown, came between the two maps: the next one writes them again.
    if (only_once && copies[0] != copies[1]) only_once->push_back(segment->id());
  }
  return decoded;
}

}  // namespace cairn::store
