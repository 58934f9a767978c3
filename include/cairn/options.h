// What a user may choose: at mkfs (fixed for the life of a store) and at open. Sizes are bytes. The defaults are those
// of the commands.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace cairn {

// On disk as these numbers (FORMAT.md, "Superblock").
enum class Mode : uint8_t {
  kCache = 0,  // bounded, may lose the unsealed slab in a crash, never returns wrong bytes
  kCas = 1,    // durable: fsync means on disk, nothing is evicted
};

// Geometry of a new store. Zero means the default. make_store() checks everything and says what is allowed; nothing but
// a cache's limit can be changed afterwards (Store::set_limit()).
struct StoreGeometry {
  Mode mode = Mode::kCas;
  // The whole store stays below it at every instant, counted as du counts: allocated blocks. At least 16 MiB, and 16
  // segments.
  uint64_t limit = 0;         // bytes; needed in cache mode, refused in cas mode
  uint64_t segment_size = 0;  // bytes, multiple of 4 KiB; default 32 MiB, cache mode limit/64 within 1..64 MiB
  // At most an eighth of a segment.
  uint64_t chunk_size = 0;  // bytes, power of two; default 128 KiB
  // LEVEL is 1 to 19. Values that do not shrink by an eighth are stored as they are.
  std::string compression = "lz4";  // none | lz4 | zstd | zstd:LEVEL
};

// Choices at open; none of them changes what is on disk. Memory is what the three *_bytes say, and besides up to four
// segments (the open one, two that wait for their seal, the one sealed last), plus some 200 bytes for each record in
// them, and at most 16 MiB of buffers for values to come. A cached value of 64 KiB and more takes whole pages, up to an eighth
// more than it is long.
struct Options {
  bool read_only = false;              // fsck, inspection: nothing is written, recovery happens in memory
  uint64_t commit_interval_ms = 1000;  // cas mode: bounds what a crash loses of what was not synced; 0 = only on sync
  uint64_t block_cache_bytes = 32ull << 20;  // index blocks
  uint64_t chunk_cache_bytes = 64ull << 20;  // values, decompressed and verified
  // Values are read from the disk past the kernel's page cache, so that nothing is held there and in chunk_cache_bytes at once: for
  // a program that gives the cache the memory it has. Not for a mount, whose readers have the kernel's cache and read-ahead.
  bool direct_reads = false;
  uint64_t filter_bytes = 32ull << 20;  // one filter over all keys; a store with too many keys for it goes without
  // Goes into the lock file; a line of it is shown, escaped.
  std::string owner;                       // shown to whoever finds the store locked, e.g. the mount point
  std::shared_ptr<spdlog::logger> logger;  // none: silent
};

}  // namespace cairn
