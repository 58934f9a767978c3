// A tree in a file system, through the kernel.
#include <algorithm>
#include <array>
#include <cerrno>
#include <functional>
#include <map>
#include <mutex>
#include <string_view>
#include <system_error>
#include <utility>

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fmt/format.h>

#include "fusefs/stats.h"
#include "tools/transfer/tree.h"

namespace cairn::tools {
namespace {

constexpr size_t kMaxOpenDirectories = 128;

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  Descriptor(Descriptor&& other) noexcept : fd_(other.release()) {}
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

// Every file is reached from a descriptor of its directory, and every directory from that of the one above, without following
// a link. So a path may be of any length, and what somebody puts in a directory's place meanwhile leads nowhere else.
class PosixTree final : public Tree {
 public:
  PosixTree(std::string path, int fd)
      : path_(std::move(path)), root_(std::make_shared<Descriptor>(fd)), is_cache_(is_cache(*root_)) {}

  // Makes `path` the root, component by component.
  Result<void> descend(const std::string& path, bool make_missing) {
    size_t begin = 0;
    while (begin < path.size()) {
      const size_t end = std::min(path.find('/', begin), path.size());
      const std::string name = path.substr(begin, end - begin);
      begin = end + 1;
      if (name.empty() || name == ".") continue;
      if (name == "..") return fail(ErrorCode::kInvalid, fmt::format("{}:{}: '..' is not a name", path_, path));
      path_ += "/" + name;
      if (make_missing && ::mkdirat(root_->get(), name.c_str(), 0755) != 0 && errno != EEXIST)
        return failed(errno, path_);
      auto below = open_directory(*root_, name);
      if (below->get() < 0) return failed(errno, path_);
      root_ = std::move(below);
    }
    return {};
  }

  Result<Entry> root() override {
    struct stat st = {};
    if (::fstat(root_->get(), &st) != 0) return failed(errno, path_);
    return Entry{{}, {}, attr_of(st), st.st_dev};
  }

  Result<std::vector<Entry>> list(const Place& directory) override {
    const auto dir = directory_of(directory.path);
    if (!dir) return fail(dir.error());
    const int opened = ::openat((*dir)->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened < 0) return failed(errno, full(directory.path));
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(opened), &::closedir);
    if (!stream) {
      ::close(opened);
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
      if (::fstatat(opened, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        entries.push_back({name, below(directory, name), attr_of(st), st.st_dev});
      } else if (errno != ENOENT) {  // removed since it was listed: not there
        return failed(errno, full(below(directory, name).path));
      }
    }
  }

  Result<std::optional<Entry>> find(const Place& directory, const std::string& name) override {
    const Place place = below(directory, name);
    const auto dir = directory_of(directory.path);
    if (!dir) return fail(dir.error());
    struct stat st = {};
    if (::fstatat((*dir)->get(), name.c_str(), &st, AT_SYMLINK_NOFOLLOW) == 0)
      return Entry{name, place, attr_of(st), st.st_dev};
    if (errno == ENOENT) return std::nullopt;
    return failed(errno, full(place.path));
  }

  Result<Bytes> read_link(const Place& place) override {
    const auto dir = parent_of(place);
    if (!dir) return fail(dir.error());
    Bytes target(kMaxSymlinkSize + 1, '\0');
    const ssize_t n = ::readlinkat((*dir)->get(), name_of(place), target.data(), target.size());
    if (n < 0) return failed(errno, full(place.path));
    target.resize(static_cast<size_t>(n));
    return target;
  }

  Result<std::vector<Xattr>> xattrs(const Place& place) override {
    const std::string path = full(place.path);
    const auto file = hold(place);
    if (!file) return fail(file.error());
    const std::string held = name_of(*file);
    const auto names = list_xattrs(held, path);
    if (!names) return fail(names.error());
    std::vector<Xattr> found;
    for (const std::string& name : *names) {
      Bytes value(kMaxXattrSize, '\0');
      const ssize_t n = ::getxattr(held.c_str(), name.c_str(), value.data(), value.size());
      if (n < 0 && errno == ENODATA) continue;
      if (n < 0) return failed(errno, path);
      value.resize(static_cast<size_t>(n));
      found.push_back({name, std::move(value)});
    }
    return found;
  }

  Result<std::unique_ptr<Content>> open(const Place& place, bool to_write) override {
    const auto dir = parent_of(place);
    if (!dir) return fail(dir.error());
    // O_NONBLOCK: whatever has taken the file's place meanwhile must not hang us.
    const int flags = (to_write ? O_WRONLY | O_TRUNC : O_RDONLY) | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
    Descriptor fd(::openat((*dir)->get(), name_of(place), flags));
    if (fd.get() < 0) return failed(errno, full(place.path));
    struct stat st = {};
    if (::fstat(fd.get(), &st) != 0) return failed(errno, full(place.path));
    if (!S_ISREG(st.st_mode)) return fail(ErrorCode::kInvalid, full(place.path) + ": is no regular file any more");
    return std::make_unique<PosixContent>(fd.release(), full(place.path));
  }

