// What `-o` may say.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cairn/result.h"

namespace cairn::fusefs {

struct MountOptions {
  bool read_only = false;
  bool allow_other = false;  // users other than the one who mounts; permissions are always checked
  bool suid = false;         // honour setuid and setgid bits
  bool dev = false;          // honour device nodes
  bool exec = true;
  bool relatime = true;  // false: noatime
  uint64_t commit_interval_ms = 1000;
  uint64_t cache_bytes = 96ull << 20;  // for index blocks and decompressed chunks together
  unsigned max_threads = 8;            // that answer requests
};

// Parses "ro,allow_other,cache_size=64M". `is_root` chooses the default of allow_other: what root mounts is for everybody, as
// with any file system. What mount(8) and fstab say to it and to others (rw, defaults, noauto, _netdev, x-*, ...) is skipped.
// kInvalid for an unknown option (lists the valid ones) or a bad value.
Result<MountOptions> parse_mount_options(std::string_view text, bool is_root);

// The arguments that libfuse gets: mount options, and the store's path as the name of the file system.
std::vector<std::string> libfuse_arguments(const MountOptions& options, const std::string& store);

// kAccess if allow_other was asked for by somebody whom the file `fuse_conf` does not let have it. Names file and remedy.
Result<void> check_allow_other(const MountOptions& options, bool is_root, const std::string& fuse_conf);

}  // namespace cairn::fusefs
