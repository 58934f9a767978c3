#include "fusefs/mount_options.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <fstream>
#include <functional>
#include <utility>

#include <fmt/format.h>

#include "fusefs/size.h"

namespace cairn::fusefs {
namespace {

// Bounds exist to catch slips, such as seconds written as milliseconds; nothing breaks near them.
// An hour of unwritten changes is more than anybody can want to lose.
constexpr uint64_t kMaxCommitIntervalMs = 3600 * 1000;
constexpr uint64_t kMinCacheBytes = 1 << 20;
constexpr uint64_t kMaxThreads = 64;
constexpr uint64_t kMaxMinAgeS = 365ull * 24 * 3600;

static_assert(MountOptions{}.commit_interval_ms <= kMaxCommitIntervalMs && MountOptions{}.min_age_s <= kMaxMinAgeS);
static_assert(MountOptions{}.cache_bytes >= kMinCacheBytes && MountOptions{}.max_threads <= kMaxThreads);

// For the message about an unknown option; README.md explains each.
constexpr std::string_view kValid =
    "ro, rw, allow_other, noallow_other, suid, nosuid, dev, nodev, exec, noexec, acl, noacl, no_open, "
    "relatime, noatime, commit_interval=MS, cache_size=SIZE, min_age=SECONDS, max_threads=N, io_uring=auto|on|off";

// An option without a value, and the field that it sets; null for those that are accepted and change nothing.
struct Flag {
  std::string_view name;
  bool MountOptions::*field;
  bool value;
};
constexpr std::array<Flag, 17> kFlags = {{
    {"ro", &MountOptions::read_only, true},
    {"rw", &MountOptions::read_only, false},
    {"allow_other", &MountOptions::allow_other, true},
    {"noallow_other", &MountOptions::allow_other, false},
    {"suid", &MountOptions::suid, true},
    {"nosuid", &MountOptions::suid, false},
    {"dev", &MountOptions::dev, true},
    {"nodev", &MountOptions::dev, false},
    {"exec", &MountOptions::exec, true},
    {"noexec", &MountOptions::exec, false},
    {"acl", &MountOptions::acl, true},
    {"noacl", &MountOptions::acl, false},
    {"no_open", &MountOptions::no_open, true},
    {"atime", &MountOptions::relatime, true},
    {"relatime", &MountOptions::relatime, true},
    {"noatime", &MountOptions::relatime, false},
    {"default_permissions", nullptr, true},  // always so
}};

// For mount(8), fstab and systemd, or the same as what is done anyway.
constexpr std::array<std::string_view, 15> kNotForUs = {"defaults", "auto",    "noauto",   "user",  "nouser",
                                                        "users",    "nousers", "owner",    "group", "async",
                                                        "_netdev",  "nofail",  "diratime", "loud",  "silent"};

// Userspace options of util-linux have prefixes of their own; the rest has fixed names.
bool is_not_for_us(std::string_view option) {
  return option.starts_with("x-") || option.starts_with("X-") || option.starts_with("comment=") ||
         option.starts_with("user=") || std::find(kNotForUs.begin(), kNotForUs.end(), option) != kNotForUs.end();
}

// The whole of `text` must be the number: "5s" is no 5.
Result<uint64_t> parse_number(std::string_view name, std::string_view text, uint64_t least, uint64_t most) {
  uint64_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || parsed.ec != std::errc() || parsed.ptr != text.data() + text.size() || number < least ||
      number > most) {
    return fail(ErrorCode::kInvalid,
                fmt::format("option {}={}: must be a number from {} to {}", name, text, least, most));
  }
  return number;
}

Result<void> apply_io_uring(MountOptions* options, std::string_view value) {
  constexpr std::array<std::pair<std::string_view, IoUring>, 3> kChoices = {
      {{"auto", IoUring::kAuto}, {"on", IoUring::kOn}, {"off", IoUring::kOff}}};
  for (const auto& [name, choice] : kChoices) {
    if (value != name) continue;
    options->io_uring = choice;
    return {};
  }
  return fail(ErrorCode::kInvalid, fmt::format("option io_uring={}: must be auto, on or off", value));
}

// name=value; for a name without "=" the value is empty, and every option here refuses that by itself. Later options
// win over earlier ones, as mount(8) has it.
Result<void> apply_valued(MountOptions* options, std::string_view name, std::string_view value) {
  if (name == "commit_interval") {
    auto ms = parse_number(name, value, 0, kMaxCommitIntervalMs);
    if (!ms) return fail(std::move(ms).error());
    options->commit_interval_ms = *ms;
    return {};
  }
  if (name == "max_threads") {
    auto threads = parse_number(name, value, 1, kMaxThreads);
    if (!threads) return fail(std::move(threads).error());
    options->max_threads = static_cast<unsigned>(*threads);
    return {};
  }
  if (name == "min_age") {
    auto seconds = parse_number(name, value, 0, kMaxMinAgeS);
    if (!seconds) return fail(std::move(seconds).error());
    options->min_age_s = *seconds;
    return {};
  }
  if (name == "cache_size") {
    auto size = parse_size(value);
    if (!size) return fail(ErrorCode::kInvalid, fmt::format("option cache_size: {}", size.error().message));
    if (*size < kMinCacheBytes) {
      return fail(ErrorCode::kInvalid, fmt::format("option cache_size={}: must be at least 1M", value));
    }
    options->cache_bytes = *size;
    return {};
  }
  if (name == "io_uring") return apply_io_uring(options, value);
  return fail(ErrorCode::kInvalid, fmt::format("unknown option '{}'; valid are {}", name, kValid));
}

Result<void> apply(MountOptions* options, std::string_view option) {
  // Empty ones come from "a,,b" and from an empty -o, and are harmless.
  if (option.empty() || is_not_for_us(option)) return {};
  const auto* flag = std::find_if(kFlags.begin(), kFlags.end(), [option](const Flag& f) { return f.name == option; });
  if (flag != kFlags.end()) {
    if (flag->field != nullptr) options->*flag->field = flag->value;
    return {};
  }
  const size_t equals = option.find('=');
  const bool has_value = equals != std::string_view::npos;
  return apply_valued(options, option.substr(0, equals), has_value ? option.substr(equals + 1) : std::string_view());
}

// libfuse splits at commas; a backslash hides one.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == ',' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

}  // namespace