  Result<Entry> make(const Place& directory, const std::string& name, const Attr& like, ByteView target) override {
    const Place place = below(directory, name);
    const auto dir = directory_of(directory.path);
    if (!dir) return fail(dir.error());
    const int at = (*dir)->get();
    // Nobody else looks into it before set() says who may.
    const mode_t mode = (like.mode & S_IFMT) | (S_ISDIR(like.mode) ? 0700 : 0600);
    int result = -1;
    if (S_ISDIR(like.mode)) {
      result = ::mkdirat(at, name.c_str(), mode);
    } else if (S_ISLNK(like.mode)) {
      result = ::symlinkat(std::string(target).c_str(), at, name.c_str());
    } else {
      result = ::mknodat(at, name.c_str(), mode, like.rdev);
    }
    struct stat st = {};
    if (result != 0 || ::fstatat(at, name.c_str(), &st, AT_SYMLINK_NOFOLLOW) != 0)
      return failed(errno, full(place.path));
    return Entry{name, place, attr_of(st), st.st_dev};
  }

  Result<void> link(const Place& existing, const Place& directory, const std::string& name) override {
    const auto from = parent_of(existing);
    if (!from) return fail(from.error());
    const auto to = directory_of(directory.path);
    if (!to) return fail(to.error());
    if (::linkat((*from)->get(), name_of(existing), (*to)->get(), name.c_str(), 0) == 0) return {};
    return failed(errno, full(below(directory, name).path));
  }

  Result<void> remove(const Place& directory, const std::string& name) override {
    const auto dir = directory_of(directory.path);
    if (!dir) return fail(dir.error());
    if (::unlinkat((*dir)->get(), name.c_str(), 0) == 0) return {};
    return failed(errno, full(below(directory, name).path));
  }

  Result<std::vector<std::string>> set(const Place& place, const Attr& attr,
                                       const std::vector<Xattr>& xattrs) override {
    const std::string path = full(place.path);
    const auto file = hold(place);
    if (!file) return fail(file.error());
    const std::string held = name_of(*file);
    // First the owner: changing it takes setuid bits and capabilities away. Who is not root keeps what is theirs, as with cp.
    if (::fchownat(file->get(), "", attr.uid, attr.gid, AT_EMPTY_PATH) != 0 && (errno != EPERM || ::geteuid() == 0))
      return failed(errno, path);
    auto refused = set_xattrs(held, path, xattrs);
    if (!S_ISLNK(attr.mode) && ::chmod(held.c_str(), attr.mode & 07777) != 0) return failed(errno, path);
    const std::array<timespec, 2> times = {timespec_of(attr.atime), timespec_of(attr.mtime)};
    if (::utimensat(AT_FDCWD, held.c_str(), times.data(), 0) != 0) return failed(errno, path);
    return refused;
  }

  void leave(const Place& /*place*/) override {}

  bool may_have_evicted() override { return is_cache_; }

