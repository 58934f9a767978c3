#include "io/posix_directory.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "io/os_error.h"
#include "io/posix_file.h"

namespace cairn::io {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr mode_t kDirectoryMode = 0700;
static_assert((kFileMode & 077) == 0 && (kDirectoryMode & 077) == 0, "a store is its owner's alone");

// Somebody else's file in our directory was put there: reading it would trust them. Root's stores may belong to
// anybody.
bool is_ours(const struct stat& st) {
  const uid_t me = ::geteuid();
  return me == 0 || st.st_uid == me;
}

// Adds O_DIRECT to an open file. This is done here rather than in open(), which may create the file and then fail with
// EINVAL. False if the file system has no direct I/O.
Result<bool> make_direct(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0) return true;
  if (errno == EINVAL) return false;
  return fail(Error(ErrorCode::kIo, errno, {}));
}

}  // namespace

PosixDirectory::PosixDirectory(UniqueFd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}

Error PosixDirectory::error(int err, std::string_view operation, std::string_view name) const {
  return os_error(err, operation, name, path_);
}

Result<void> PosixDirectory::check_name(std::string_view operation, std::string_view name) const {
  if (is_plain_name(name)) return {};
  return fail(io_error(ErrorCode::kInvalid, EINVAL, operation, name, path_, "not a plain file name"));
}

// After the open, on the descriptor: what was looked at before could be another file by now. A second name would let
// somebody change the file, or keep its room, after we unlinked ours.
Result<void> PosixDirectory::check_file(int fd, std::string_view name) const {
  struct stat st = {};
  if (::fstat(fd, &st) != 0) return fail(error(errno, "stat", name));
  const char* complaint = nullptr;
  if (!S_ISREG(st.st_mode)) {
    complaint = "not a regular file";
  } else if (st.st_nlink != 1) {
    complaint = "it has other names or none (hard links are refused)";
  } else if (!is_ours(st)) {
    complaint = "it belongs to another user";
  }
  if (complaint == nullptr) return {};
  return fail(io_error(ErrorCode::kInvalid, 0, "open", name, path_, complaint));
}

Result<void> PosixDirectory::give_to_owner(int fd, std::string_view name) const {
  if (::geteuid() != 0) return {};
  struct stat home = {};
  struct stat made = {};
  if (::fstat(fd_.get(), &home) != 0 || ::fstat(fd, &made) != 0) return fail(error(errno, "stat", name));
  if (home.st_uid == made.st_uid) return {};
  if (::fchown(fd, home.st_uid, home.st_gid) == 0) return {};
  // File systems without owners (vfat), and namespaces in which the directory's owner has no number: it stays ours, which
  // is all that we need ourselves.
  if (errno == EPERM || errno == EINVAL) return {};
  return fail(error(errno, "change owner of", name));
}

Result<UniqueFd> PosixDirectory::open_fd(std::string_view name, int flags) const {
  TRY(check_name("open", name));
  const std::string text(name);
  // O_NONBLOCK: a FIFO or a device that somebody left there must not hang us; regular files do not notice.
  flags |= O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  int raw = -1;
  do {
    raw = ::openat(fd_.get(), text.c_str(), flags, kFileMode);
  } while (raw < 0 && errno == EINTR);
  UniqueFd fd(raw);
  if (!fd.valid()) {
    // What open(2) itself says about links, directories and sockets.
    if (errno == ELOOP || errno == EISDIR || errno == ENXIO) {
      return fail(io_error(ErrorCode::kInvalid, errno, "open", name, path_, "not a regular file"));
    }
    return fail(error(errno, (flags & O_CREAT) != 0 ? "create" : "open", name));
  }
  TRY(check_file(fd.get(), name));
  return fd;
}

Result<std::unique_ptr<File>> PosixDirectory::open(std::string_view name, OpenOptions options) const {
  const bool create = options.mode == OpenMode::kCreate;
  int flags = options.mode == OpenMode::kRead ? O_RDONLY : O_RDWR;
  if (create) flags |= O_CREAT | O_EXCL;
  TRY_ASSIGN(UniqueFd fd, open_fd(name, flags));
  int err = 0;
  if (create && ::fchmod(fd.get(), kFileMode) != 0) err = errno;  // the umask may have taken bits of ours
  if (create && err == 0) {
    if (auto given = give_to_owner(fd.get(), name); !given) err = given.error().os_errno;
  }
  bool direct = false;
  if (err == 0 && options.direct) {
    const Result<bool> made = make_direct(fd.get());
    direct = made.has_value() && *made;
    if (!made) err = made.error().os_errno;
  }
  if (err != 0) {
    Error failure = error(err, "open", name);
    // A failed create leaves nothing; if even this fails, the file is empty and the first error says why.
    if (create) (void)::unlinkat(fd_.get(), std::string(name).c_str(), 0);
    return fail(std::move(failure));
  }
  return std::make_unique<PosixFile>(std::move(fd), std::string(name), path_, direct);
}

