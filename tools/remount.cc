#include "tools/remount.h"

#include <algorithm>
#include <cerrno>
#include <string_view>
#include <system_error>

#include <unistd.h>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "tools/common.h"

namespace cairn::tools {
namespace {

// The kernel's own options among those of a remount; the daemon's would be taken for the kernel's, and refused.
std::string for_the_kernel(std::string_view options) {
  constexpr std::string_view kKnown =
      ",remount,ro,rw,suid,nosuid,dev,nodev,exec,noexec,relatime,norelatime,atime,noatime,diratime,nodiratime,"
      "strictatime,nostrictatime,lazytime,nolazytime,sync,async,dirsync,silent,loud,";
  std::string kept;
  for (size_t begin = 0; begin <= options.size();) {
    const size_t end = std::min(options.find(',', begin), options.size());
    const std::string option(options.substr(begin, end - begin));
    if (!option.empty() && kKnown.find("," + option + ",") != std::string_view::npos)
      kept += (kept.empty() ? "" : ",") + option;
    begin = end + 1;
  }
  return kept;
}

}  // namespace

Result<void> remount(const std::string& mount_point, const std::string& options, bool read_only) {
  auto stats = read_stats(mount_point);  // also: is it one of ours?
  if (!stats) return fail(std::move(stats).error());
  const auto json = nlohmann::json::parse(*stats, nullptr, /*allow_exceptions=*/false);
  if (!read_only && json.is_object() && json.value("read_only", 0) != 0) {
    return fail(ErrorCode::kReadOnly,
                fmt::format("{}: its store was opened read-only, or became so; unmount it and mount it again with rw",
                            mount_point));
  }
  // -i: without helpers, of which we are one.
  ::execlp("mount", "mount", "-i", "-o", for_the_kernel(options).c_str(), "--", mount_point.c_str(), nullptr);
  return fail(Error(ErrorCode::kIo, errno,
                    fmt::format("cannot run mount(8): {}", std::error_code(errno, std::generic_category()).message())));
}

}  // namespace cairn::tools
