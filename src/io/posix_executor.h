// Executor over threads.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <queue>
#include <vector>

#include "base/mutex.h"
#include "io/env.h"

namespace cairn::io {

// Three jobs run at a time, and one more if its timer is due, so that long work never delays a timer. A job that is in
// wait() does not count, so jobs may wait for other jobs. Threads are started when first needed (a process may fork
// before that, not after), take no signals, and stay. Lives until the process ends. Thread-safe.
// CHECK-fails if there is no thread for any work at all.
class PosixExecutor final : public Executor {
 public:
  PosixExecutor() = default;

  void submit(std::function<void()> job) override EXCLUDES(mutex_);
  void submit_after(std::chrono::milliseconds delay, std::function<void()> job) override EXCLUDES(mutex_);
  void wait(Mutex& mutex, CondVar& cond, const std::function<bool()>& ready) override REQUIRES(mutex) EXCLUDES(mutex_);

 private:
  ~PosixExecutor() override = default;  // never called: its threads use it until the process ends

  // Not the wall clock, which jumps.
  using Clock = std::chrono::steady_clock;
  struct Timer {
    Clock::time_point due;
    uint64_t number = 0;  // order of submission, among equal times
    std::function<void()> job;
  };
  struct Later {
    bool operator()(const Timer& a, const Timer& b) const {
      return a.due != b.due ? a.due > b.due : a.number > b.number;
    }
  };
  // Seal, prepare and maintenance at the same time; more would only compete for one disk.
  static constexpr int kJobs = 3;
  static constexpr int kJobsAndTimers = 4;
  static_assert(kJobsAndTimers > kJobs, "a timer that is due finds a thread");

  // pthread's start function: `executor` is this.
  static void* thread_main(void* executor);
  void work() EXCLUDES(mutex_);
  // The next job that may run now, taken out of its queue; empty if none may.
  std::function<void()> take() REQUIRES(mutex_);
  // Until there may be work, or the first timer is due. Gives the mutex up meanwhile.
  void sleep() REQUIRES(mutex_);
  // If there is something to do or a timer to watch: wakes an idle thread, or starts one where the limits allow.
  void call_helper() REQUIRES(mutex_);
  // A job of ours begins (+1) or ends (-1) to wait, so another may run in its place.
  void count_waiting(int change) EXCLUDES(mutex_);

  // running = threads_ - idle_ - waiting_. It may exceed kJobs for a while, when several waits end together.
  Mutex mutex_;  // a leaf; not held while jobs run
  std::condition_variable work_;
  std::deque<std::function<void()>> jobs_ GUARDED_BY(mutex_);
  std::vector<Timer> timers_ GUARDED_BY(mutex_);  // a heap by Later: the front is due first
  uint64_t next_timer_ GUARDED_BY(mutex_) = 0;
  // Never shrinks.
  int threads_ GUARDED_BY(mutex_) = 0;
  int idle_ GUARDED_BY(mutex_) = 0;     // of them, waiting for work
  int waiting_ GUARDED_BY(mutex_) = 0;  // of them, with a job that is in wait()
};

}  // namespace cairn::io
