// What `cairnfs stat` asks a mount.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "cairn/filesystem.h"
#include "cairn/store.h"

namespace cairn::fusefs {

// An extended attribute of the root directory that nobody set and no listing names: its value is stats_json().
inline constexpr std::string_view kStatsAttribute = "user.cairn.stats";

// One JSON object, names of fields as in README.md, "Statistics".
// `known_inodes`: those with a lookup or open count.
std::string stats_json(const StoreStats& store, const CacheStats& cache, uint64_t known_inodes);

}  // namespace cairn::fusefs
