#include "fusefs/resizer.h"

#include <algorithm>
#include <string_view>

#include "fusefs/frontend.h"
#include "fusefs/ring_thread.h"

namespace cairn::fusefs {
namespace {

// A message that is too long is cut; the NUL behind it is the struct's initial value.
void reply(fuse_req_t req, int result, std::string_view message) noexcept {
  ResizeCall call;
  std::copy_n(message.begin(), std::min(message.size(), sizeof call.message - 1), call.message);
  fuse_reply_ioctl(req, result, &call, sizeof call);
}

}  // namespace

// run() answers the change that is under way before it ends, so no request stays without an answer.
Resizer::~Resizer() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Resizer::refuse(fuse_req_t req, std::string_view message) noexcept { reply(req, 1, message); }

void Resizer::start(fuse_req_t req, uint64_t limit) {
  std::unique_lock lock(mutex_);
  if (wanted_) {
    lock.unlock();  // no lock is held while a reply is sent
    return refuse(req, "the limit is being changed already; try again when that is done");
  }
  if (!thread_.joinable()) thread_ = std::thread([this] { run(); });
  wanted_ = Change{req, limit, over_io_uring(req) ? frontend_of(req).session : nullptr};
  changed_.notify_all();
}

void Resizer::run() noexcept {
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [this] { return wanted_ || stopping_; });
    if (!wanted_) return;
    const Change change = *wanted_;
    lock.unlock();
    const Result<void> done = set_limit(change.limit);
    lock.lock();
    wanted_.reset();  // before the answer: who has it may ask again
    lock.unlock();
    // With the loop a library without our patch lets go of the rings, and of the requests in them. The kernel has given up on them.
    if (change.session == nullptr || fuse_session_exited(change.session) == 0)
      reply(change.req, done ? 0 : 1, done ? std::string_view() : done.error().message);
    lock.lock();
  }
}

Result<void> Resizer::set_limit(uint64_t limit) noexcept {
  try {
    return fs_.set_limit(limit);
  } catch (...) {  // for want of memory alone
    return fail(ErrorCode::kOutOfMemory);
  }
}

}  // namespace cairn::fusefs
