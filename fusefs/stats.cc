#include "fusefs/stats.h"

#include <array>
#include <cstdint>
#include <iterator>

#include <fmt/format.h>

namespace cairn::fusefs {
namespace {

// Builds a flat object; texts get their quotes escaped, as paths and messages may have them.
class JsonObject {
 public:
  void add(std::string_view name, uint64_t value) { fmt::format_to(next(name), "{}", value); }
  void add_signed(std::string_view name, int64_t value) { fmt::format_to(next(name), "{}", value); }
  void add(std::string_view name, std::string_view text) {
    std::string quoted = "\"";
    for (const char c : text) {
      if (c == '"' || c == '\\') quoted += '\\';
      quoted += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
    }
    fmt::format_to(next(name), "{}\"", quoted);
  }
  std::string take() { return text_ + "}\n"; }

 private:
  std::back_insert_iterator<std::string> next(std::string_view name) {
    fmt::format_to(std::back_inserter(text_), "{}\"{}\": ", text_.empty() ? "{" : ", ", name);
    return std::back_inserter(text_);
  }
  std::string text_;
};

constexpr std::array<std::string_view, kEvictReasons> kReasonNames = {"evicted_cold", "evicted_young", "evicted_group",
                                                                      "evicted_damaged"};

void add_cache(JsonObject& json, const CacheStats& cache) {
  json.add("hits", cache.hits);
  json.add("misses", cache.misses);
  json.add("bytes_in", cache.bytes_in);
  json.add("bytes_out", cache.bytes_out);
  for (size_t i = 0; i < kEvictReasons; ++i) json.add(kReasonNames[i], cache.evicted_files[i]);
  json.add("evicted_directories", cache.evicted_directories);
  json.add("evicted_bytes", cache.evicted_bytes);
  json.add_signed("retention_s", cache.retention_s);
  json.add("pinned_bytes", cache.pinned_bytes);
  json.add("pinned_files", cache.pinned_files);
}

}  // namespace

std::string stats_json(const StoreStats& store, const CacheStats& cache) {
  JsonObject json;
  json.add("mode", store.mode == Mode::kCache ? "cache" : "cas");
  json.add("limit", store.limit);
  json.add("allocated_bytes", store.allocated_bytes);
  json.add("live_bytes", store.live_bytes);
  json.add("disk_total", store.disk_total);
  json.add("disk_available", store.disk_available);
  json.add("segments", store.segments);
  json.add("tables", store.tables);
  json.add("seals", store.seals);
  json.add("commits", store.commits);
  json.add("merges", store.merges);
  json.add("compactions", store.compactions);
  json.add("corrupt_reads", store.corrupt_reads);
  json.add("read_only", store.read_only ? 1 : 0);
  json.add("read_only_reason", store.read_only_reason);
  add_cache(json, cache);
  return json.take();
}

}  // namespace cairn::fusefs
