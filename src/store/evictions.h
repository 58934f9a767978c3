// Asks the layer above to let go of what it can do without, when room gets short.
#pragma once

#include <functional>
#include <memory>

#include "base/mutex.h"
#include "io/env.h"

namespace cairn::store {

// Keeps the hook of Store::set_room_hook() and whether its answer is still out: it is called again only after that.
// Thread-safe.
class Evictions : public std::enable_shared_from_this<Evictions> {
 public:
  // `env` outlives it, and so does who made it: calls under way keep it alive by themselves.
  explicit Evictions(io::Env& env) : env_(env) {}

  // Waits for every call of the old hook that is under way or about to be.
  void set_hook(std::function<void()> hook) EXCLUDES(mu_);
  // Has the hook called in the background, unless there is none, its last answer is still out, or it said that nothing is
  // left within the last second (files grow old enough, and are closed). True if an answer is to come.
  bool request() EXCLUDES(mu_);
  // The answer. True if the state has changed: an answer was out, or something can be evicted again.
  bool answered(bool more) EXCLUDES(mu_);

 private:
  // On the executor: one call of the hook.
  void call() EXCLUDES(mu_);

  io::Env& env_;
  mutable Mutex mu_;  // a leaf
  CondVar changed_;
  // Empty: nothing is ever asked.
  std::function<void()> hook_ GUARDED_BY(mu_);
  bool asked_ GUARDED_BY(mu_) = false;  // the answer is out
  // Calls that were handed to the executor and have not returned: two where the first has answered and not come back yet.
  uint64_t calls_ GUARDED_BY(mu_) = 0;
  bool exhausted_ GUARDED_BY(mu_) = false;     // nothing was left when it was last asked
  uint64_t exhausted_at_ GUARDED_BY(mu_) = 0;  // milliseconds of Env::monotonic_ms()
};

}  // namespace cairn::store
