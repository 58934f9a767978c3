// INIT: what we ask of the kernel, and why (design, "The mount"; measured figures there).

#include "fusefs/frontend.h"

#include <cstdint>
#include <utility>

namespace cairn::fusefs {
namespace {

// Bytes in one WRITE request: the most that kernel and library do.
constexpr unsigned kMaxWrite = 1 << 20;
// Read-ahead requests in flight at once (the kernel's default of 12 leaves threads idle), and from when on it slows down.
constexpr unsigned kMaxBackground = 64;
constexpr unsigned kCongestion = 48;

static_assert((kMaxWrite & (kMaxWrite - 1)) == 0, "the library rounds to pages, and the kernel to powers of two");
static_assert(kCongestion < kMaxBackground, "it slows down before it stops");

bool can(const fuse_conn_info& conn, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return (conn.capable_ext & capability) != 0;
#else
  return (conn.capable & capability) != 0;
#endif
}

// False if the kernel cannot.
bool want(fuse_conn_info* conn, uint64_t capability) {
  if (!can(*conn, capability)) return false;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  return fuse_set_feature_flag(conn, capability);
#else
  conn->want |= static_cast<unsigned>(capability);
  return true;
#endif
}

void refuse(fuse_conn_info* conn, uint64_t capability) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  fuse_unset_feature_flag(conn, capability);
#else
  conn->want &= ~static_cast<unsigned>(capability);
#endif
}

void on_init(void* userdata, fuse_conn_info* conn) {
  Frontend& frontend = *static_cast<Frontend*>(userdata);
  conn->max_write = kMaxWrite;
  conn->max_background = kMaxBackground;
  conn->congestion_threshold = kCongestion;
  conn->time_gran = 1;

  // Pages stay cached until we say otherwise; with AUTO_INVAL_DATA (the library's default) every changed mtime drops them.
  if (want(conn, FUSE_CAP_EXPLICIT_INVAL_DATA)) refuse(conn, FUSE_CAP_AUTO_INVAL_DATA);
  want(conn, FUSE_CAP_CACHE_SYMLINKS);
  want(conn, FUSE_CAP_READDIRPLUS);
  want(conn, FUSE_CAP_READDIRPLUS_AUTO);
  want(conn, FUSE_CAP_PARALLEL_DIROPS);
  want(conn, FUSE_CAP_IOCTL_DIR);
  // A kernel that does not ask us to open cannot ask us to truncate by it, and with this flag would not ask otherwise either.
  frontend.no_open = frontend.no_open && can(*conn, FUSE_CAP_NO_OPEN_SUPPORT);
  if (frontend.no_open) {
    refuse(conn, FUSE_CAP_ATOMIC_O_TRUNC);
  } else {
    want(conn, FUSE_CAP_ATOMIC_O_TRUNC);
  }
  if (frontend.acl) {
    want(conn, FUSE_CAP_POSIX_ACL);
    want(conn, FUSE_CAP_DONT_MASK);  // a directory's default list takes the place of the umask
  }
  // The kernel would own size and times, accept appends that do not fit, and report errors too late.
  refuse(conn, FUSE_CAP_WRITEBACK_CACHE);
  // Content is compressed and hashed: it has to come into memory, and a pipe in between only costs.
  refuse(conn, FUSE_CAP_SPLICE_READ);

  // Version 1 leaves it to us to guess who may keep setuid bits. Without either, the kernel sends a setattr for write,
  // truncate and chown, and only open with O_TRUNC is ours (files.cc).
  refuse(conn, FUSE_CAP_HANDLE_KILLPRIV);
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  frontend.kill_suidgid = want(conn, FUSE_CAP_HANDLE_KILLPRIV_V2);
#endif
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  conn->no_interrupt = 1;  // nothing here waits long enough to be interrupted
#endif
  // In cache mode listings change when the evictor says so, and the kernel would keep them.
  frontend.no_opendir = frontend.mode == Mode::kCas && can(*conn, FUSE_CAP_NO_OPENDIR_SUPPORT);
}

}  // namespace

Frontend::Frontend(FileSystem& file_system, Mode store_mode, bool with_acl, std::shared_ptr<spdlog::logger> logger)
    : fs(file_system),
      mode(store_mode),
      acl(with_acl),
      errors(std::move(logger)),
      // One log holds everything, so one sync serves all requests.
      syncs(std::make_unique<SyncQueue>(
          [this] { return fs.sync(); },
          [this](const SyncRequest& request, const Result<void>& result) { answer_synced(*this, request, result); })) {}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops = {};
  ops.init = on_init;
  add_name_operations(ops);
  add_attribute_operations(ops);
  add_file_operations(ops);
  add_directory_operations(ops);
  return ops;
}

}  // namespace cairn::fusefs
