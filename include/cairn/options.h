// What a user may choose: at mkfs (fixed for the life of a store) and at open.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace spdlog {
class logger;
}

namespace cairn {

enum class Mode : uint8_t {
  kCache = 0,  // bounded, may lose the unsealed slab in a crash, never returns wrong bytes
  kCas = 1,    // durable: fsync means on disk, nothing is evicted
};

// Geometry of a new store. Zero means the default.
struct StoreGeometry {
  Mode mode = Mode::kCas;
  uint64_t limit = 0;               // bytes; needed in cache mode, refused in cas mode
  uint64_t segment_size = 0;        // bytes, multiple of 4 KiB; default 32 MiB, cache mode limit/64 within 1..64 MiB
  uint64_t chunk_size = 0;          // bytes, power of two; default 128 KiB
  std::string compression = "lz4";  // none | lz4 | zstd | zstd:LEVEL
};

// Choices at open; none of them changes what is on disk.
struct Options {
  bool read_only = false;              // fsck, inspection: nothing is written, recovery happens in memory
  uint64_t commit_interval_ms = 1000;  // cas mode: bounds what a crash loses of what was not synced; 0 = only on sync
  uint64_t block_cache_bytes = 32ull << 20;  // index blocks
  uint64_t chunk_cache_bytes = 64ull << 20;  // decompressed values
  uint64_t filter_bytes = 32ull << 20;       // one filter over all keys; a store with too many keys for it goes without
  std::string owner;                         // shown to whoever finds the store locked, e.g. the mount point
  std::shared_ptr<spdlog::logger> logger;    // none: silent
};

}  // namespace cairn
