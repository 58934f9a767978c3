// Locks, which only several processes can tell from nothing.
#include <cstdint>

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "mount/differential/calls.h"

namespace cairn::differential {
namespace {

void make_flock(Random& random, Step& step) { step.a = random.pick({LOCK_SH, LOCK_EX, LOCK_UN}) | LOCK_NB; }
int64_t do_flock(Actor& actor, const Step& step, Outcome&) {
  return ::flock(actor.fd(step.slot), static_cast<int>(step.a));
}

void make_lock(Random& random, Step& step) {
  step.a = random.pick({F_RDLCK, F_WRLCK, F_UNLCK});
  step.b = static_cast<int64_t>(random.below(100));
  step.c = static_cast<int64_t>(random.below(50));
}
struct flock to_lock(const Step& step) {
  struct flock lock = {};
  lock.l_type = static_cast<short>(step.a);
  lock.l_whence = SEEK_SET;
  lock.l_start = step.b;
  lock.l_len = step.c;
  return lock;
}
int64_t do_lock(Actor& actor, const Step& step, Outcome&) {
  struct flock lock = to_lock(step);
  return ::fcntl(actor.fd(step.slot), F_SETLK, &lock);
}
int64_t do_open_lock(Actor& actor, const Step& step, Outcome&) {
  struct flock lock = to_lock(step);
  return ::fcntl(actor.fd(step.slot), F_OFD_SETLK, &lock);
}
int64_t do_get_lock(Actor& actor, const Step& step, Outcome& outcome) {
  struct flock lock = to_lock(step);
  const int result = ::fcntl(actor.fd(step.slot), F_GETLK, &lock);
  if (result == 0) outcome.digest = static_cast<uint64_t>(lock.l_type * 1'000'000 + lock.l_start * 1000 + lock.l_len);
  return result;
}

constexpr Call kCalls[] = {
    {"flock", 5, make_flock, do_flock},
    {"lock", 8, make_lock, do_lock},
    {"open_lock", 4, make_lock, do_open_lock},
    {"get_lock", 4, make_lock, do_get_lock},
};

}  // namespace

std::span<const Call> lock_calls() { return kCalls; }

}  // namespace cairn::differential
