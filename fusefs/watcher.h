// The thread beside the ones that answer requests: it sees the mount come up and waits for signals to take it down.
#pragma once

#include <atomic>
#include <thread>

#include <pthread.h>

#include <fuse_lowlevel.h>

#include "fusefs/frontend.h"
#include "fusefs/session.h"

namespace cairn::fusefs {

// libfuse could handle signals itself, by ending the loop. That would lose what programs wrote to mapped files and what
// the kernel has not sent yet. So the signals are blocked everywhere, one thread waits for them, and it unmounts like
// anybody else: the kernel then hands over all it has, and the loop ends because the mount is gone.
//
// Made by the thread that runs the session's loop, before it does; goes after the loop has returned. Needs the stop signals
// blocked in every thread.
class Watcher {
 public:
  Watcher(fuse_session* session, const Frontend& frontend, const ServeOptions& options);
  Watcher(const Watcher&) = delete;
  Watcher& operator=(const Watcher&) = delete;
  // The loop must have returned, and the session be unmounted (which frees the thread if it waits for an answer).
  ~Watcher();
  // errno if the mount was up but did not answer, else 0. Valid once the loop has returned because of it.
  [[nodiscard]] int unanswered() const { return unanswered_; }

 private:
  // All of these run in thread_. announce() and wait_for_signal() are the two stages of its life; the rest is the way
  // down.
  void run();
  bool announce();
  bool wait_for_signal();
  void take_down();
  void write_back();
  void end_loop();

  fuse_session* const session_;
  const Frontend& frontend_;
  const ServeOptions& options_;
  const pthread_t loop_thread_;
  const int loop_ended_;  // eventfd, written by the destructor
  std::atomic<int> unanswered_{0};
  std::thread thread_;  // last: runs run()
};

}  // namespace cairn::fusefs
