// Work that nobody waits for, collected for one job on the executor.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <new>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/mutex.h"
#include "io/env.h"

namespace cairn::tree {

// `work` gets, in one call, what was submitted since the last one: `delay` after the first of it, or after the call during which that
// came, so that a thread is woken for many at a time. One call at a time. It must not throw. Thread-safe; whatever `work` uses lives until
// stop() has returned. Without memory for a job what waits goes with what is submitted next.
template <class T>
class BackgroundQueue {
 public:
  using Work = std::function<void(std::vector<T>)>;

  BackgroundQueue(io::Executor& executor, std::chrono::milliseconds delay, Work work)
      : shared_(std::make_shared<Shared>(executor, delay, std::move(work))) {}
  ~BackgroundQueue() { stop(); }
  BackgroundQueue(const BackgroundQueue&) = delete;
  BackgroundQueue& operator=(const BackgroundQueue&) = delete;

  // May throw std::bad_alloc.
  void submit(T item) {
    {
      const MutexLock lock(shared_->mutex);
      if (shared_->stopping) return;
      shared_->waiting.push_back(std::move(item));
      if (std::exchange(shared_->scheduled, true)) return;
    }
    schedule(shared_);
  }

  // Forgets what waits; returns when no call is under way.
  void discard() {
    const MutexLock lock(shared_->mutex);
    discard_locked();
  }

  // The same, and no call will ever begin.
  void stop() {
    const MutexLock lock(shared_->mutex);
    shared_->stopping = true;
    discard_locked();
  }

 private:
  struct Shared {
    Shared(io::Executor& on, std::chrono::milliseconds after, Work what)
        : executor(on), delay(after), work(std::move(what)) {}
    io::Executor& executor;
    const std::chrono::milliseconds delay;
    const Work work;
    Mutex mutex;  // a leaf
    CondVar changed;
    std::vector<T> waiting GUARDED_BY(mutex);
    bool scheduled GUARDED_BY(mutex) = false;  // a job is waiting or running
    bool running GUARDED_BY(mutex) = false;    // it is at work
    bool stopping GUARDED_BY(mutex) = false;
  };

  static void schedule(const std::shared_ptr<Shared>& shared) {
    try {
      if (shared->delay.count() == 0) {
        shared->executor.submit([shared] { run(shared); });
      } else {
        shared->executor.submit_after(shared->delay, [shared] { run(shared); });
      }
    } catch (const std::bad_alloc&) {
      const MutexLock lock(shared->mutex);
      shared->scheduled = false;
    }
  }

  static void run(const std::shared_ptr<Shared>& shared) {
    std::vector<T> items;
    {
      const MutexLock lock(shared->mutex);
      DCHECK(shared->scheduled && !shared->running);
      items.swap(shared->waiting);
      shared->scheduled = shared->running = !items.empty();
    }
    if (items.empty()) return;
    // Without the lock: stop() waits for `running`, and what the work uses lives until then.
    shared->work(std::move(items));
    {
      const MutexLock lock(shared->mutex);
      shared->running = false;
      shared->scheduled = !shared->waiting.empty();
      shared->changed.notify_all();
      if (!shared->scheduled) return;
    }
    schedule(shared);
  }

  void discard_locked() REQUIRES(shared_->mutex) {
    shared_->waiting.clear();
    shared_->executor.wait(shared_->mutex, shared_->changed, [this] {
      shared_->mutex.assert_held();
      return !shared_->running;
    });
  }

  const std::shared_ptr<Shared> shared_;  // jobs outlive this
};

}  // namespace cairn::tree
