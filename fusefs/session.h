// A mount while it lives: from the mount point that appears to the one that is gone.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cairn/filesystem.h"
#include "cairn/options.h"
#include "cairn/result.h"
#include "fusefs/mount_options.h"

namespace cairn::fusefs {

// All that serve() needs to know of the mount; it must outlive the call.
struct ServeOptions {
  std::string store;        // canonical path; shown by mount and df
  std::string mount_point;  // canonical path
  MountOptions mount;
  bool io_uring = false;  // ask for it (choose_transport)
  std::shared_ptr<spdlog::logger> logger;
  std::function<void()> on_ready;  // called once, from another thread, when the mount answers
};

// Keeps SIGTERM, SIGINT and SIGHUP from this thread and those it makes: serve() waits for them. Call it before the first
// thread is made.
void block_stop_signals();

// Mounts `fs` and answers requests until it is unmounted by anybody, or until one of the signals above; then tries an
// ordinary unmount first, so that the kernel hands over what programs wrote to mapped files, and detaches the mount if it is
// in use. One at a time in a process. `fs` stays open: closing it, after serve() has returned, is the caller's.
// Errors: kIo with libfuse's reason if it cannot be mounted.
Result<void> serve(FileSystem& fs, Mode mode, const ServeOptions& options);

}  // namespace cairn::fusefs
