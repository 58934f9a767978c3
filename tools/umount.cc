// cairnfs umount: unmounts, and returns when the store is closed.

#include <algorithm>
#include <chrono>
#include <string>

#include <fmt/format.h>

#include "cairn/lock.h"
#include "fusefs/mount_table.h"
#include "fusefs/unmount.h"
#include "tools/command.h"

namespace cairn::tools {
namespace {

// A daemon that is still writing after this long is stuck on its disk.
constexpr std::chrono::minutes kWaitForDaemon{5};

// umount(8) returns while the daemon still writes; this command does not, so that a script may copy the store or power
// off.
Result<void> unmount_and_wait(const std::string& path, bool lazy) {
  auto point = fusefs::canonical_mount_point(path);
  if (!point) return fail(std::move(point).error());
  const auto entry = fusefs::mounted_at(fusefs::mount_table(), point->string());
  if (!entry) return fail(ErrorCode::kInvalid, fmt::format("{}: nothing is mounted there", path));
  if (entry->type != fusefs::kFsType) {
    return fail(ErrorCode::kInvalid,
                fmt::format("{}: a mount of type {}, not of a cairnfs; use `umount {}`", path, entry->type, path));
  }
  if (auto unmounted = fusefs::unmount(point->string(), lazy); !unmounted) {
    if (unmounted.error().code != ErrorCode::kBusy) return unmounted;
    return fail(ErrorCode::kBusy, fmt::format("{}, and `cairnfs umount -l {}` detaches it all the same",
                                              unmounted.error().message, path));
  }
  if (lazy) return {};  // it is closed when the last program lets go of it
  // A bind mount was taken away, or of two mounts of it one: the store stays open for the other.
  const auto table = fusefs::mount_table();
  const bool still_mounted =
      std::any_of(table.begin(), table.end(), [&](const fusefs::MountEntry& e) { return e.device == entry->device; });
  if (still_mounted) return {};
  auto closed = wait_until_closed(entry->source, kWaitForDaemon);
  // A store that is gone, or that this user may not look into, is nothing to wait for.
  if (closed || closed.error().code != ErrorCode::kBusy) return {};
  return fail(ErrorCode::kBusy,
              fmt::format("{} is unmounted, but its store is still open: {}", path, closed.error().message));
}

}  // namespace

int run_umount(int argc, char** argv) {
  CLI::App app("Unmounts, and returns when the store is closed.", "cairnfs umount");
  std::string mount_point;
  bool lazy = false;
  app.add_flag("-l,--lazy", lazy, "detach the mount even if it is in use, and do not wait");
  app.add_option("MOUNTPOINT", mount_point, "where it is mounted")->required();
  if (auto done = parse(app, argc, argv)) return *done;
  if (auto unmounted = unmount_and_wait(mount_point, lazy); !unmounted) return complain(unmounted.error().message);
  return kOk;
}

}  // namespace cairn::tools
