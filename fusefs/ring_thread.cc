#include "fusefs/ring_thread.h"

#include <pthread.h>
#include <sched.h>
#include <unistd.h>

namespace cairn::fusefs {
namespace {

constexpr size_t kLargeRead = 128 << 10;  // bytes; the kernel's read-ahead asks for as much and more
constexpr unsigned kSmallInARow = 16;     // requests; a program that reads a large file looks at others now and then

// Of the calling thread, if it answers what comes over io_uring.
struct RingThread {
  bool refuses_cancellation = false;
  bool unbound = false;
  bool may_unbind = true;  // false once the system has said no
  bool knows_home = false;
  unsigned small = 0;  // requests since the last large read
  cpu_set_t home;      // where libfuse has bound it; valid if knows_home
};
thread_local RingThread ring_thread;  // zeroed, no destructor: it costs nothing where it is not used

// Where the daemon may run: the first thread is bound by nobody but its user. Where that cannot be told (more CPUs than a
// cpu_set_t has) the thread stays bound.
void unbind(RingThread& thread) noexcept {
  cpu_set_t all;
  // Once: later it may be where it was moved when its CPU went.
  if (!thread.knows_home)
    thread.knows_home = sched_getaffinity(0, sizeof thread.home, &thread.home) == 0 && CPU_COUNT(&thread.home) == 1;
  thread.may_unbind = thread.knows_home && sched_getaffinity(getpid(), sizeof all, &all) == 0 &&
                      sched_setaffinity(0, sizeof all, &all) == 0;
  thread.unbound = thread.may_unbind;
}

}  // namespace

bool replies_from_any_thread() noexcept { return CAIRNFS_RING_REPLIES != 0; }

void enter_ring_thread(fuse_req_t req) noexcept {
  if (!over_io_uring(req)) return;
  RingThread& thread = ring_thread;
  if (!thread.refuses_cancellation) {
    int before = 0;
    thread.refuses_cancellation = pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before) == 0;
  }
  if (!thread.unbound || ++thread.small <= kSmallInARow) return;
  // Where its CPU is gone it stays where it is, and comes home after a later read.
  sched_setaffinity(0, sizeof thread.home, &thread.home);
  thread.unbound = false;
}

void note_read(fuse_req_t req, size_t size) noexcept {
  if (size < kLargeRead || !over_io_uring(req)) return;
  RingThread& thread = ring_thread;
  thread.small = 0;
  if (!thread.unbound && thread.may_unbind) unbind(thread);
}

}  // namespace cairn::fusefs
