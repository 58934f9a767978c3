// A tree in a file system, through the kernel.
#include <algorithm>
#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fmt/format.h>

#include "tools/transfer/tree.h"

namespace cairn::tools {
namespace {

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  [[nodiscard]] int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

ErrorCode code_of(int err) {
  switch (err) {
    case ENOENT: return ErrorCode::kNotFound;
    case EEXIST: return ErrorCode::kExists;
    case ENOTDIR: return ErrorCode::kNotDirectory;
    case EISDIR: return ErrorCode::kIsDirectory;
    case ENOSPC:
    case EDQUOT: return ErrorCode::kNoSpace;
    case EROFS: return ErrorCode::kReadOnly;
    case EPERM: return ErrorCode::kPermission;
    case EACCES: return ErrorCode::kAccess;
    case EOPNOTSUPP: return ErrorCode::kUnsupported;
    case ENOMEM: return ErrorCode::kOutOfMemory;
    default: return ErrorCode::kIo;
  }
}

tl::unexpected<Error> failed(int err, const std::string& path) {
  return fail(Error(code_of(err), err, fmt::format("{}: {}", path, std::generic_category().message(err))));
}

Time time_of(const timespec& t) { return {t.tv_sec, static_cast<uint32_t>(t.tv_nsec)}; }
timespec timespec_of(const Time& t) { return {.tv_sec = t.seconds, .tv_nsec = static_cast<long>(t.nanoseconds)}; }

Attr attr_of(const struct stat& st) {
  Attr attr;
  attr.ino = st.st_ino;
  attr.mode = st.st_mode;
  attr.uid = st.st_uid;
  attr.gid = st.st_gid;
  attr.links = static_cast<uint32_t>(st.st_nlink);
  attr.size = static_cast<uint64_t>(st.st_size);
  attr.blocks = static_cast<uint64_t>(st.st_blocks);
  attr.rdev = st.st_rdev;
  attr.atime = time_of(st.st_atim);
  attr.mtime = time_of(st.st_mtim);
  attr.ctime = time_of(st.st_ctim);
  return attr;
}

class PosixContent final : public Content {
 public:
  PosixContent(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  Result<std::optional<Range>> next_data(uint64_t offset) override {
    const off_t start = ::lseek(fd_.get(), static_cast<off_t>(offset), SEEK_DATA);
    if (start < 0 && errno == ENXIO) return std::nullopt;
    if (start < 0) return failed(errno, path_);
    const off_t end = ::lseek(fd_.get(), start, SEEK_HOLE);
    if (end < 0) return failed(errno, path_);
    return Range{static_cast<uint64_t>(start), static_cast<uint64_t>(end)};
  }

  Result<ByteView> read(uint64_t offset, uint64_t size) override {
    buffer_.resize(std::max<size_t>(buffer_.size(), size));
    uint64_t done = 0;
    while (done < size) {
      const ssize_t n = ::pread(fd_.get(), buffer_.data() + done, size - done, static_cast<off_t>(offset + done));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(errno, path_);
      if (n == 0) break;
      done += static_cast<uint64_t>(n);
    }
    return ByteView(buffer_.data(), done);
  }

  Result<void> write(uint64_t offset, ByteView data) override {
    while (!data.empty()) {
      const ssize_t n = ::pwrite(fd_.get(), data.data(), data.size(), static_cast<off_t>(offset));
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return failed(errno, path_);
      offset += static_cast<uint64_t>(n);
      data.remove_prefix(static_cast<size_t>(n));
    }
    return {};
  }

  Result<void> truncate(uint64_t size) override {
    if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return failed(errno, path_);
    return {};
  }

 private:
  Descriptor fd_;
  std::string path_;
  Bytes buffer_;
};

class PosixTree final : public Tree {
 public:
  PosixTree(std::string path, int fd) : path_(std::move(path)), root_(fd) {}

  Result<Entry> root() override {
    struct stat st = {};
    if (::fstat(root_.get(), &st) != 0) return failed(errno, path_);
    return Entry{{}, {}, attr_of(st), st.st_dev};
  }

