// Requests that wait for the disk: one sync answers all that came before it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <fuse_lowlevel.h>
#include <sys/types.h>

#include "cairn/result.h"

namespace cairn::fusefs {

// A request that is answered when what was done before it is durable.
struct SyncRequest {
  fuse_req_t req = nullptr;
  std::optional<uint64_t> written;  // answers a write of so many bytes; none: an fsync
  bool over_io_uring = false;       // whoever adds it must not wait, unless there is nobody else
  bool own_thread = false;          // but has to answer it himself all the same
  pid_t caller = 0;                 // the thread that asks
};

// Syncs for many requests at once, so that no thread waits for the disk on behalf of each of them.
//
// Whoever finds nobody syncing leads: it syncs, answers everybody who had asked before that sync began, and goes on while
// others have asked meanwhile. All others leave their request and go. Where the caller must not wait, because it is the only
// thread that serves its CPU (io_uring), a thread of the queue leads instead; it is started when first needed. But a program
// that is alone with its syncs, as those before came from it too, is spared the change of threads if the disk is fast. Where
// only the thread that a request came to may answer it, each syncs for itself.
//
// A disk that takes a millisecond and more is not asked again at once: who was answered comes again mostly, and with whom waits
// already can share a sync. Else two programs would take turns, each waiting for two syncs. (jbd2 does so for the same reason.)
//
// Thread-safe. `sync` and `answer` are called without locks; `answer` must not throw. Nothing may be added any more when it
// is destroyed, and everything that was added has then been answered.
//
// Why not one sync for each fsync(): the disk's flush takes milliseconds however much it has to write, so a hundred
// programs that sync at once would wait a hundred times as long. All that asked while one flush runs share the next.
class SyncQueue {
 public:
  using Sync = std::function<Result<void>()>;
  using Answer = std::function<void(const SyncRequest&, const Result<void>&)>;

  // How long a sync has to take for the next to wait for more, and for how long at most; not longer than an eighth of a sync.
  struct Patience {
    std::chrono::microseconds slow{1000};
    std::chrono::microseconds most{1000};
    unsigned share = 8;
  };

  SyncQueue(Sync sync, Answer answer) : SyncQueue(std::move(sync), std::move(answer), Patience()) {}
  SyncQueue(Sync sync, Answer answer, const Patience& patience)
      : sync_(std::move(sync)), answer_(std::move(answer)), patience_(patience) {}
  SyncQueue(const SyncQueue&) = delete;
  SyncQueue& operator=(const SyncQueue&) = delete;
  ~SyncQueue();

  // May throw where there is no memory or no thread to be had; `request` is then still the caller's.
  void add(const SyncRequest& request);

 private:
  // From how many in a row on a program counts as alone. A wrong guess costs others one sync's time, not their
  // answer.
  static constexpr unsigned kAlone = 4;  // requests in a row

  void run();
  bool may_lead(const SyncRequest& request);
  // Until nobody waits; or `once`, and the queue's thread, which must be there, does the rest.
  void lead(std::unique_lock<std::mutex>& lock, bool once) noexcept;
  // Waits for those who are expected, if it pays.
  void gather(std::unique_lock<std::mutex>& lock) noexcept;
  Result<void> sync() noexcept;

  const Sync sync_;
  const Answer answer_;
  const Patience patience_;
  std::mutex mutex_;  // guards what follows; a leaf
  std::condition_variable wake_;
  std::condition_variable more_;  // the leader gathers
  std::vector<SyncRequest> waiting_;
  std::vector<SyncRequest> batch_;  // the leader's
  bool led_ = false;                // somebody leads
  bool ending_ = false;
  using Clock = std::chrono::steady_clock;
  Clock::duration took_{0};  // the last sync
  Clock::time_point ended_;
  size_t expected_ = 0;  // those whom it answered, and those who were waiting by then
  pid_t last_caller_ = 0;
  unsigned in_a_row_ = 0;  // requests of last_caller_ since the last of anybody else
  std::thread thread_;     // not started until somebody may not lead
};

}  // namespace cairn::fusefs
