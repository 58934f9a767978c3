// cairnfs stat: what a mounted store did, and what it holds.

#include <cstdint>
#include <string>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "cairn/result.h"
#include "tools/command.h"
#include "tools/common.h"

namespace cairn::tools {
namespace {

using Json = nlohmann::json;

// In the largest unit of which there are at least two.
std::string duration(int64_t seconds) {
  if (seconds < 0) return "nothing was evicted yet";
  if (seconds < 120) return fmt::format("{} s", seconds);
  if (seconds < 7200) return fmt::format("{} min", seconds / 60);
  if (seconds < 48 * 3600) return fmt::format("{} h", seconds / 3600);
  return fmt::format("{} days", seconds / 86400);
}

void row(std::string_view name, const std::string& value) { fmt::print("{:22} {}\n", name, value); }

// "-" where nothing was counted: 0.00 would claim that all of it missed.
std::string ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? "-" : fmt::format("{:.2f}", static_cast<double>(part) / static_cast<double>(whole));
}

// 0 stands for "not known yet".
std::string factor(double value) { return value > 0 ? fmt::format("{:.2f}", value) : "-"; }

// Fields that an older daemon does not have count as 0.
void print_space(const Json& j) {
  const auto number = [&j](const char* name) { return j.value(name, uint64_t{0}); };
  row("mode", j.value("mode", ""));
  if (number("limit") != 0) row("limit", human_size(number("limit")));
  row("allocated", human_size(number("allocated_bytes")));
  row("live", human_size(number("live_bytes")));
  row("space amplification", factor(j.value("space_amplification", 0.0)));
  row("write amplification", factor(j.value("write_amplification", 0.0)));
  row("pinned", fmt::format("{} in {} files", human_size(number("pinned_bytes")), number("pinned_files")));
  if (number("degraded") != 0) {
    row("degraded",
        fmt::format("{} only in memory: {}", human_size(number("unwritten_bytes")), j.value("degraded_reason", "")));
  }
  if (number("read_only") != 0) row("read-only", j.value("read_only_reason", ""));
}

void print_traffic(const Json& j) {
  const auto number = [&j](const char* name) { return j.value(name, uint64_t{0}); };
  const uint64_t hits = number("hits");
  const uint64_t misses = number("misses");
  row("hits", fmt::format("{} (hit ratio {})", hits, ratio(hits, hits + misses)));
  row("misses", fmt::format("{}", misses));
  row("written", human_size(number("bytes_in")));
  row("read", human_size(number("bytes_out")));
  row("evicted", fmt::format("{} cold, {} young, {} in groups, {} damaged; {} directories; {}", number("evicted_cold"),
                             number("evicted_young"), number("evicted_group"), number("evicted_damaged"),
                             number("evicted_directories"), human_size(number("evicted_bytes"))));
  row("last used before", duration(j.value("retention_s", int64_t{-1})));
  row("damaged reads", fmt::format("{}", number("corrupt_reads")));
}

}  // namespace

int run_stat(int argc, char** argv) {
  CLI::App app("Shows what a mounted store holds, and what it did since it was mounted.", "cairnfs stat");
  std::string mount_point;
  bool json = false;
  app.add_flag("--json", json, "print one JSON object");
  app.add_option("MOUNTPOINT", mount_point, "where it is mounted")->required();
  if (auto done = parse(app, argc, argv)) return *done;
  const auto text = read_stats(mount_point);
  if (!text) return complain(text.error().message);
  if (json) {
    fmt::print("{}", *text);
    return kOk;
  }
  const Json parsed = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (!parsed.is_object()) return complain(fmt::format("{}: the mount's answer is no JSON", mount_point));
  print_space(parsed);
  print_traffic(parsed);
  return kOk;
}

}  // namespace cairn::tools
