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

struct PeerKind {
  std::string name;
  // Opens a new one in `directory`, which exists and is empty.
  std::function<std::unique_ptr<Peer>(const std::string& directory)> make;
};

std::vector<PeerKind> peers();  // what this program was built with; ours first
// Caches that keep to `limit` bytes on disk by themselves.
std::unique_ptr<Peer> make_cairn_cache(const std::string& directory, uint64_t limit);
std::unique_ptr<Peer> make_rocksdb_fifo(const std::string& directory, uint64_t limit);  // null: not built in

}  // namespace cairn::bench
