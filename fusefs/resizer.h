// Changing the limit of a mounted cache.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>
#include <thread>

#include <fuse_lowlevel.h>
#include <sys/ioctl.h>

#include "cairn/filesystem.h"

namespace cairn::fusefs {

// What `cairnfs resize` gives to, and gets from, an ioctl on the root directory of a mount. (An extended attribute would keep
// the directory locked until enough is evicted.) The call returns 0, or 1 with one line in `message`.
struct ResizeCall {
  uint64_t limit = 0;  // bytes
  char message[504] = {};
};
static_assert(sizeof(ResizeCall) == 512);
inline constexpr unsigned kResizeIoctl = _IOWR('C', 0xf5, ResizeCall);

// Changes the limit in a thread of its own, since it may have to wait for evictions; one change at a time. Thread-safe.
// The destructor waits for the change that is under way; requests may still be answered until then.
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
  void run(fuse_req_t req, uint64_t limit) noexcept;

  FileSystem& fs_;
  std::mutex mutex_;
  bool busy_ = false;   // thread_ has not answered yet
  std::thread thread_;  // joined by the next, or by the destructor
};

}  // namespace cairn::fusefs
