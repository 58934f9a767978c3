#include "tools/common.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>

#include <sys/xattr.h>

#include <fmt/format.h>

#include "fusefs/stats.h"

namespace cairn::tools {

std::string human_size(uint64_t bytes) {
  constexpr std::array<const char*, 6> kUnits = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  size_t unit = 0;
  for (; value >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, unit == 0 || value >= 100 ? 0 : 1, kUnits.at(unit));
}

std::string human_duration(double seconds) {
  const auto whole = static_cast<uint64_t>(std::max(0.0, seconds) + 0.5);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

bool is_within(const std::filesystem::path& inner, const std::filesystem::path& outer) {
  const std::filesystem::path relative = inner.lexically_relative(outer);
  return !relative.empty() && *relative.begin() != "..";
}

std::optional<fusefs::MountEntry> mount_of(const std::filesystem::path& path) {
  const auto table = fusefs::mount_table();
  if (auto entry = fusefs::mounted_at(table, path.string()); entry && entry->type == fusefs::kFsType) return entry;
  const auto found = std::find_if(table.begin(), table.end(), [&path](const fusefs::MountEntry& entry) {
    return entry.type == fusefs::kFsType && entry.source == path;
  });
  return found == table.end() ? std::nullopt : std::make_optional(*found);
}

// The answer is an extended attribute of the mount's root (fusefs/stats.h), so any user who sees the mount may ask.
Result<std::string> read_stats(const std::string& path) {
  auto point = fusefs::canonical_mount_point(path);
  if (!point) return fail(std::move(point).error());
  const auto entry = fusefs::mounted_at(fusefs::mount_table(), point->string());
  if (!entry || entry->type != fusefs::kFsType) {
    return fail(ErrorCode::kInvalid, fmt::format("{}: no cairnfs is mounted there", path));
  }
  // The most that an extended attribute can hold.
  std::string text(64 << 10, '\0');
  const std::string name(fusefs::kStatsAttribute);
  const ssize_t size = ::getxattr(point->c_str(), name.c_str(), text.data(), text.size());
  if (size < 0) {
    return fail(Error(ErrorCode::kIo, errno,
                      fmt::format("{}: {}", path, std::error_code(errno, std::generic_category()).message())));
  }
  text.resize(static_cast<size_t>(size));
  return text;
}

}  // namespace cairn::tools
