// The border between CairnFS and the C of libfuse: the only place where errors become errno, and where exceptions end.
#pragma once

#include <cerrno>
#include <type_traits>

#include <fuse_lowlevel.h>

#include "cairn/result.h"
#include "fusefs/frontend.h"
#include "fusefs/ring_thread.h"

namespace cairn::fusefs {

// Why here alone: a caller of the file system decides by ErrorCode, and a program by errno. With one table between them
// the two cannot drift apart, and no file of src/ has to know what a program expects.
//
// The rule for every handler is the same: it calls answer() once, does nothing after it, and touches the request no
// more once it is answered, as libfuse has freed it by then. Errors that no caller caused are also noted in the mount's
// log.
// What a user of the mount gets for `error`: the errno that ext4 would give. Never 0, and never ENOSYS, which the kernel
// takes for "never ask again".
int to_errno(const Error& error) noexcept;

// The errno of the exception that is being handled. Only inside a catch block.
int errno_of_exception() noexcept;

// Answers `req` with what `compute` returns, handed to `reply`, or with its error. Everything that can fail belongs into
// `compute`: what it throws becomes an errno too. `reply` takes the value (nothing for Result<void>), sends exactly one
// reply, and cannot throw: a second reply would be to a request that is gone.
template <class Compute, class Reply>
void answer(fuse_req_t req, Compute&& compute, Reply&& reply) noexcept {
  enter_ring_thread(req);
  int err = EIO;
  try {
    auto result = compute();
    using Value = typename decltype(result)::value_type;
    if (result) {
      if constexpr (std::is_void_v<Value>) {
        static_assert(std::is_nothrow_invocable_v<Reply>);
        reply();
      } else {
        static_assert(std::is_nothrow_invocable_v<Reply, Value&>);
        reply(*result);
      }
      return;
    }
    err = to_errno(result.error());
    frontend_of(req).errors.note(result.error());
  } catch (...) {
    err = errno_of_exception();
  }
  fuse_reply_err(req, err);
}

// The same for requests whose answer is only success or an error.
template <class Compute>
void answer(fuse_req_t req, Compute&& compute) noexcept {
  answer(req, compute, [req]() noexcept { fuse_reply_err(req, 0); });
}

// Does `work` that nobody waits for an answer of (a lookup or an open that is given back).
template <class Work>
void contain(Frontend& frontend, Work&& work) noexcept {
  try {
    work();
  } catch (...) {
    frontend.errors.note(Error(errno_of_exception() == ENOMEM ? ErrorCode::kOutOfMemory : ErrorCode::kIo));
  }
}

}  // namespace cairn::fusefs
