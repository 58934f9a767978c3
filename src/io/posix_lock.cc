// PosixDirectory::lock(): flock on a file whose content says who holds it.
//
// The directory is locked as well: people remove lock files that they take for left over, and the next to come would make a
// new one and lock that.
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
  PosixLock(std::unique_ptr<File> file, UniqueFd directory)
      : file_(std::move(file)), directory_(std::move(directory)) {}

 private:
  // Closing them unlocks. The directory goes first: who gets the file then finds it free.
  std::unique_ptr<File> file_;
  UniqueFd directory_;
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

// An open file of its own, so that the lock ends with it. Where directories cannot be locked (NFS), the file has to do.
Result<UniqueFd> PosixDirectory::lock_directory(std::string_view name) const {
  UniqueFd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail(error(errno, "open directory of", name));
  while (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK)
      return fail(io_error(ErrorCode::kBusy, errno, "lock", name, path_,
                           "in use by another process, under which the file was removed"));
    if (errno != EINTR) break;
  }
  return fd;
}

// Locking needs no right to write. So a store on a read-only file system, a backup for instance, can be locked as well,
// against whoever reaches it on another way that is not read-only.
Result<PosixDirectory::LockFile> PosixDirectory::open_lock_file(std::string_view name) const {
  auto fd = open_fd(name, O_RDWR | O_CREAT);
  const bool writable = fd || fd.error().os_errno != EROFS;
  if (!writable) fd = open_fd(name, O_RDONLY);
  if (!fd) return fail(std::move(fd).error());
  return LockFile{std::move(*fd), writable};
}

Result<std::unique_ptr<FileLock>> PosixDirectory::lock(std::string_view name, std::string_view owner) {
  // Bounds the wait for somebody who keeps replacing the file.
  constexpr int kAttempts = 10;
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    TRY_ASSIGN(LockFile lock_file, open_lock_file(name));
    UniqueFd fd = std::move(lock_file.fd);
    if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
      const int err = errno;
      if (err == EINTR) continue;
      if (err != EWOULDBLOCK) return fail(error(err, "lock", name));
      return fail(io_error(ErrorCode::kBusy, err, "lock", name, path_, describe_lock_owner(read_owner(fd.get()))));
    }
    // The file may have been unlinked between open and lock; then somebody else may lock the new one.
    if (!still_named(fd.get(), std::string(name))) continue;
    TRY_ASSIGN(UniqueFd directory, lock_directory(name));
    if (lock_file.writable) {
      if (::fchmod(fd.get(), 0600) != 0) return fail(error(errno, "change mode of", name));
      TRY(give_to_owner(fd.get(), name));
    }
    auto file = std::make_unique<PosixFile>(std::move(fd), std::string(name), path_, false);
    if (lock_file.writable) TRY(write_lock_owner(*file, owner));
    return std::make_unique<PosixLock>(std::move(file), std::move(directory));
  }
  return fail(io_error(ErrorCode::kBusy, 0, "lock", name, path_, "somebody keeps replacing the file"));
}

}  // namespace cairn::io
