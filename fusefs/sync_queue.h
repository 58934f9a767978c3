// Requests that wait for the disk: one sync answers all that came before it.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include <fuse_lowlevel.h>

#include "cairn/result.h"

namespace cairn::fusefs {

// A request that is answered when what was done before it is durable.
struct SyncRequest {
  fuse_req_t req = nullptr;
  std::optional<uint64_t> written;  // answers a write of so many bytes; none: an fsync
  bool over_io_uring = false;       // whoever adds it must not wait
};

// Syncs for many requests at once, so that no thread waits for the disk on behalf of each of them.
//
// Whoever finds nobody syncing leads: it syncs, answers everybody who had asked before that sync began, and goes on while
// others have asked meanwhile. All others leave their request and go. Where the caller must not wait, because it is the only
// thread that serves its CPU (io_uring), a thread of the queue leads instead; it is started when first needed.
//
// Thread-safe. `sync` and `answer` are called without locks; `answer` must not throw. Nothing may be added any more when it
// is destroyed, and everything that was added has then been answered.
class SyncQueue {
 public:
  using Sync = std::function<Result<void>()>;
  using Answer = std::function<void(const SyncRequest&, const Result<void>&)>;

  SyncQueue(Sync sync, Answer answer) : sync_(std::move(sync)), answer_(std::move(answer)) {}
  SyncQueue(const SyncQueue&) = delete;
  SyncQueue& operator=(const SyncQueue&) = delete;
  ~SyncQueue();

  // May throw where there is no memory or no thread to be had; `request` is then still the caller's.
  void add(const SyncRequest& request);

 private:
  void run();
  void lead(std::unique_lock<std::mutex>& lock) noexcept;
  Result<void> sync() noexcept;

  const Sync sync_;
  const Answer answer_;
  std::mutex mutex_;  // guards what follows; a leaf
  std::condition_variable wake_;
  std::vector<SyncRequest> waiting_;
  std::vector<SyncRequest> batch_;  // the leader's
  bool led_ = false;                // somebody leads
  bool ending_ = false;
  std::thread thread_;  // not started until somebody may not lead
};

}  // namespace cairn::fusefs
