// The threads that answer what comes over io_uring. libfuse starts one for each CPU and binds it there.
#pragma once

#include <cstddef>

#include <fuse_lowlevel.h>

namespace cairn::fusefs {

// Bound is right for most requests: a program sleeps until its own is answered, and the CPU goes from one to the other without
// waking a second one (unbound, a create takes 30 % longer). It is wrong while a large file is read: the kernel asks ahead, so
// the program has work to do meanwhile, but would have to share its CPU with us while others idle (two fifths of the time). So
// after a large read a thread may run on any CPU, until small requests are the rule again.

// Whether the request came over io_uring: then its thread is the only one that serves its CPU, and must not wait long.
inline bool over_io_uring(fuse_req_t req) noexcept {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  return fuse_req_is_uring(req);
#else
  static_cast<void>(req);
  return false;
#endif
}

// Whether another thread may answer such a request: libfuse 3.18 writes to a ring without its lock when the ring's own thread is about to
// wait, so that now and then an answer would be lost, or an old one sent twice. The wrap has a patch.
bool replies_from_any_thread() noexcept;

// Call first in a handler. It also refuses cancellation: libfuse cancels these threads when a session ends, even inside a handler
// (those that read /dev/fuse it does not); they end by themselves as well.
void enter_ring_thread(fuse_req_t req) noexcept;

// Call before, if the request is to read `size` bytes.
void note_read(fuse_req_t req, size_t size) noexcept;

}  // namespace cairn::fusefs
