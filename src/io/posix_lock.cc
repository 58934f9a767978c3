// PosixDirectory::lock(): flock on a file whose content says who holds it.
//
// flock belongs to the open file, so it goes when the last descriptor of it does: when the process dies, and not before
// a forked child has closed its copy or called exec.

#include <cerrno>
#include <utility>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/try.h"
#include "io/lock_owner.h"
#include "io/os_error.h"
#include "io/posix_directory.h"
#include "io/posix_file.h"

namespace cairn::io {
namespace {

class PosixLock final : public FileLock {
 public:
  explicit PosixLock(std::unique_ptr<File> file) : file_(std::move(file)) {}

 private:
  std::unique_ptr<File> file_;  // closing it unlocks
};

// What the holder wrote. Empty if it cannot be read: it only decorates a message.
std::string read_owner(int fd) {
  char buffer[256];
  const ssize_t n = ::pread(fd, buffer, sizeof buffer, 0);
  return {buffer, n > 0 ? static_cast<size_t>(n) : 0};
}

}  // namespace

bool PosixDirectory::still_named(int fd, const std::string& name) const {
  struct stat held = {};
  struct stat named = {};
  return ::fstat(fd, &held) == 0 && ::fstatat(fd_.get(), name.c_str(), &named, AT_SYMLINK_NOFOLLOW) == 0 &&
         held.st_ino == named.st_ino && held.st_dev == named.st_dev;
}

Result<std::unique_ptr<FileLock>> PosixDirectory::lock(std::string_view name, std::string_view owner) {
  // Bounds the wait for somebody who keeps replacing the file.
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    TRY_ASSIGN(UniqueFd fd, open_fd(name, O_RDWR | O_CREAT));
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      const int err = errno;
      if (err == EINTR) continue;
      if (err != EWOULDBLOCK) return fail(error(err, "lock", name));
      return fail(io_error(ErrorCode::kBusy, err, "lock", name, path_, describe_lock_owner(read_owner(fd.get()))));
    }
    // The file may have been unlinked between open and lock; then somebody else may lock the new one.
    if (!still_named(fd.get(), std::string(name))) continue;
    if (::fchmod(fd.get(), 0600) != 0) return fail(error(errno, "change mode of", name));
    auto file = std::make_unique<PosixFile>(std::move(fd), std::string(name), path_, false);
    TRY(write_lock_owner(*file, owner));
    return std::make_unique<PosixLock>(std::move(file));
  }
  return fail(io_error(ErrorCode::kBusy, 0, "lock", name, path_, "somebody keeps replacing the file"));
}

}  // namespace cairn::io
