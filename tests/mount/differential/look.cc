#include "mount/differential/look.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <vector>

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <fmt/format.h>

#include "mount/differential/calls.h"

namespace cairn::differential {
namespace {

constexpr int64_t kSecondsMin = 1'000'000'000;  // 2001: no clock shows less
constexpr int64_t kAllOf = 64 << 10;            // bytes of files of which all is compared
constexpr int64_t kEnds = 16 << 10;             // bytes at either end that are compared of larger ones
constexpr int64_t kWholeMax = 2 << 20;          // the most that is compared of any file, but for its end

int64_t set_time(const timespec& time) {
  return time.tv_sec < kSecondsMin ? time.tv_sec * 1'000'000'000 + time.tv_nsec + 1 : 0;
}

bool differ(const timespec& a, const timespec& b) { return a.tv_sec != b.tv_sec || a.tv_nsec != b.tv_nsec; }

// Bytes begin..end-1, digested; an error digests as its number.
uint64_t digest_range(int fd, int64_t begin, int64_t end) {
  static std::vector<char> bytes(1 << 20);
  uint64_t digest = 0;
  while (begin < end) {
    const auto want = std::min<int64_t>(end - begin, static_cast<int64_t>(bytes.size()));
    const ssize_t got = ::pread(fd, bytes.data(), static_cast<size_t>(want), begin);
    if (got <= 0) return digest * 31 + (got < 0 ? static_cast<uint64_t>(errno) : 1);
    digest = digest * 31 + digest_of({bytes.data(), static_cast<size_t>(got)});
    begin += got;
  }
  return digest;
}

uint64_t digest_content(const std::string& path, int64_t size, bool whole) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
  if (fd < 0) return static_cast<uint64_t>(errno);
  uint64_t digest = 0;
  if (size <= kAllOf || whole) {
    digest = digest_range(fd, 0, std::min(size, kWholeMax));
    if (size > kWholeMax) digest = digest * 31 + digest_range(fd, size - kEnds, size);
  } else {
    digest = digest_range(fd, 0, kEnds) * 31 + digest_range(fd, size - kEnds, size);
  }
  ::close(fd);
  return digest;
}

uint64_t digest_xattrs(const std::string& path) {
  std::vector<char> list(8192), value(8192);
  const ssize_t size = ::llistxattr(path.c_str(), list.data(), list.size());
  if (size < 0) return static_cast<uint64_t>(errno);
  std::vector<std::string> all;
  for (const char* name = list.data(); name < list.data() + size; name += std::strlen(name) + 1) {
    const ssize_t got = ::lgetxattr(path.c_str(), name, value.data(), value.size());
    all.push_back(name + std::string("=") + std::string(value.data(), static_cast<size_t>(std::max<ssize_t>(got, 0))));
  }
  std::sort(all.begin(), all.end());
  uint64_t digest = 0;
  for (const std::string& one : all) digest = digest * 31 + digest_of(one);
  return digest;
}

Seen to_seen(const struct stat& st, const Before& before) {
  Seen seen;
  seen.mode = comparable_mode(st.st_mode);
  seen.uid = st.st_uid;
  seen.gid = st.st_gid;
  seen.links = st.st_nlink;
  seen.rdev = st.st_rdev;
  seen.size = S_ISDIR(st.st_mode) ? 0 : st.st_size;
  if (S_ISFIFO(st.st_mode)) return seen;  // what goes through a FIFO moves its times on ext4 alone
  seen.mtime_set = set_time(st.st_mtim);
  if (before.there && before.ino == st.st_ino) {
    seen.mtime_moved = differ(before.mtime, st.st_mtim);
    seen.ctime_moved = differ(before.ctime, st.st_ctim);
  }
  return seen;
}

Seen failed() {
  Seen seen;
  seen.error = errno;
  return seen;
}

Before to_before(const struct stat& st) {
  return {.there = true, .ino = st.st_ino, .mtime = st.st_mtim, .ctime = st.st_ctim};
}

void list_directory(const std::string& path, std::map<ino_t, std::string>& first_names, std::string& out) {
  std::vector<std::string> names;
  if (DIR* directory = ::opendir(path.empty() ? "/" : path.c_str())) {
    while (const dirent* entry = ::readdir(directory)) names.emplace_back(entry->d_name);
    ::closedir(directory);
  } else {
    out += fmt::format("{}: opendir: {}\n", path, errno);
  }
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name == "." || name == "..") continue;
    const std::string below = path + '/' + name;
    struct stat st = {};
    if (::lstat(below.c_str(), &st) != 0) {
      out += fmt::format("{}: lstat: {}\n", below, errno);
      continue;
    }
    const Seen seen = look_after(below, {}, true);
    const std::string& first = first_names.emplace(st.st_ino, below).first->second;
    out += fmt::format("{} {:o} {}:{} links={} rdev={} size={} mtime={} content={:x} xattrs={:x} first={}\n", below,
                       seen.mode, seen.uid, seen.gid, seen.links, seen.rdev, seen.size, seen.mtime_set, seen.content,
                       seen.xattrs, first);
    if (S_ISDIR(st.st_mode)) list_directory(below, first_names, out);
  }
}

}  // namespace

uint32_t comparable_mode(uint32_t mode) {
  const bool lock_bit = !S_ISDIR(mode) && (mode & (S_ISGID | S_IXGRP)) == S_ISGID;
  return lock_bit ? mode & ~uint32_t{S_ISGID} : mode;
}

Before look_before(const std::string& path) {
  struct stat st = {};
  return ::lstat(path.c_str(), &st) == 0 ? to_before(st) : Before{};
}

Before look_before(int fd) {
  struct stat st = {};
  return ::fstat(fd, &st) == 0 ? to_before(st) : Before{};
}

Seen look_after(const std::string& path, const Before& before, bool whole) {
  struct stat st = {};
  if (::lstat(path.c_str(), &st) != 0) return failed();
  Seen seen = to_seen(st, before);
  if (S_ISREG(st.st_mode)) seen.content = digest_content(path, st.st_size, whole);
  if (S_ISLNK(st.st_mode)) {
    std::vector<char> target(8192);
    const ssize_t size = ::readlink(path.c_str(), target.data(), target.size());
    seen.content = digest_of({target.data(), static_cast<size_t>(std::max<ssize_t>(size, 0))});
  }
  seen.xattrs = digest_xattrs(path);
  return seen;
}

Seen look_after(int fd, const Before& before) {
  struct stat st = {};
  return ::fstat(fd, &st) == 0 ? to_seen(st, before) : failed();
}

std::string directory_of(const std::string& path) {
  size_t end = path.find_last_not_of('/');
  if (end == std::string::npos) return "/";
  end = path.rfind('/', end);
  return end == std::string::npos ? "." : path.substr(0, end + 1);
}

bool same_inode(const std::string& path, const std::string& path2) {
  struct stat a = {}, b = {};
  return ::lstat(path.c_str(), &a) == 0 && ::lstat(path2.c_str(), &b) == 0 && a.st_ino == b.st_ino;
}

std::string list_tree() {
  std::map<ino_t, std::string> first_names;
  std::string out;
  list_directory("", first_names, out);
  return out;
}

}  // namespace cairn::differential
