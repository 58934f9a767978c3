#include "io/posix_env.h"

#include <cerrno>
#include <ctime>
#include <utility>

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/check.h"
#include "io/os_error.h"
#include "io/posix_directory.h"

namespace cairn::io {

// Never freed; reachable through posix_env(), so no leak checker complains.
PosixEnv::PosixEnv() : executor_(new PosixExecutor) {}

Result<std::unique_ptr<Directory>> PosixEnv::open_dir(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail(os_error(errno, "open directory", path, {}));
  return std::make_unique<PosixDirectory>(std::move(fd), path);
}

Result<void> PosixEnv::make_dir(const std::string& path) {
  // mkdir takes bits away by the umask; a umask of 0277 would leave a directory that its owner cannot use.
  constexpr mode_t kMode = 0700;
  if (::mkdir(path.c_str(), kMode) != 0) return fail(os_error(errno, "make directory", path, {}));
  if (::fchmodat(AT_FDCWD, path.c_str(), kMode, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(os_error(errno, "change mode of", path, {}));
  }
  return {};
}

Timestamp PosixEnv::now() const {
  timespec ts = {};
  // Fails for an unknown clock or a bad pointer only.
  CHECK(::clock_gettime(CLOCK_REALTIME, &ts) == 0);
  return {.seconds = ts.tv_sec, .nanoseconds = static_cast<uint32_t>(ts.tv_nsec)};
}

uint64_t PosixEnv::monotonic_ms() const {
  timespec ts = {};
  CHECK(::clock_gettime(CLOCK_MONOTONIC, &ts) == 0);
  DCHECK(ts.tv_sec >= 0 && ts.tv_nsec < 1'000'000'000);
  return static_cast<uint64_t>(ts.tv_sec) * 1000 + static_cast<uint64_t>(ts.tv_nsec) / 1'000'000;
}

uint64_t PosixEnv::random() {
  uint64_t value = 0;
  ssize_t n = -1;
  do {
    n = ::getrandom(&value, sizeof value, 0);
  } while (n < 0 && errno == EINTR);
  CHECK(n == sizeof value);  // up to 256 bytes come whole, and the call is older than anything we run on
  return value;
}

Env& posix_env() {
  // Leaked on purpose: threads of the executor may run while static objects are destroyed.
  static PosixEnv* const env = new PosixEnv;
  return *env;
}

}  // namespace cairn::io
