// What `-o` may say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cairn/result.h"

namespace cairn::fusefs {

// Whether requests come over io_uring rather than through /dev/fuse.
enum class IoUring : uint8_t {
  kAuto,  // where library and kernel can
  kOn,    // or not at all
  kOff,
};

// Defaults are what a mount without -o does. Permissions are always checked by the kernel (default_permissions):
// CairnFS never decides who may do what, so there is no option to switch that off.
struct MountOptions {
  bool read_only = false;
  bool allow_other = false;  // users other than the one who mounts; permissions are always checked
  bool suid = false;         // honour setuid and setgid bits
  bool dev = false;          // honour device nodes
  bool exec = true;
  bool relatime = true;  // false: noatime
  bool acl = false;      // POSIX access control lists
  bool no_open = false;  // cas mode: the kernel opens and closes files by itself
  uint64_t commit_interval_ms = 1000;
  uint64_t cache_bytes = 96ull << 20;  // for index blocks and decompressed chunks together
  uint64_t min_age_s = 60;             // cache mode: younger files are evicted last
  unsigned max_threads = 8;            // that answer requests from /dev/fuse; over io_uring there is one for each CPU
  IoUring io_uring = IoUring::kAuto;
};

// Parses "ro,allow_other,cache_size=64M". `is_root` chooses the default of allow_other: what root mounts is for everybody, as
// with any file system. What mount(8) and fstab say to it and to others (rw, defaults, noauto, _netdev, x-*, ...) is skipped.
// kInvalid for an unknown option (lists the valid ones) or a bad value.
Result<MountOptions> parse_mount_options(std::string_view text, bool is_root);

// The arguments that libfuse gets: mount options, and the store's path as the name of the file system.
std::vector<std::string> libfuse_arguments(const MountOptions& options, const std::string& store);

// How a mount with `options` gets its requests, given the text of the kernel module's parameter enable_uring (none: the kernel
// has no such parameter) and whether our libfuse `library_can`.
struct Transport {
  bool io_uring = false;  // ask for it
  std::string hint;       // one line about how to get it, if only the parameter is in the way
};
// kUnsupported with the remedy if io_uring=on cannot be had.
Result<Transport> choose_transport(const MountOptions& options, const std::optional<std::string>& enable_uring,
                                   bool library_can);
// The parameter as this kernel has it.
std::optional<std::string> read_enable_uring();
// Whether the libfuse that we are linked with can do it.
bool library_has_io_uring();

// kAccess if allow_other was asked for by somebody whom the file `fuse_conf` does not let have it. Names file and remedy.
Result<void> check_allow_other(const MountOptions& options, bool is_root, const std::string& fuse_conf);

}  // namespace cairn::fusefs