Result<MountOptions> parse_mount_options(std::string_view text, bool is_root) {
  MountOptions options;
  // What root mounts is for all users, as with any other file system.
  options.allow_other = is_root;
  // There is no way to hide a comma, so no option has a value with one.
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    if (auto applied = apply(&options, text.substr(begin, end - begin)); !applied) {
      return fail(std::move(applied).error());
    }
    begin = end + 1;
  }
  return options;
}

// Only what the kernel and fusermount3 need to know. The rest of the options is our own business.
std::vector<std::string> libfuse_arguments(const MountOptions& options, const std::string& store) {
  std::string list = "default_permissions,subtype=cairnfs,fsname=" + escaped(store);
  if (options.read_only) list += ",ro";
  if (options.allow_other) list += ",allow_other";
  // libfuse sets nosuid and nodev by itself; fusermount3 lets only root take them away.
  if (options.suid) list += ",suid";
  if (options.dev) list += ",dev";
  if (!options.exec) list += ",noexec";
  if (!options.relatime) list += ",noatime";
  return {"cairnfs", "-o", list};
}

namespace {

// The kernel module's parameter: present since Linux 6.14, and off unless somebody switches it on.
constexpr const char* kEnableUring = "/sys/module/fuse/parameters/enable_uring";

}  // namespace

std::optional<std::string> read_enable_uring() {
  std::ifstream file(kEnableUring);
  std::string text;
  if (!std::getline(file, text)) return std::nullopt;
  return text;
}

bool library_has_io_uring() { return CAIRNFS_IO_URING != 0; }

Result<Transport> choose_transport(const MountOptions& options, const std::optional<std::string>& enable_uring,
                                   bool library_can) {
  // Three things have to come together: the option, the library, and the kernel's switch. The hint is for the one
  // case where a single command would make the mount twice as fast.
  Transport transport;
  if (options.io_uring == IoUring::kOff) return transport;
  const bool enabled = enable_uring && (enable_uring->starts_with('Y') || enable_uring->starts_with('1'));
  transport.io_uring = library_can && enabled;
  const bool only_switched_off = library_can && enable_uring && !enabled;
  if (only_switched_off) {
    transport.hint = fmt::format(
        "FUSE over io_uring, which is about twice as fast, is switched off in this kernel; as root: echo Y >{}",
        kEnableUring);
  }
  if (options.io_uring == IoUring::kAuto || transport.io_uring) return transport;
  if (only_switched_off) return fail(ErrorCode::kUnsupported, "option io_uring=on: " + transport.hint);
  return fail(ErrorCode::kUnsupported,
              library_can ? "option io_uring=on: this kernel has no FUSE over io_uring (Linux 6.14 and newer have)"
                          : "option io_uring=on: this cairnfs was built with a libfuse without io_uring; build it with "
                            "-Dlibfuse=wrap, liburing and libnuma");
}

// fusermount3 would refuse as well, but names neither the file nor the remedy.
Result<void> check_allow_other(const MountOptions& options, bool is_root, const std::string& fuse_conf) {
  if (!options.allow_other || is_root) return {};
  std::ifstream file(fuse_conf);
  for (std::string line; std::getline(file, line);) {
    line.erase(line.find_last_not_of(" \t\r") + 1);
    line.erase(0, line.find_first_not_of(" \t"));
    if (line == "user_allow_other") return {};
  }
  return fail(ErrorCode::kAccess,
              fmt::format("option allow_other: root has to put the line user_allow_other into {} first", fuse_conf));
}

}  // namespace cairn::fusefs