  Result<std::vector<Entry>> list(const Place& directory) override {
    const Descriptor opened(
        ::openat(root_.get(), relative(directory.path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (opened.get() < 0) return failed(errno, full(directory.path));
    const int copy = ::fcntl(opened.get(), F_DUPFD_CLOEXEC, 0);
    if (copy < 0) return failed(errno, full(directory.path));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(copy), &::closedir);
    if (!stream) {
      ::close(copy);
      return failed(errno, full(directory.path));
    }
    std::vector<Entry> entries;
    while (true) {
      errno = 0;
      const dirent* d = ::readdir(stream.get());
      if (d == nullptr && errno != 0) return failed(errno, full(directory.path));
      if (d == nullptr) return entries;
      const std::string name = d->d_name;
      if (name == "." || name == "..") continue;
      struct stat st = {};
      if (::fstatat(opened.get(), d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        entries.push_back({name, below(directory, name), attr_of(st), st.st_dev});
      } else if (errno != ENOENT) {  // removed since it was listed: not there
        return failed(errno, full(below(directory, name).path));
      }
    }
  }

  Result<std::optional<Entry>> find(const Place& directory, const std::string& name) override {
    const Place place = below(directory, name);
    struct stat st = {};
    if (::fstatat(root_.get(), place.path.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
      return Entry{name, place, attr_of(st), st.st_dev};
    if (errno == ENOENT) return std::nullopt;
    return failed(errno, full(place.path));
  }

  Result<Bytes> read_link(const Place& place) override {
    Bytes target(kMaxSymlinkSize + 1, '\0');
    const ssize_t n = ::readlinkat(root_.get(), place.path.c_str(), target.data(), target.size());
    if (n < 0) return failed(errno, full(place.path));
    target.resize(static_cast<size_t>(n));
    return target;
  }

  Result<std::vector<Xattr>> xattrs(const Place& place) override {
    const std::string path = full(place.path);
    const auto names = list_xattrs(path);
    if (!names) return fail(names.error());
    std::vector<Xattr> found;
    for (const std::string& name : *names) {
      Bytes value(kMaxXattrSize, '\0');
      const ssize_t n = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
      if (n < 0 && errno == ENODATA) continue;
      if (n < 0) return failed(errno, path);
      value.resize(static_cast<size_t>(n));
      found.push_back({name, std::move(value)});
    }
    return found;
  }

  Result<std::unique_ptr<Content>> open(const Place& place, bool to_write) override {
    // O_NONBLOCK: whatever has taken the file's place meanwhile must not hang us.
    const int flags = (to_write ? O_WRONLY | O_TRUNC : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    Descriptor fd(::openat(root_.get(), place.path.c_str(), flags));
    if (fd.get() < 0) return failed(errno, full(place.path));
    struct stat st = {};
    if (::fstat(fd.get(), &st) != 0) return failed(errno, full(place.path));
    if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kInvalid, full(place.path) + ": is no regular file any more");
    return std::make_unique<PosixContent>(fd.release(), full(place.path));
  }

  Result<Entry> make(const Place& directory, const std::string& name, const Attr& like, ByteView target) override {
    const Place place = below(directory, name);
    const char* path = place.path.c_str();
    // Nobody else looks into it before set() says who may.
    const mode_t mode = (like.mode & S_IFMT) | (S_ISDIR(like.mode) ? 0700 : 0600);
    int result = -1;
    if (S_ISDIR(like.mode)) {
      result = ::mkdirat(root_.get(), path, mode);
    } else if (S_ISLNK(like.mode)) {
      result = ::symlinkat(std::string(target).c_str(), root_.get(), path);
    } else {
      result = ::mknodat(root_.get(), path, mode, like.rdev);
    }
    struct stat st = {};
    if (result != 0 || ::fstatat(root_.get(), path, &st, AT_SYMLINK_NOFOLLOW) != 0)
      return failed(errno, full(place.path));
    return Entry{name, place, attr_of(st), st.st_dev};
  }

  Result<void> link(const Place& existing, const Place& directory, const std::string& name) override {
    const Place place = below(directory, name);
    if (::linkat(root_.get(), existing.path.c_str(), root_.get(), place.path.c_str(), 0) == 0) return {};
    return failed(errno, full(place.path));
  }

  Result<void> remove(const Place& directory, const std::string& name) override {
    const Place place = below(directory, name);
    if (::unlinkat(root_.get(), place.path.c_str(), 0) == 0) return {};
    return failed(errno, full(place.path));
  }

  Result<std::vector<std::string>> set(const Place& place, const Attr& attr,
                                       const std::vector<Xattr>& xattrs) override {
    const std::string path = full(place.path);
    // First the owner: changing it takes setuid bits and capabilities away. Who is not root keeps what is theirs, as with cp.
    if (::lchown(path.c_str(), attr.uid, attr.gid) != 0 && (errno != EPERM || ::geteuid() == 0))
      return failed(errno, path);
    auto refused = set_xattrs(path, xattrs);
    if (!refused) return refused;
    if (!S_ISLNK(attr.mode) && ::fchmodat(AT_FDCWD, path.c_str(), attr.mode & 07777, 0) != 0)
      return failed(errno, path);
    const std::array<timespec, 2> times = {timespec_of(attr.atime), timespec_of(attr.mtime)};
    if (::utimensat(AT_FDCWD, path.c_str(), times.data(), AT_SYMLINK_NOFOLLOW) != 0) return failed(errno, path);
    return refused;
  }

  void leave(const Place& /*place*/) override {}

  Result<void> sync() override {
    // A cairnfs is synced as a whole by fsync of any directory; syncfs would not reach it.
    if (::syncfs(root_.get()) != 0 || ::fsync(root_.get()) != 0) return failed(errno, path_);
    return {};
  }

 private:
  static const char* relative(const std::string& path) { return path.empty() ? "." : path.c_str(); }
  [[nodiscard]] std::string full(const std::string& path) const { return path.empty() ? path_ : path_ + "/" + path; }
  static Place below(const Place& directory, const std::string& name) {
    return {directory.path.empty() ? name : directory.path + "/" + name, 0};
  }

  static Result<std::vector<std::string>> list_xattrs(const std::string& path) {
    std::vector<std::string> names;
    std::array<char, 1024> few = {};
    Bytes many;
    char* list = few.data();
    ssize_t n = ::llistxattr(path.c_str(), list, few.size());
    if (n < 0 && errno == ERANGE) {
      many.resize(kMaxXattrSize);
      list = many.data();
      n = ::llistxattr(path.c_str(), list, many.size());
    }
    if (n < 0 && errno == EOPNOTSUPP) return names;
    if (n < 0) return failed(errno, path);
    for (ssize_t i = 0; i < n; i += static_cast<ssize_t>(names.back().size()) + 1) names.emplace_back(list + i);
    return names;
  }

  static Result<std::vector<std::string>> set_xattrs(const std::string& path, const std::vector<Xattr>& xattrs) {
    const auto there = list_xattrs(path);
    if (!there) return there;
    std::vector<std::string> refused;
    for (const Xattr& x : xattrs) {
      if (::lsetxattr(path.c_str(), x.name.c_str(), x.value.data(), x.value.size(), 0) == 0) continue;
      if (errno != EPERM && errno != EOPNOTSUPP) return failed(errno, path);
      refused.push_back(x.name);
    }
    for (const std::string& name : *there) {
      if (std::any_of(xattrs.begin(), xattrs.end(), [&name](const Xattr& x) { return x.name == name; })) continue;
      if (::lremovexattr(path.c_str(), name.c_str()) != 0 && errno != ENODATA && errno != EPERM && errno != EOPNOTSUPP)
        return failed(errno, path);
    }
    return refused;
  }

  std::string path_;
  Descriptor root_;
};

}  // namespace

Result<std::unique_ptr<Tree>> open_posix_tree(const std::string& path) {
  Descriptor fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return failed(errno, path);
  return std::make_unique<PosixTree>(path, fd.release());
}

}  // namespace cairn::tools
