#include "store/evictions.h"

#include <utility>

#include "base/check.h"
namespace cairn::store {
namespace {

// Soon enough for who waits, and seldom enough that a cache full of open files is not walked all the time.
constexpr uint64_t kAskAgainMs = 1000;

}  // namespace

void Evictions::set_hook(std::function<void()> hook) {
  MutexLock lock(mu_);
  hook_ = std::move(hook);
  exhausted_ = false;
  // The layer above goes away after this: no call may be left that uses it.
  env_.executor().wait(mu_, changed_, [&] {
    mu_.assert_held();
    return calls_ == 0;
  });
  asked_ = false;
}

bool Evictions::request() {
  MutexLock lock(mu_);
  if (!hook_ || (exhausted_ && env_.monotonic_ms() - exhausted_at_ < kAskAgainMs)) return false;
  if (asked_) return true;
  asked_ = true;
  ++calls_;
  // Not called from here: the caller is maintenance, which must go on while files are evicted.
  env_.executor().submit([self = shared_from_this()] { self->call(); });
  return true;
}

void Evictions::call() {
  std::function<void()> hook;
  {
    MutexLock lock(mu_);
    // A copy: the hook runs without the lock, as it evicts, and that may come back here.
    hook = hook_;
  }
  if (hook) hook();
  MutexLock lock(mu_);
  CHECK(calls_ > 0);
  --calls_;
  changed_.notify_all();
}

bool Evictions::answered(bool more) {
  MutexLock lock(mu_);
  // Whoever waits for room is woken only by something new.
  const bool changed = asked_ || (more && exhausted_);
  asked_ = false;
  exhausted_ = !more;
  exhausted_at_ = env_.monotonic_ms();
  return changed;
}

}  // namespace cairn::store
