// Changing the limit of a mounted cache.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string_view>
#include <thread>
#include <type_traits>

#include <fuse_lowlevel.h>
#include <sys/ioctl.h>

#include "cairn/filesystem.h"

namespace cairn::fusefs {

// The command talks to the daemon through the mount itself: nothing else is sure to be there, and the kernel's
// permission to open the directory decides who may talk. Command and daemon may be of different versions, so the struct
// never changes; another version would be another ioctl number.
// What `cairnfs resize` gives to, and gets from, an ioctl on the root directory of a mount. (An extended attribute would keep
// the directory locked until enough is evicted.) The call returns 0, or 1 with one line in `message`.
struct ResizeCall {
  uint64_t limit = 0;  // bytes
  char message[504] = {};
};
static_assert(std::is_trivially_copyable_v<ResizeCall>);
static_assert(offsetof(ResizeCall, message) == 8, "no padding that would be sent with what is on the stack");
static_assert(sizeof(ResizeCall) == 512);
inline constexpr unsigned kResizeIoctl = _IOWR('C', 0xf5, ResizeCall);

// Changes the limit in a thread of its own, since it may have to wait for evictions; one change at a time. Thread-safe.
// The thread lives until the destructor, which waits for the change that is under way: what a thread has sent over an
// io_uring the kernel cancels when it ends, and with an answer goes the place for the next request.
//
// A limit that cannot be reached leaves the old one as it was. A second change while one is under way is refused and
// not queued: whoever asks twice wants to know that the first has not ended.
class Resizer {
 public:
  explicit Resizer(FileSystem& fs) : fs_(fs) {}
  Resizer(const Resizer&) = delete;
  Resizer& operator=(const Resizer&) = delete;
  ~Resizer();

  // Answers `req` once the limit is `limit`, or cannot be. May throw where no thread is to be had; `req` is then still the
  // caller's.
  void start(fuse_req_t req, uint64_t limit);
  // Answers `req` with an error.
  static void refuse(fuse_req_t req, std::string_view message) noexcept;

 private:
  struct Change {
    fuse_req_t req;
    uint64_t limit;
    fuse_session* session;  // if the request came over io_uring: goes with its rings, or null
  };
  void run() noexcept;
  Result<void> set_limit(uint64_t limit) noexcept;

  FileSystem& fs_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::optional<Change> wanted_;  // until it is about to be answered
  bool stopping_ = false;
  std::thread thread_;  // since the first change
};

}  // namespace cairn::fusefs
