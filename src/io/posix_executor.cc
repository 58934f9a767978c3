#include "io/posix_executor.h"

#include <algorithm>
#include <csignal>
#include <utility>

#include <pthread.h>

#include "base/check.h"

namespace cairn::io {
namespace {

// Only those count against the number of jobs; a FUSE worker that waits is none of ours.
thread_local bool on_executor_thread = false;

// A thread with all signals blocked, so that they arrive where the program expects them. False if there is no room.
bool start_thread(void* (*main)(void*), void* argument) {
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return false;
  (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);  // fails for a wrong argument only
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_t thread = {};
  const int result = pthread_create(&thread, &attributes, main, argument);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_attr_destroy(&attributes);
  return result == 0;
}

}  // namespace

void PosixExecutor::submit(std::function<void()> job) {
  const MutexLock lock(mutex_);
  jobs_.push_back(std::move(job));
  call_helper();
}

void PosixExecutor::submit_after(std::chrono::milliseconds delay, std::function<void()> job) {
  const MutexLock lock(mutex_);
  timers_.push_back({.due = Clock::now() + delay, .number = next_timer_++, .job = std::move(job)});
  std::push_heap(timers_.begin(), timers_.end(), Later());
  call_helper();
}

void PosixExecutor::wait(Mutex& mutex, CondVar& cond, const std::function<bool()>& ready) {
  // No counting where nobody has to wait: most callers find it so.
  if (ready()) return;
  if (on_executor_thread) count_waiting(+1);
  // The count goes up and down under our own mutex while the caller's is held: ours is a leaf, so the order is right.
  while (!ready()) cond.wait_native(mutex);
  if (on_executor_thread) count_waiting(-1);
}

void PosixExecutor::count_waiting(int change) {
  const MutexLock lock(mutex_);
  waiting_ += change;
  CHECK(waiting_ >= 0 && waiting_ <= threads_);
  call_helper();
}

void PosixExecutor::call_helper() {
  const int running = threads_ - idle_ - waiting_;
  if (timers_.empty() && (jobs_.empty() || running >= kJobs)) return;
  if (idle_ > 0) {
    work_.notify_one();
  } else if (running < kJobsAndTimers && start_thread(&PosixExecutor::thread_main, this)) {
    ++threads_;
    ++idle_;
  }
  // Without a single thread nothing queued would ever run, and whoever waits for it would hang instead of failing.
  CHECK(threads_ > 0);
}

void* PosixExecutor::thread_main(void* executor) {
  on_executor_thread = true;
  (void)pthread_setname_np(pthread_self(), "cairn-worker");
  static_cast<PosixExecutor*>(executor)->work();
  return nullptr;
}

void PosixExecutor::work() {
  MutexLock lock(mutex_);
  for (;;) {
    std::function<void()> job = take();
    if (!job) {
      sleep();
      continue;
    }
    --idle_;
    CHECK(idle_ >= 0 && idle_ < threads_);
    call_helper();  // somebody has to watch the timers and what is still queued
    lock.unlock();
    job();
    // Outside the lock: destroying what it captured may submit another job.
    job = nullptr;  // what it holds may be large, or lock
    lock.lock();
    ++idle_;
  }
}

// Empty if there is nothing that may run now.
std::function<void()> PosixExecutor::take() {
  std::function<void()> job;
  const int running = threads_ - idle_ - waiting_;
  if (!timers_.empty() && timers_.front().due <= Clock::now()) {
    // Timers first, and beyond kJobs: a commit timer must not wait for three merges.
    std::pop_heap(timers_.begin(), timers_.end(), Later());
    job = std::move(timers_.back().job);
    timers_.pop_back();
  } else if (!jobs_.empty() && running < kJobs) {
    job = std::move(jobs_.front());
    jobs_.pop_front();
  }
  return job;
}

void PosixExecutor::sleep() {
  // Several idle threads may wait for the timer that is due first: whichever gets the lock takes it, the others go on
  // waiting.
  std::unique_lock<std::mutex> lock(mutex_.native(), std::adopt_lock);
  if (timers_.empty()) {
    work_.wait(lock);
  } else {
    const Clock::time_point due = timers_.front().due;
    work_.wait_until(lock, due);
  }
  (void)lock.release();  // the caller goes on holding it
}

}  // namespace cairn::io
