// FUSE's requests, answered from a FileSystem.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include <fuse_lowlevel.h>

#include "cairn/filesystem.h"
#include "cairn/options.h"
#include "fusefs/error_log.h"
#include "fusefs/notifier.h"
#include "fusefs/resizer.h"
#include "fusefs/sync_queue.h"

namespace cairn::fusefs {

// Writes that come from mapped pages rather than from a write(2) that waits for its answer.
//
// The kernel sends dirty pages of mapped files when it likes, also after the last program has ended. The two counters
// let an unmount see that none is on its way any more: they are equal, and stay so for a while.
struct PageWrites {
  std::atomic<uint64_t> started{0};
  std::atomic<uint64_t> finished{0};
};

// What every handler needs; libfuse carries it as the session's user data.
//
// The handlers hold no state of their own: inode numbers are those of the FileSystem, handles are not used, and what the
// kernel agreed to in INIT is all that is remembered. Threads: any number of handlers at once; the fields below change only
// in INIT, before any other request. No lock is held while a reply is sent.
struct Frontend {
  Frontend(FileSystem& file_system, Mode store_mode, bool with_acl, std::shared_ptr<spdlog::logger> logger);

  FileSystem& fs;
  const Mode mode;
  const bool acl;  // POSIX access control lists are asked of the kernel and accepted
  ErrorLog errors;
  bool no_open = false;       // ENOSYS to open, which the kernel understands as "never ask"; set before the session
  bool no_opendir = false;    // the kernel understands ENOSYS to opendir as "never ask"
  bool kill_suidgid = false;  // HANDLE_KILLPRIV_V2: requests say when setuid and setgid have to go
  fuse_session* session = nullptr;  // set before the first request
  PageWrites page_writes;
  std::unique_ptr<SyncQueue> syncs;    // cas: requests that wait for the disk; while it is mounted
  std::unique_ptr<Notifier> notifier;  // while it is mounted
  std::unique_ptr<Resizer> resizer;    // the same
};

inline Frontend& frontend_of(fuse_req_t req) { return *static_cast<Frontend*>(fuse_req_userdata(req)); }

// The handlers for fuse_session_new(), whose user data must be a Frontend that outlives the session.
// All tables of handlers together. What is left null libfuse answers with ENOSYS, and the kernel then does not ask
// again: that is meant for what CairnFS does not offer (locks are the kernel's own, poll, bmap).
fuse_lowlevel_ops operations();

// Answers a request of which the sync has come to `result`.
void answer_synced(Frontend& frontend, const SyncRequest& request, const Result<void>& result) noexcept;

// Each file of handlers adds its own.
void add_name_operations(fuse_lowlevel_ops& ops);       // names.cc: lookup, create without open, link, rename, unlink
void add_attribute_operations(fuse_lowlevel_ops& ops);  // attributes.cc: attributes, extended attributes, statfs
void add_file_operations(fuse_lowlevel_ops& ops);       // files.cc: open, read, write, sync, space
void add_directory_operations(fuse_lowlevel_ops& ops);  // directories.cc: listings

}  // namespace cairn::fusefs
