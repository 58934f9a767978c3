#include "fusefs/sync_queue.h"

namespace cairn::fusefs {

SyncQueue::~SyncQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SyncQueue::add(const SyncRequest& request) {
  std::unique_lock lock(mutex_);
  if (request.over_io_uring && !thread_.joinable()) thread_ = std::thread([this] { run(); });
  waiting_.push_back(request);
  if (led_) return;
  if (request.over_io_uring) {
    lock.unlock();
    wake_.notify_one();
  } else {
    lead(lock);
  }
}

void SyncQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || (!waiting_.empty() && !led_); });
    if (waiting_.empty()) return;
    lead(lock);
  }
}

void SyncQueue::lead(std::unique_lock<std::mutex>& lock) noexcept {
  led_ = true;
  while (!waiting_.empty()) {
    batch_.swap(waiting_);
    lock.unlock();
    const Result<void> result = sync();
    for (const SyncRequest& request : batch_) answer_(request, result);
    batch_.clear();
    lock.lock();
  }
  led_ = false;
}

Result<void> SyncQueue::sync() noexcept {
  try {
    return sync_();
  } catch (...) {
    return fail(ErrorCode::kOutOfMemory);  // the only thing that is thrown here
  }
}

}  // namespace cairn::fusefs
