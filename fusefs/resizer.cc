#include "fusefs/resizer.h"

#include <algorithm>

namespace cairn::fusefs {
namespace {

void reply(fuse_req_t req, int result, std::string_view message) noexcept {
  ResizeCall call;
  std::copy_n(message.begin(), std::min(message.size(), sizeof call.message - 1), call.message);
  fuse_reply_ioctl(req, result, &call, sizeof call);
}

}  // namespace

Resizer::~Resizer() {
  if (thread_.joinable()) thread_.join();
}

void Resizer::refuse(fuse_req_t req, std::string_view message) noexcept { reply(req, 1, message); }

void Resizer::start(fuse_req_t req, uint64_t limit) {
  const std::lock_guard lock(mutex_);
  if (busy_) return refuse(req, "the limit is being changed already; try again when that is done");
  if (thread_.joinable()) thread_.join();
  thread_ = std::thread([this, req, limit] { run(req, limit); });
  busy_ = true;
}

void Resizer::run(fuse_req_t req, uint64_t limit) noexcept {
  Result<void> changed = fail(ErrorCode::kOutOfMemory, "out of memory");
  try {
    changed = fs_.set_limit(limit);
  } catch (...) {
    // What it says already: memory is the only thing that is thrown for here.
  }
  {
    const std::lock_guard lock(mutex_);
    busy_ = false;
  }
  reply(req, changed ? 0 : 1, changed ? std::string_view() : changed.error().message);
}

}  // namespace cairn::fusefs
