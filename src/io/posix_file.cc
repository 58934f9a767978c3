#include "io/posix_file.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <limits>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "base/check.h"
#include "io/os_error.h"

namespace cairn::io {
namespace {

static_assert(sizeof(off_t) == 8, "_FILE_OFFSET_BITS=64");

constexpr size_t kMostBuffers = 1024;  // of one read
static_assert(kMostBuffers <= IOV_MAX);

// Repeats a system call that a signal interrupted.
template <class Call>
auto retry(Call call) {
  decltype(call()) result;
  do {
    result = call();
  } while (result < 0 && errno == EINTR);
  return result;
}

// Offsets are signed in the kernel. What does not fit is an error of whoever computed it from bytes on disk, so no
// CHECK.
bool fits(uint64_t offset, uint64_t length) {
  constexpr auto kMax = static_cast<uint64_t>(std::numeric_limits<off_t>::max());
  return offset <= kMax && length <= kMax - offset;
}

// For files with O_DIRECT: the kernel would say EINVAL, and then for ever.
void check_aligned(uint64_t offset, const char* data, size_t length) {
  CHECK(offset % kBlockSize == 0);
  CHECK(length % kBlockSize == 0);
  CHECK(reinterpret_cast<uintptr_t>(data) % kBlockSize == 0);
}

}  // namespace

PosixFile::PosixFile(UniqueFd fd, std::string name, std::string directory, bool direct)
    : fd_(std::move(fd)), name_(std::move(name)), directory_(std::move(directory)), direct_(direct) {}

Error PosixFile::error(int err, std::string_view operation) const {
  return os_error(err, operation, name_, directory_);
}

Result<size_t> PosixFile::pread(uint64_t offset, std::span<char> buffer) const {
  if (!fits(offset, buffer.size())) return fail(error(EOVERFLOW, "read"));
  if (direct_) check_aligned(offset, buffer.data(), buffer.size());
  size_t done = 0;
  while (done < buffer.size()) {
    const ssize_t n = retry([&] {
      return ::pread(fd_.get(), buffer.data() + done, buffer.size() - done, static_cast<off_t>(offset + done));
    });
    if (n < 0) return fail(error(errno, "read"));
    done += static_cast<size_t>(n);
    // A direct read that ends inside a block has met the end of the file; going on from there would be unaligned.
    if (n == 0 || (direct_ && done % kBlockSize != 0)) break;
  }
  return done;
}

Result<size_t> PosixFile::preadv(uint64_t offset, std::span<const std::span<char>> buffers) const {
  CHECK(buffers.size() <= kMostBuffers);
  std::vector<iovec> rest;
  rest.reserve(buffers.size());
  uint64_t size = 0;
  for (const std::span<char> buffer : buffers) {
    if (direct_) check_aligned(offset + size, buffer.data(), buffer.size());
    size += buffer.size();
    rest.push_back({buffer.data(), buffer.size()});
  }
  if (!fits(offset, size)) return fail(error(EOVERFLOW, "read"));
  size_t done = 0;
  for (size_t at = 0; at < rest.size();) {
    const ssize_t n = retry([&] {
      return ::preadv(fd_.get(), &rest[at], static_cast<int>(rest.size() - at), static_cast<off_t>(offset + done));
    });
    if (n < 0) return fail(error(errno, "read"));
    done += static_cast<size_t>(n);
    // As in pread().
    if (n == 0 || (direct_ && done % kBlockSize != 0)) break;
    size_t left = static_cast<size_t>(n);
    for (; at < rest.size() && left >= rest[at].iov_len; ++at) left -= rest[at].iov_len;
    if (left == 0) continue;
    rest[at].iov_base = static_cast<char*>(rest[at].iov_base) + left;
    rest[at].iov_len -= left;
  }
  return done;
}

Result<void> PosixFile::pwrite(uint64_t offset, ByteView bytes) {
  if (!fits(offset, bytes.size())) return fail(error(EFBIG, "write"));
  if (direct_) check_aligned(offset, bytes.data(), bytes.size());
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t n = retry([&] {
      return ::pwrite(fd_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    });
    if (n < 0) return fail(error(errno, "write"));
    if (n == 0) return fail(error(EIO, "write"));  // would loop for ever
    done += static_cast<size_t>(n);
  }
  return {};
}

Result<void> PosixFile::sync() {
  // EINTR says that the wait was cut short, not that a page failed: only then is asking again right.
  if (retry([&] { return ::fdatasync(fd_.get()); }) != 0) return fail(error(errno, "sync"));
  return {};
}

Result<void> PosixFile::truncate(uint64_t size) {
  // Not followed by a sync: callers sync when they mean it.
  if (!fits(size, 0)) return fail(error(EFBIG, "truncate"));
  if (retry([&] { return ::ftruncate(fd_.get(), static_cast<off_t>(size)); }) != 0) {
    return fail(error(errno, "truncate"));
  }
  return {};
}

Result<void> PosixFile::fallocate(int mode, uint64_t offset, uint64_t length, std::string_view operation) {
  if (length == 0) return {};
  if (!fits(offset, length)) return fail(error(EFBIG, operation));
  // With mode 0 the file also grows to cover the range; EINTR is possible for long ranges, and repeating is harmless.
  const int result =
      retry([&] { return ::fallocate(fd_.get(), mode, static_cast<off_t>(offset), static_cast<off_t>(length)); });
  if (result != 0) return fail(error(errno, operation));
  return {};
}

Result<void> PosixFile::allocate(uint64_t offset, uint64_t length) { return fallocate(0, offset, length, "allocate"); }

Result<void> PosixFile::punch(uint64_t offset, uint64_t length) {
  return fallocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length, "punch");
}

Result<FileStat> PosixFile::stat() const {
  struct stat st = {};
  if (::fstat(fd_.get(), &st) != 0) return fail(error(errno, "stat"));
  // st_blocks counts 512 bytes whatever the file system's blocks are (stat(2)).
  return FileStat{.size = static_cast<uint64_t>(st.st_size), .allocated = static_cast<uint64_t>(st.st_blocks) * 512};
}

// Dirty pages stay: this is for what was synced, or must be read from the device to be believed. Failing costs nothing
// but that.
void PosixFile::drop_cache() const { (void)::posix_fadvise(fd_.get(), 0, 0, POSIX_FADV_DONTNEED); }

Result<void> PosixFile::close() {
  // Some file systems (NFS) report a failed write only here.
  if (const int err = fd_.close(); err != 0) return fail(error(err, "close"));
  return {};
}

}  // namespace cairn::io
