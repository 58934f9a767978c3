// One way to keep blobs: what the benchmark `engine` compares.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace cairn::bench {

// Thread-safe. What fails throws: a benchmark of errors measures nothing.
class Peer {
 public:
  virtual ~Peer() = default;
  virtual void put(std::string_view key, std::string_view value) = 0;
  // Calls `look` with the value while it is valid. False if there is none.
  virtual bool get(std::string_view key, const std::function<void(std::string_view)>& look) = 0;
  // Calls `look` for every value in order of keys.
  virtual void scan(const std::function<void(std::string_view)>& look) = 0;
  virtual void sync() = 0;  // everything is durable
};

struct Place {
  std::string directory;  // exists and is empty
  // What a peer with a cache of its own may hold in it, bytes of values. Beside it everybody has the kernel's page cache,
  // as far as the process may.
  uint64_t cache = 0;
  bool direct = false;  // ours reads past the page cache
  uint64_t limit = 0;   // of what keeps to a size on disk by itself, bytes
};

struct PeerKind {
  std::string name;
  std::function<std::unique_ptr<Peer>(const Place&)> make;
  bool counts = true;  // whether ours is compared with it, or it is only shown beside
};

// Ours come first. What is not built in makes null.
std::vector<PeerKind> stores();
std::vector<PeerKind> caches();  // keep to place.limit

// Each is null if its package was not there.
std::unique_ptr<Peer> make_rocksdb_blob(const Place& place);
std::unique_ptr<Peer> make_rocksdb_plain(const Place& place);  // as it comes: without a cache for blobs
std::unique_ptr<Peer> make_rocksdb_fifo(const Place& place);
std::unique_ptr<Peer> make_lmdb(const Place& place);
std::unique_ptr<Peer> make_sqlite(const Place& place);

// No cache that anybody could use, but what one costs at least: see bare.cc. For values of 1 MiB.
std::unique_ptr<Peer> make_bare(const Place& place);

// What is written below `directory` so far is on disk.
void sync_directory(const std::string& directory);

}  // namespace cairn::bench
