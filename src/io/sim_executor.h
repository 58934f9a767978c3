// Background work in the order that a seed chooses.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "io/env.h"
#include "io/sim_random.h"

namespace cairn::io {

// Runs one thing at a time: the test itself (the foreground), or one job. A job runs until it ends or waits for
// something that is not so yet; once that is so it goes on, in an order that the seed chooses. Each job has a stack of
// its own (a thread that runs only while all others stand still), so what may wait for what is as in PosixExecutor.
// Time stands still but for advance() and wait(); `on_advance` hears of every step.
// Jobs that have not begun are dropped at the end, as by a process that dies; CHECK-fails if one is in wait() then.
// For one thread, which holds no mutex when it calls run_one() and its like.
class SimExecutor final : public Executor {
 public:
  SimExecutor(uint64_t seed, std::function<void(std::chrono::milliseconds)> on_advance);
  ~SimExecutor() override;

  void submit(std::function<void()> job) override;
  void submit_after(std::chrono::milliseconds delay, std::function<void()> job) override;
  // In the foreground: runs jobs until `ready`, and if there is none lets time pass to the next timer. CHECK-fails if
  // there is no timer either: a deadlock.
  void wait(Mutex& mutex, CondVar& cond, const std::function<bool()>& ready) override REQUIRES(mutex);

  // First in, first out, instead of what the seed chooses.
  void set_fifo(bool fifo) { fifo_ = fifo; }
  // Runs one job until it ends or waits. False if there is none that can run.
  bool run_one();
  // Until none can run. Time stands still.
  void run_until_idle();
  // Lets time pass; timers that become due are jobs from then on. Runs nothing.
  void advance(std::chrono::milliseconds time);
  // Advances to the next timer. False if there is none.
  bool advance_to_timer();

  [[nodiscard]] size_t queued() const { return jobs_.size(); }      // jobs that have not begun
  [[nodiscard]] size_t timers() const { return timers_.size(); }    // not yet due
  [[nodiscard]] size_t waiting() const { return waiting_.size(); }  // jobs in wait()

 private:
  class Worker;
  using Millis = std::chrono::milliseconds;

  void resume(Worker& worker);
  // Makes sure that idle_ has one. May throw for want of memory or of a thread, and has then changed nothing that
  // matters.
  void make_idle_worker();
  // Needs an idle worker.
  void start(std::function<void()> job);
  // Of those that wait, in the order in which they began: whose mutex is free and whose condition holds.
  std::vector<Worker*> resumable() const;

  // Each worker is in exactly one place: idle_, waiting_, or running right now.
  const std::function<void(Millis)> on_advance_;
  SimRandom random_;
  bool fifo_ = false;
  Millis now_{0};
  std::deque<std::function<void()>> jobs_;
  std::multimap<Millis, std::function<void()>> timers_;  // by due time, then by order of submission
  std::vector<std::unique_ptr<Worker>> workers_;
  std::vector<Worker*> idle_;
  std::vector<Worker*> waiting_;  // in the order in which they began to wait
};

}  // namespace cairn::io
