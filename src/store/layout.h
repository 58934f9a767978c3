// The store directory: what lies in it, and opening its parts. Shared by the engine, mkfs and fsck.
#pragma once

#include <memory>
#include <string>

#include "cairn/options.h"
#include "cairn/result.h"
#include "format/superblock.h"
#include "io/env.h"
#include "store/liveness.h"
#include "store/segment_set.h"
#include "store/version.h"

namespace cairn::store {

inline constexpr char kLockFile[] = "lock";
inline constexpr char kQuarantineDir[] = "quarantine";
inline constexpr char kNewSuperblockFile[] = "superblock.new";  // of a change that a crash cut short: means nothing
inline constexpr uint64_t kMinLimitSegments = 16;               // that must fit a cache's limit
inline constexpr uint64_t kMinLimit = 16ull << 20;              // bytes, of a cache

// Opens the directory and decodes its superblock. kNotFound, kInvalid (not a store: names mkfs), kCorrupt (names fsck), kUnsupported.
Result<std::shared_ptr<io::Directory>> open_store_directory(io::Env& env, const std::string& path);
// A store whose superblock is missing, but not its segments, is kCorrupt.
Result<format::Superblock> read_superblock(const io::Directory& directory, const std::string& path);
// The copy that segment headers carry, for a superblock that is damaged or missing. kCorrupt if no header can be read, or
// if two of them differ: nothing is guessed. In the limit they may: that of the newest segment counts.
Result<format::Superblock> superblock_from_segments(const SegmentFiles& files);
// Creates or overwrites the file, synced; the caller syncs the directory.
Result<void> write_superblock(io::Directory& directory, const format::Superblock& superblock);
// Replaces it atomically and durably. After an error the old or the new one is in place.
Result<void> replace_superblock(io::Directory& directory, const format::Superblock& superblock);
// kBusy says who holds the store.
Result<std::unique_ptr<io::FileLock>> lock_store(io::Directory& directory, const std::string& path,
                                                 const std::string& owner);

// segments/ with its caches.
Result<std::shared_ptr<const SegmentFiles>> open_segment_files(const io::Directory& directory, size_t block_cache_bytes,
                                                               bool direct_reads = false);

// Reads the liveness map as of `version`: bits into `liveness`; the header, or one that covers nothing if there is no map.
// A bitmap of which neither copy can be read leaves its segment all live: `damaged` (may be empty) is told.
// `only_once` gets the segments whose copies differ: what the newest map changed is in its first copy alone.
Result<LivenessHeader> load_liveness(const Version& version, ValueReader& values, Liveness& liveness,
                                     const std::function<void(const std::string&)>& damaged,
                                     std::vector<SegmentId>* only_once = nullptr);

}  // namespace cairn::store
