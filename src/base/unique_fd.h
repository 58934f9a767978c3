// Owner of a file descriptor.
#pragma once

#include <cerrno>
#include <utility>

#include <unistd.h>

#include "base/check.h"

namespace cairn {

// Closes its descriptor when it goes. The destructor drops the error; whoever wrote through it calls close(). -1 is
// none. The number itself leaves only through get(), for a system call: numbers are used again as soon as they are
// closed, so nobody keeps one (hazard 27). Not thread-safe.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  // What was moved from owns nothing.
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept {
    if (this != &other) reset(other.release());
    return *this;
  }
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd() { reset(); }

  // For the length of a call. -1 if there is none, for which the kernel says EBADF.
  [[nodiscard]] int get() const { return fd_; }
  [[nodiscard]] bool valid() const { return fd_ >= 0; }
  // Gives the descriptor away; -1 if there is none.
  [[nodiscard]] int release() { return std::exchange(fd_, -1); }
  // For what was only read, or has failed already: whoever wrote asks close(), as the last error may come with it.
  void reset(int fd = -1) {
    // Giving it what it owns would close it and keep the number: somebody else's file soon.
    DCHECK(fd < 0 || fd != fd_);
    if (fd_ >= 0) (void)::close(fd_);
    fd_ = fd;
  }
  // Closes now and returns 0 or the errno; 0 if there is nothing to close. EINTR is no error: on Linux the descriptor is
  // gone all the same.
  [[nodiscard]] int close() {
    if (fd_ < 0) return 0;
    return ::close(release()) == 0 || errno == EINTR ? 0 : errno;
  }

 private:
  int fd_ = -1;
};

}  // namespace cairn