  Result<void> sync() override {
    const Descriptor root(::openat(root_->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    // A cairnfs is synced as a whole by fsync of any directory; syncfs would not reach it.
    if (root.get() < 0 || ::syncfs(root.get()) != 0 || ::fsync(root.get()) != 0) return failed(errno, path_);
    return {};
  }

 private:
  using DescriptorRef = std::shared_ptr<const Descriptor>;

  [[nodiscard]] std::string full(const std::string& path) const { return path.empty() ? path_ : path_ + "/" + path; }
  static Place below(const Place& directory, const std::string& name) {
    return {directory.path.empty() ? name : directory.path + "/" + name, 0};
  }
  static const char* name_of(const Place& place) {
    return place.path.empty() ? "." : place.path.c_str() + (place.path.rfind('/') + 1);
  }
  // A path to what is open, for calls that take no descriptor of a file that cannot be opened. Leads to a symbolic link itself.
  static std::string name_of(const Descriptor& file) { return fmt::format("/proc/self/fd/{}", file.get()); }

  // Whether it is where a cache is mounted: its root says so.
  static bool is_cache(const Descriptor& directory) {
    Bytes stats(kMaxXattrSize, '\0');
    const std::string name(fusefs::kStatsAttribute);
    const ssize_t n = ::getxattr(name_of(directory).c_str(), name.c_str(), stats.data(), stats.size());
    return n > 0 && stats.find("\"mode\":\"cache\"") != Bytes::npos;
  }

  static DescriptorRef open_directory(const Descriptor& parent, const std::string& name) {
    return std::make_shared<Descriptor>(
        ::openat(parent.get(), name.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  }

  // From the longest part of the path that is open.
  Result<DescriptorRef> directory_of(const std::string& path) {
    DescriptorRef directory = root_;
    size_t end = path.size();
    {
      const std::lock_guard lock(mutex_);
      for (; end > 0; end = parent_end(path, end)) {
        const auto found = directories_.find(std::string_view(path).substr(0, end));
        if (found == directories_.end()) continue;
        directory = found->second;
        break;
      }
    }
    while (end < path.size()) {
      const size_t begin = end == 0 ? 0 : end + 1;
      end = std::min(path.find('/', begin), path.size());
      directory = open_directory(*directory, path.substr(begin, end - begin));
      if (directory->get() < 0) return failed(errno, full(path.substr(0, end)));
    }
    keep(path, directory);
    return directory;
  }

  static size_t parent_end(const std::string& path, size_t end) {
    const size_t slash = path.rfind('/', end - 1);
    return slash == std::string::npos ? 0 : slash;
  }

  void keep(const std::string& path, DescriptorRef directory) {
    const std::lock_guard lock(mutex_);
    if (directories_.size() >= kMaxOpenDirectories) directories_.clear();
    directories_[path] = std::move(directory);
  }

  Result<DescriptorRef> parent_of(const Place& place) {
    return directory_of(place.path.substr(0, parent_end(place.path, place.path.size())));
  }

  // The file itself, whatever it is: it is not opened.
  Result<Descriptor> hold(const Place& place) {
    const auto dir = parent_of(place);
    if (!dir) return fail(dir.error());
    Descriptor file(::openat((*dir)->get(), name_of(place), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (file.get() < 0) return failed(errno, full(place.path));
    return file;
  }

  static Result<std::vector<std::string>> list_xattrs(const std::string& held, const std::string& path) {
    std::vector<std::string> names;
    std::array<char, 1024> few = {};
    Bytes many;
    char* list = few.data();
    ssize_t n = ::listxattr(held.c_str(), list, few.size());
    if (n < 0 && errno == ERANGE) {
      many.resize(kMaxXattrSize);
      list = many.data();
      n = ::listxattr(held.c_str(), list, many.size());
    }
    if (n < 0 && errno == EOPNOTSUPP) return names;
    if (n < 0) return failed(errno, path);
    for (ssize_t i = 0; i < n; i += static_cast<ssize_t>(names.back().size()) + 1) names.emplace_back(list + i);
    return names;
  }

  // One that there is no room for (ext4 has a block for all of a file's) keeps the others from nothing: the error comes last.
  static Result<std::vector<std::string>> set_xattrs(const std::string& held, const std::string& path,
                                                     const std::vector<Xattr>& xattrs) {
    const auto there = list_xattrs(held, path);
    if (!there) return there;
    std::vector<std::string> refused;
    std::optional<Error> error;
    for (const Xattr& x : xattrs) {
      if (::setxattr(held.c_str(), x.name.c_str(), x.value.data(), x.value.size(), 0) == 0) continue;
      if (errno == EPERM || errno == EOPNOTSUPP) {
        refused.push_back(x.name);
      } else if (!error) {
        // Not kNoSpace: that would be the end of everything.
        error =
            Error(errno == ENOSPC ? ErrorCode::kTooLarge : code_of(errno), errno,
                  fmt::format("{}: extended attribute {}: {}", path, x.name, std::generic_category().message(errno)));
      }
    }
    for (const std::string& name : *there) {
      if (std::any_of(xattrs.begin(), xattrs.end(), [&name](const Xattr& x) { return x.name == name; })) continue;
      if (::removexattr(held.c_str(), name.c_str()) == 0 || errno == ENODATA || is_theirs(errno, name)) continue;
      if (!error) error = failed(errno, path).value();
    }
    if (error) return fail(std::move(*error));
    return refused;
  }

  // What nobody may take away: a file's label, mostly, that the system gives to each.
  static bool is_theirs(int err, const std::string& name) {
    return err == EPERM || err == EOPNOTSUPP || (err == EACCES && name.rfind("security.", 0) == 0);
  }

  std::string path_;
  DescriptorRef root_;
  const bool is_cache_;
  std::mutex mutex_;
  // Directories that were used lately, so that a file is reached in one step.
  std::map<std::string, DescriptorRef, std::less<>> directories_;
};

}  // namespace

Result<std::unique_ptr<Tree>> open_posix_tree(const std::string& top, const std::string& path, bool make_missing) {
  Descriptor fd(::open(top.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return failed(errno, top);
  auto tree = std::make_unique<PosixTree>(top, fd.release());
  if (auto there = tree->descend(path, make_missing); !there) return fail(std::move(there).error());
  return tree;
}

}  // namespace cairn::tools
