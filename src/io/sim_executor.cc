#include "io/sim_executor.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"

namespace cairn::io {

// Why threads, if only one ever runs: a job that waits must be able to stand still in the middle of its stack while
// another one goes on, in any order. Were jobs run inside the wait() of others, the outer one could not return before
// the inner one, and jobs that wait for each other would seem to be stuck where they are not. A job costs about 20 us.

// A thread that runs only between resume() and the return of resume().
class SimExecutor::Worker {
 public:
  explicit Worker(SimExecutor& owner) : owner_(owner), thread_([this] { main(); }) {}
  ~Worker() {
    {
      const std::lock_guard lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    thread_.join();
  }
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // The worker that this thread is, if it is one of `owner`.
  static Worker* current(const SimExecutor& owner) {
    return current_ != nullptr && &current_->owner_ == &owner ? current_ : nullptr;
  }

  // By the foreground: gives the worker a job, and lets it run until it pauses. True if its job has ended.
  void set_job(std::function<void()> job) { job_ = std::move(job); }
  bool run() {
    std::unique_lock lock(mutex_);
    // Exactly one thread of the simulation runs at any time; the handshake also orders their memory accesses, so
    // nothing else needs a lock.
    runs_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !runs_; });
    return job_ == nullptr;
  }

  // By the worker itself: lets the foreground go on until it calls run().
  void pause(Mutex* mutex, const std::function<bool()>* ready) {
    wanted_mutex_ = mutex;
    ready_ = ready;
    std::unique_lock lock(mutex_);
    runs_ = false;
    changed_.notify_all();
    changed_.wait(lock, [this] { return runs_; });
  }

  // By the foreground, of a paused worker: what it waits for is so. A mutex that another paused worker holds says no.
  bool is_ready() const NO_THREAD_SAFETY_ANALYSIS {
    CHECK(wanted_mutex_ != nullptr && ready_ != nullptr);
    if (!wanted_mutex_->try_lock()) return false;
    const bool ready = (*ready_)();
    wanted_mutex_->unlock();
    return ready;
  }

 private:
  void main() {
    current_ = this;
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [this] { return runs_ || stop_; });
      if (stop_) return;
      lock.unlock();
      CHECK(job_ != nullptr);
      job_();
      job_ = nullptr;
      lock.lock();
      runs_ = false;
      changed_.notify_all();
    }
  }

  static thread_local Worker* current_;

  SimExecutor& owner_;
  std::function<void()> job_;
  Mutex* wanted_mutex_ = nullptr;
  const std::function<bool()>* ready_ = nullptr;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool runs_ = false;
  bool stop_ = false;
  std::thread thread_;  // last: it uses the rest
};

thread_local SimExecutor::Worker* SimExecutor::Worker::current_ = nullptr;

SimExecutor::SimExecutor(uint64_t seed, std::function<void(Millis)> on_advance)
    : on_advance_(std::move(on_advance)), random_(seed) {}

// A job that waits has a stack with destructors that will never run: whoever ends the simulation waits for its jobs
// first.
SimExecutor::~SimExecutor() { CHECK(waiting_.empty()); }

void SimExecutor::submit(std::function<void()> job) { jobs_.push_back(std::move(job)); }

void SimExecutor::submit_after(Millis delay, std::function<void()> job) {
  if (delay <= Millis(0)) {
    submit(std::move(job));
  } else {
    timers_.emplace(now_ + delay, std::move(job));
  }
}

void SimExecutor::wait(Mutex& mutex, CondVar& /*cond*/, const std::function<bool()>& ready) {
  Worker* const worker = Worker::current(*this);
  while (!ready()) {
    mutex.unlock();
    if (worker != nullptr) {
      // The mutex is free while it stands still: is_ready() has to get it, and so has whoever makes `ready` true.
      DCHECK(std::find(waiting_.begin(), waiting_.end(), worker) == waiting_.end());
      waiting_.push_back(worker);
      worker->pause(&mutex, &ready);
    } else {
      bool went_on = false;
      try {
        went_on = run_one() || advance_to_timer();
      } catch (...) {  // no memory for a thread: the caller unwinds with its mutex locked
        mutex.lock();
        throw;
      }
      CHECK(went_on);  // else a deadlock: nothing can make `ready` true any more
    }
    mutex.lock();
  }
}

std::vector<SimExecutor::Worker*> SimExecutor::resumable() const {
  std::vector<Worker*> found;
  std::copy_if(waiting_.begin(), waiting_.end(), std::back_inserter(found), [](Worker* w) { return w->is_ready(); });
  return found;
}

bool SimExecutor::run_one() {
  // A job that ran jobs would nest their stacks, which is what the threads are there to avoid.
  CHECK(Worker::current(*this) == nullptr);
  const std::vector<Worker*> ready = resumable();
  const size_t choices = ready.size() + jobs_.size();
  if (choices == 0) return false;
  // A job that can go on and one that has not begun are equally likely: both orders are possible in PosixExecutor.
  const size_t choice = fifo_ ? 0 : random_.below(choices);
  if (choice < ready.size()) {
    std::erase(waiting_, ready[choice]);
    resume(*ready[choice]);
    return true;
  }
  make_idle_worker();  // without memory for it the job stays
  const auto job = jobs_.begin() + static_cast<std::ptrdiff_t>(choice - ready.size());
  std::function<void()> body = std::move(*job);
  jobs_.erase(job);
  start(std::move(body));
  return true;
}

void SimExecutor::make_idle_worker() {
  if (!idle_.empty()) return;
  // All that can fail for want of memory happens before the job leaves its queue; resume() then has its place in idle_.
  idle_.reserve(workers_.size() + 1);
  workers_.push_back(std::make_unique<Worker>(*this));
  idle_.push_back(workers_.back().get());
}

void SimExecutor::start(std::function<void()> job) {
  Worker* const worker = idle_.back();
  idle_.pop_back();
  worker->set_job(std::move(job));
  resume(*worker);
}

void SimExecutor::resume(Worker& worker) {
  if (worker.run()) idle_.push_back(&worker);
}

void SimExecutor::run_until_idle() {
  while (run_one()) {
  }
}

void SimExecutor::advance(Millis time) {
  CHECK(time >= Millis(0));
  now_ += time;
  on_advance_(time);
  while (!timers_.empty() && timers_.begin()->first <= now_) {
    submit(std::move(timers_.begin()->second));
    timers_.erase(timers_.begin());
  }
}

bool SimExecutor::advance_to_timer() {
  if (timers_.empty()) return false;
  advance(timers_.begin()->first - now_);
  return true;
}

}  // namespace cairn::io