Result<std::unique_ptr<Directory>> PosixDirectory::open_dir(std::string_view name) const {
  TRY(check_name("open directory", name));
  UniqueFd fd(::openat(fd_.get(), std::string(name).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd.valid()) return fail(error(errno, "open directory", name));
  struct stat st = {};
  if (::fstat(fd.get(), &st) != 0) return fail(error(errno, "stat", name));
  if (!is_ours(st)) {
    return fail(io_error(ErrorCode::kInvalid, 0, "open directory", name, path_, "it belongs to another user"));
  }
  return std::make_unique<PosixDirectory>(std::move(fd), fmt::format("{}/{}", path_, name));
}

Result<void> PosixDirectory::make_dir(std::string_view name) {
  TRY(check_name("make directory", name));
  const std::string text(name);
  if (::mkdirat(fd_.get(), text.c_str(), kDirectoryMode) != 0) return fail(error(errno, "make directory", name));
  if (::fchmodat(fd_.get(), text.c_str(), kDirectoryMode, AT_SYMLINK_NOFOLLOW) != 0) {
    return fail(error(errno, "change mode of", name));
  }
  const UniqueFd made(::openat(fd_.get(), text.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!made.valid()) return fail(error(errno, "open directory", name));
  return give_to_owner(made.get(), name);
}

Result<void> PosixDirectory::rename(std::string_view from, std::string_view to) { return rename_into(from, *this, to); }

Result<void> PosixDirectory::rename_into(std::string_view from, Directory& target, std::string_view to) {
  TRY(check_name("rename", from));
  TRY(check_name("rename to", to));
  // Directories of one Env only: a simulated one has no descriptor.
  const auto* other = dynamic_cast<const PosixDirectory*>(&target);
  CHECK(other != nullptr);
  CHECK(!from.empty() && !to.empty());
  if (::renameat(fd_.get(), std::string(from).c_str(), other->fd_.get(), std::string(to).c_str()) != 0) {
    return fail(error(errno, fmt::format("rename to {}:", quoted(to)), from));
  }
  return {};
}

Result<void> PosixDirectory::unlink(std::string_view name) {
  TRY(check_name("unlink", name));
  if (::unlinkat(fd_.get(), std::string(name).c_str(), 0) != 0) return fail(error(errno, "unlink", name));
  return {};
}

Result<std::vector<std::string>> PosixDirectory::list() const {
  // A descriptor of its own, because the position belongs to the open file.
  UniqueFd fd(::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return fail(error(errno, "list", "."));
  const auto close_dir = [](DIR* dir) { (void)::closedir(dir); };
  const std::unique_ptr<DIR, decltype(close_dir)> dir(::fdopendir(fd.get()), close_dir);
  if (dir == nullptr) return fail(error(errno, "list", "."));
  (void)fd.release();  // dir has it now
  std::vector<std::string> names;
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(dir.get());
    if (entry == nullptr && errno != 0) return fail(error(errno, "list", "."));
    if (entry == nullptr) break;
    std::string name = entry->d_name;
    if (name != "." && name != "..") names.push_back(std::move(name));
  }
  // In an order of our own: recovery and fsck then do the same on every file system, and in the simulation.
  std::sort(names.begin(), names.end());
  return names;
}

Result<void> PosixDirectory::sync() {
  // fsync and not fdatasync: what it is called for are names, which some file systems take for metadata that fdatasync
  // may skip.
  int result = 0;
  do {
    result = ::fsync(fd_.get());
  } while (result != 0 && errno == EINTR);
  if (result != 0) return fail(error(errno, "sync", "."));
  return {};
}

Result<Directory::Space> PosixDirectory::space() const {
  struct statvfs st = {};
  if (::fstatvfs(fd_.get(), &st) != 0) return fail(error(errno, "statvfs", "."));
  // bavail, not bfree: blocks that are kept for root are not ours to promise.
  return Space{.total = uint64_t{st.f_blocks} * st.f_frsize, .available = uint64_t{st.f_bavail} * st.f_frsize};
}

}  // namespace cairn::io
