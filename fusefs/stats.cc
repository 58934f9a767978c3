#include "fusefs/stats.h"

#include <array>
#include <cstddef>

#include <nlohmann/json.hpp>

namespace cairn::fusefs {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<const char*, kEvictReasons> kReasonNames = {"evicted_cold", "evicted_young", "evicted_group",
                                                                 "evicted_damaged"};

static_assert(kReasonNames[kEvictReasons - 1] != nullptr, "a name for each reason, in the order of EvictReason");

// The figures of the cache; in cas mode all of them stay 0.
void add_cache(Json& json, const CacheStats& cache) {
  json["hits"] = cache.hits;
  json["misses"] = cache.misses;
  json["bytes_in"] = cache.bytes_in;
  json["bytes_out"] = cache.bytes_out;
  for (size_t i = 0; i < kEvictReasons; ++i) json[kReasonNames[i]] = cache.evicted_files[i];
  json["evicted_directories"] = cache.evicted_directories;
  json["evicted_bytes"] = cache.evicted_bytes;
  json["retention_s"] = cache.retention_s;
  json["pinned_bytes"] = cache.pinned_bytes;
  json["pinned_files"] = cache.pinned_files;
}

}  // namespace

// The order is that of README.md. Names only ever get more: scripts read them.
std::string stats_json(const StoreStats& store, const CacheStats& cache, uint64_t known_inodes) {
  Json json;
  json["mode"] = store.mode == Mode::kCache ? "cache" : "cas";
  json["limit"] = store.limit;
  json["allocated_bytes"] = store.allocated_bytes;
  json["live_bytes"] = store.live_bytes;
  json["space_amplification"] = store.space_amplification;
  json["write_amplification"] = store.write_amplification;
  json["logged_bytes"] = store.bytes_logged;
  json["copied_bytes"] = store.bytes_copied;
  json["punched_bytes"] = store.punched_bytes;
  json["disk_total"] = store.disk_total;
  json["disk_available"] = store.disk_available;
  json["segments"] = store.segments;
  json["tables"] = store.tables;
  json["seals"] = store.seals;
  json["commits"] = store.commits;
  json["merges"] = store.merges;
  json["compactions"] = store.compactions;
  json["corrupt_reads"] = store.corrupt_reads;
  json["read_only"] = store.read_only ? 1 : 0;
  json["read_only_reason"] = store.read_only_reason;
  json["degraded"] = store.degraded ? 1 : 0;
  json["degraded_reason"] = store.degraded_reason;
  json["unwritten_bytes"] = store.unwritten_bytes;
  add_cache(json, cache);
  json["known_inodes"] = known_inodes;
  // Names in messages need not be UTF-8.
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace) + "\n";
}

}  // namespace cairn::fusefs
