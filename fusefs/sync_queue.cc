#include "fusefs/sync_queue.h"

#include <algorithm>
#include <type_traits>
#include <vector>

namespace cairn::fusefs {

static_assert(std::is_nothrow_swappable_v<std::vector<SyncRequest>>, "lead() has nobody to tell");

// Nobody adds any more; what the thread has taken it still answers.
SyncQueue::~SyncQueue() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_all();
  more_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void SyncQueue::add(const SyncRequest& request) {
  if (request.own_thread) return answer_(request, sync());
  std::unique_lock lock(mutex_);
  const bool leads = may_lead(request);
  // Also for those who come while a caller over io_uring leads.
  if (request.over_io_uring && !thread_.joinable()) thread_ = std::thread([this] { run(); });
  waiting_.push_back(request);
  if (led_) {
    if (waiting_.size() == expected_) more_.notify_one();
    return;
  }
  if (leads) {
    lead(lock, /*once=*/request.over_io_uring);
  } else {
    lock.unlock();
    wake_.notify_one();
  }
}

// With mutex_.
bool SyncQueue::may_lead(const SyncRequest& request) {
  in_a_row_ = request.caller == last_caller_ ? in_a_row_ + 1 : 1;
  last_caller_ = request.caller;
  if (!request.over_io_uring) return true;
  // On a slow disk the change of threads is nothing beside what others on that CPU would wait.
  return request.caller != 0 && in_a_row_ > kAlone && took_ < patience_.slow;
}

// Ends only when nothing is waiting, so that nobody who was told "a thread does the rest" is forgotten.
void SyncQueue::run() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return ending_ || (!waiting_.empty() && !led_); });
    if (waiting_.empty()) return;
    lead(lock, /*once=*/false);
  }
}

// With the lock, which is released while syncing and answering. The two vectors change places, so that in the long run
// neither allocates: there is no error path for the leader's own memory.
void SyncQueue::lead(std::unique_lock<std::mutex>& lock, bool once) noexcept {
  led_ = true;
  do {
    gather(lock);
    batch_.swap(waiting_);
    lock.unlock();
    const Clock::time_point begun = Clock::now();
    const Result<void> result = sync();
    lock.lock();
    ended_ = Clock::now();
    took_ = ended_ - begun;
    expected_ = batch_.size() + waiting_.size();  // before the answers: who has his may be back at once
    lock.unlock();
    for (const SyncRequest& request : batch_) answer_(request, result);
    batch_.clear();
    lock.lock();
  } while (!waiting_.empty() && !once);
  led_ = false;
  if (!waiting_.empty()) wake_.notify_one();
}

void SyncQueue::gather(std::unique_lock<std::mutex>& lock) noexcept {
  // Whoever was answered longer ago than a sync takes has something else to do.
  if (took_ < patience_.slow || Clock::now() - ended_ > took_) return;
  const auto until = Clock::now() + std::min<Clock::duration>(took_ / patience_.share, patience_.most);
  more_.wait_until(lock, until, [this] { return waiting_.size() >= expected_ || ending_; });
}

Result<void> SyncQueue::sync() noexcept {
  try {
    return sync_();
  } catch (...) {
    return fail(ErrorCode::kOutOfMemory);  // the only thing that is thrown here
  }
}

}  // namespace cairn::fusefs
