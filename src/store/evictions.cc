#include "store/evictions.h"

#include <utility>

namespace cairn::store {
namespace {

constexpr uint64_t kAskAgainMs = 1000;

}  // namespace

void Evictions::set_hook(std::function<void()> hook) {
  MutexLock lock(mu_);
  hook_ = std::move(hook);
  exhausted_ = false;
  env_.executor().wait(mu_, changed_, [&] {
    mu_.assert_held();
    return !queued_;
  });
  asked_ = false;
}

bool Evictions::request() {
  MutexLock lock(mu_);
  if (!hook_ || (exhausted_ && env_.monotonic_ms() - exhausted_at_ < kAskAgainMs)) return false;
  if (asked_) return true;
  asked_ = queued_ = true;
  env_.executor().submit([self = shared_from_this()] { self->call(); });
  return true;
}

void Evictions::call() {
  std::function<void()> hook;
  {
    MutexLock lock(mu_);
    hook = hook_;
  }
  if (hook) hook();
  MutexLock lock(mu_);
  queued_ = false;
  changed_.notify_all();
}

bool Evictions::answered(bool more) {
  MutexLock lock(mu_);
  const bool changed = asked_ || (more && exhausted_);
  asked_ = false;
  exhausted_ = !more;
  exhausted_at_ = env_.monotonic_ms();
  return changed;
}

}  // namespace cairn::store
