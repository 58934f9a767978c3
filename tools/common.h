// Small things that several commands do.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "cairn/result.h"
#include "fusefs/mount_table.h"

namespace cairn::tools {

// "512 B", "1.5 MiB", "210 GiB".
std::string human_size(uint64_t bytes);
// "0:09", "1:05:09".
std::string human_duration(double seconds);

// True if `inner` is `outer` or lies below it. Both canonical.
bool is_within(const std::filesystem::path& inner, const std::filesystem::path& outer);

// The mount of `path`, which is a store or a mount point (canonical); none if it is not mounted.
std::optional<fusefs::MountEntry> mount_of(const std::filesystem::path& path);

// The statistics of what is mounted on `path`, as JSON (fusefs/stats.h). kInvalid if that is no cairnfs.
Result<std::string> read_stats(const std::string& path);

}  // namespace cairn::tools
