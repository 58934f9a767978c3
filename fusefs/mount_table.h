// What is mounted where, as the kernel tells it.
#pragma once

#include <filesystem>
#include <istream>
#include <optional>
#include <string>
#include <vector>

#include "cairn/result.h"

namespace cairn::fusefs {

inline constexpr char kFsType[] = "fuse.cairnfs";

// One line of the table. Strings are unescaped: what the kernel writes as \040 is a blank again.
struct MountEntry {
  std::string device;  // "0:52"
  std::string point;   // absolute
  std::string type;    // "fuse.cairnfs"
  std::string source;  // of a cairnfs: its store
};

// Parses the lines of /proc/self/mountinfo; skips those it cannot understand. In mount order: the last of several entries for
// one point is the visible one.
std::vector<MountEntry> parse_mount_table(std::istream& lines);
std::vector<MountEntry> mount_table();

// The table of the caller's own mount namespace; empty if /proc is not there. A snapshot: others mount and unmount
// meanwhile.
// The entry that is visible at `point` (absolute, without links), if something is mounted exactly there.
std::optional<MountEntry> mounted_at(const std::vector<MountEntry>& table, const std::string& point);

// An absolute path without links, ".", "..". The last component may be missing or a dead mount ("transport endpoint is not
// connected"): it is kept as it is then.
Result<std::filesystem::path> canonical_mount_point(const std::filesystem::path& path);

}  // namespace cairn::fusefs
