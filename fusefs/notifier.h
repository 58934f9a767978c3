// Tells the kernel of names that eviction took away: it would believe in them for a day.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include <fuse_lowlevel.h>

#include "cairn/filesystem.h"
#include "fusefs/error_log.h"

namespace cairn::fusefs {

// One thread that holds no lock while it tells: the kernel takes the directory's lock for it, and whoever has that lock may be
// waiting for an answer of ours, even for room that eviction makes. So nobody waits for this thread either, and the queue has
// no bound but the number of names that were evicted.
//
// Until it has told, an open by the old name reaches an inode that is gone and is answered ESTALE; the kernel then looks
// the name up again. Thread-safe.
class Notifier {
 public:
  // `session` must be mounted, and outlive this or its stop().
  Notifier(fuse_session* session, ErrorLog& errors);
  Notifier(const Notifier&) = delete;
  Notifier& operator=(const Notifier&) = delete;
  ~Notifier();  // stop()

  void add(const LostName& name);
  // Ends the thread; what it has not told yet is forgotten. Requests must still be answered, or the mount be gone: else what
  // it waits for may never come.
  void stop();

 private:
  void run();

  fuse_session* const session_;
  ErrorLog& errors_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<LostName> names_;
  bool stopping_ = false;
  std::thread thread_;  // last: runs run()
};

}  // namespace cairn::fusefs
