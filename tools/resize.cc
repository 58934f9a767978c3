// cairnfs resize: another limit for a cache, mounted or not.

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <fmt/format.h>

#include "cairn/filesystem.h"
#include "cairn/store.h"
#include "fusefs/mount_table.h"
#include "fusefs/resizer.h"
#include "fusefs/size.h"
#include "tools/command.h"
#include "tools/common.h"

namespace cairn::tools {
namespace {

std::string system_error(int err) { return std::error_code(err, std::generic_category()).message(); }

// The daemon of the mount does it.
Result<void> resize_mounted(const std::string& mount_point, uint64_t limit) {
  const int fd = ::open(mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return fail(Error(ErrorCode::kIo, errno, fmt::format("{}: {}", mount_point, system_error(errno))));
  fusefs::ResizeCall call;
  call.limit = limit;
  const int result = ::ioctl(fd, fusefs::kResizeIoctl, &call);
  const int err = errno;
  ::close(fd);
  if (result == 0) return {};
  // 1 is the daemon's refusal in its own words. The message may come from another version: no NUL is taken for
  // granted.
  if (result > 0)
    return fail(ErrorCode::kInvalid, std::string(call.message, ::strnlen(call.message, sizeof call.message)));
  if (err == ENOTTY) {
    return fail(ErrorCode::kUnsupported,
                fmt::format("{}: its daemon is older than this command; unmount and mount it again", mount_point));
  }
  return fail(Error(ErrorCode::kIo, err, fmt::format("{}: {}", mount_point, system_error(err))));
}

// Evicting needs the whole tree, so the store is opened as a mount would.
Result<void> resize_unmounted(const std::string& path, uint64_t limit) {
  Options options;
  options.owner = fmt::format("pid {}, cairnfs resize", ::getpid());
  auto store = Store::open(path, options);
  if (!store) return fail(std::move(store).error());
  auto tree = FileSystem::open(std::move(*store), {});
  if (!tree) return fail(std::move(tree).error());
  auto changed = (*tree)->set_limit(limit);
  if (auto closed = (*tree)->close(); !closed && changed) return closed;
  return changed;
}

// A mount point, or a store that is mounted somewhere, means asking the daemon. A store that nobody has mounted is
// opened here; its lock decides if somebody mounts it just now.
Result<void> resize(const std::string& path, uint64_t limit) {
  auto point = fusefs::canonical_mount_point(path);
  if (!point) return fail(std::move(point).error());
  if (const auto mount = mount_of(*point)) return resize_mounted(mount->point, limit);
  return resize_unmounted(point->string(), limit);
}

}  // namespace

int run_resize(int argc, char** argv) {
  CLI::App app("Changes the limit of a cache. A smaller one evicts what does not fit it before the command returns.",
               "cairnfs resize");
  std::string path;
  std::string size;
  app.add_option("STORE|MOUNTPOINT", path, "the store, or where it is mounted")->required();
  app.add_option("SIZE", size, "the most that the whole store may take on disk: 4096M, 10G")->required();
  if (auto done = parse(app, argc, argv)) return *done;
  const auto limit = fusefs::parse_size(size);
  if (!limit) return complain(limit.error().message);
  if (auto changed = resize(path, *limit); !changed) return complain(changed.error().message);
  return kOk;
}

}  // namespace cairn::tools
