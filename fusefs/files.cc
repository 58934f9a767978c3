// Handlers for the content of files.
//
// Opens are counted by the FileSystem per inode; there is no handle of our own. Appends go to the offset that the kernel
// sends: it holds the inode's lock and, without a write-back cache, knows the size, and a caller may ask not to append
// (RWF_NOAPPEND) through a handle that says O_APPEND.

#include <algorithm>
#include <cerrno>
#include <climits>
#include <optional>
#include <span>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "fusefs/border.h"
#include "fusefs/convert.h"
#include "fusefs/frontend.h"

namespace cairn::fusefs {
namespace {

static_assert((O_SYNC & O_DSYNC) == O_DSYNC, "on_write() asks for either bit");

// Whether this open or write has to take setuid and setgid away.
bool asks_to_kill(const Frontend& frontend, const fuse_file_info& fi) {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  return frontend.kill_suidgid && fi.kill_suidgid != 0;
#else
  static_cast<void>(frontend);
  static_cast<void>(fi);
  return false;
#endif
}

// Does `change`, which takes setuid and setgid away if `kill`, and has the kernel forget a mode that is no longer true: of its
// own accord it forgets only size and times after an open or a write, and would honour the bits for a day.
// The notification is about attributes only. It takes no page and no inode's lock, so it may be sent while a request waits.
template <class Change>
auto change_killing(Frontend& frontend, fuse_ino_t ino, bool kill, Change&& change) -> decltype(change()) {
  if (!kill) return change();
  const auto before = frontend.fs.getattr(ino);
  auto changed = change();
  if (changed && before && (before->mode & (S_ISUID | S_ISGID)) != 0) {
    fuse_lowlevel_notify_inval_inode(frontend.session, ino, -1, 0);
  }
  return changed;
}

void set_handle(fuse_file_info* fi) {
  fi->keep_cache = 1;
  fi->noflush = 1;  // close() has nothing to wait for: an accepted write cannot fail later
}

Result<Attr> open_file(Frontend& frontend, fuse_ino_t ino, const fuse_file_info& fi, uid_t uid) {
  const bool truncate = (fi.flags & O_TRUNC) != 0;
  // Without KILLPRIV_V2 the kernel leaves exactly this case to us, and does not say who has CAP_FSETID.
  const bool kill = frontend.kill_suidgid ? asks_to_kill(frontend, fi) : truncate && uid != 0;
  // Direct reads pass the kernel's cache by.
  if (!truncate && !kill && (fi.flags & (O_ACCMODE | O_DIRECT)) == O_RDONLY) {
    return frontend.fs.open_to_read(ino);
  }
  return change_killing(frontend, ino, kill, [&] { return frontend.fs.open(ino, truncate, kill); });
}

void on_open(fuse_req_t req, fuse_ino_t ino, fuse_file_info* fi) {
  if (frontend_of(req).no_open) {
    fuse_reply_err(req, ENOSYS);
    return;
  }
  answer(
      req, [&] { return open_file(frontend_of(req), ino, *fi, fuse_req_ctx(req)->uid); },
      [req, ino, fi](const Attr&) noexcept {
        Frontend& frontend = frontend_of(req);
        set_handle(fi);
        if (fuse_reply_open(req, fi) != 0) contain(frontend, [&] { frontend.fs.release(ino); });
      });
}

void reply_created(fuse_req_t req, const Attr& attr, fuse_file_info* fi) noexcept {
  Frontend& frontend = frontend_of(req);
  const fuse_entry_param entry = to_entry(attr);
  set_handle(fi);
  if (fuse_reply_create(req, &entry, fi) == 0) return;
  contain(frontend, [&] {
    frontend.fs.release(attr.ino);
    frontend.fs.forget(attr.ino, 1);
  });
}

void on_create(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, fuse_file_info* fi) {
  answer(
      req, [&] { return frontend_of(req).fs.create(parent, name, mode, to_caller(req)); },
      [req, fi](const Attr& attr) noexcept { reply_created(req, attr, fi); });
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
void on_tmpfile(fuse_req_t req, fuse_ino_t parent, mode_t mode, fuse_file_info* fi) {
  answer(
      req, [&] { return frontend_of(req).fs.create(parent, {}, mode, to_caller(req)); },
      [req, fi](const Attr& attr) noexcept { reply_created(req, attr, fi); });
}
#endif

// The last close of an open; a file without a name goes with it.
void on_release(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  answer(req, [&]() -> Result<void> {
    frontend_of(req).fs.release(ino);
    return {};
  });
}

// Only kernels before 5.16 ask; one answer stops them.
void on_flush(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, ENOSYS); }

// What goes out with one writev(2). The library puts a header in front.
struct ReadReply {
  std::vector<Value> pieces;
  std::vector<iovec> iov;
  Bytes joined;  // instead of pieces, if there are too many of them
};

Result<ReadReply> to_reply(Result<std::vector<Value>> read) {
  if (!read) return fail(std::move(read).error());
  ReadReply reply;
  reply.pieces = std::move(*read);
  constexpr size_t kMaxPieces = IOV_MAX - 1;
  if (reply.pieces.size() > kMaxPieces) {
    for (const Value& piece : reply.pieces) reply.joined += piece.view();
    reply.iov = {{reply.joined.data(), reply.joined.size()}};
    return reply;
  }
  reply.iov.reserve(reply.pieces.size());
  for (const Value& piece : reply.pieces) {
    reply.iov.push_back({const_cast<char*>(piece.view().data()), piece.size()});  // read only: iovec knows no const
  }
  return reply;
}

// Where the answer to a read over io_uring has to lie; none over /dev/fuse.
std::span<char> payload_of(fuse_req_t req) noexcept {
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  char* payload = nullptr;
  size_t room = 0;
  if (fuse_req_get_payload(req, &payload, &room, nullptr) == 0) return {payload, room};
#else
  static_cast<void>(req);
#endif
  return {};
}

void on_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  note_read(req, size);
  const auto from = static_cast<uint64_t>(offset);
  if (const std::span<char> payload = payload_of(req); payload.size() >= size && size != 0) {
    answer(
        req, [&] { return frontend_of(req).fs.read_into(ino, from, payload.first(size)); },
        [req, payload](uint64_t got) noexcept { fuse_reply_buf(req, payload.data(), got); });
    return;
  }
  answer(
      req, [&] { return to_reply(frontend_of(req).fs.read(ino, from, size)); },
      [req](const ReadReply& reply) noexcept {
        fuse_reply_iov(req, reply.iov.data(), static_cast<int>(reply.iov.size()));
      });
}

Result<uint64_t> write(fuse_req_t req, fuse_ino_t ino, ByteView data, uint64_t offset, const fuse_file_info& fi) {
  Frontend& frontend = frontend_of(req);
  const bool kill = asks_to_kill(frontend, fi);
  return change_killing(frontend, ino, kill,
                        [&] { return frontend.fs.write(ino, offset, data, /*append=*/false, kill); });
}

// Leaves the request to be answered when everything done so far is durable.
void answer_when_durable(fuse_req_t req, std::optional<uint64_t> written) noexcept {
  Frontend& frontend = frontend_of(req);
  int err = EIO;
  try {
    frontend.syncs->add({.req = req,
                         .written = written,
                         .over_io_uring = over_io_uring(req),
                         .own_thread = over_io_uring(req) && !replies_from_any_thread(),
                         .caller = fuse_req_ctx(req)->pid});
    return;
  } catch (...) {
    err = errno_of_exception();
  }
  fuse_reply_err(req, err);
}

void on_write(fuse_req_t req, fuse_ino_t ino, const char* data, size_t size, off_t offset, fuse_file_info* fi) {
  Frontend& frontend = frontend_of(req);
  PageWrites& page_writes = frontend.page_writes;
  // O_SYNC is O_DSYNC and more. Flags set later by fcntl come with each write, too.
  const bool durable = frontend.mode == Mode::kCas && (fi->flags & (O_SYNC | O_DSYNC)) != 0;
  const uint64_t from_page = fi->writepage != 0 ? 1 : 0;
  page_writes.started += from_page;
  answer(
      req, [&] { return write(req, ino, ByteView(data, size), static_cast<uint64_t>(offset), *fi); },
      [req, durable](uint64_t written) noexcept {
        if (durable) return answer_when_durable(req, written);
        fuse_reply_write(req, written);
      });
  page_writes.finished += from_page;
}

// In cache mode nothing waits for the disk; ENOSYS tells the kernel not to ask again, and callers see success. In cas mode
// the kernel must never get ENOSYS here: it would report success for ever.
void sync_all_before(fuse_req_t req) {
  enter_ring_thread(req);
  if (frontend_of(req).mode == Mode::kCache) {
    fuse_reply_err(req, ENOSYS);
    return;
  }
  answer_when_durable(req, std::nullopt);
}

void on_fsync(fuse_req_t req, fuse_ino_t, int, fuse_file_info*) { sync_all_before(req); }
void on_fsyncdir(fuse_req_t req, fuse_ino_t, int, fuse_file_info*) { sync_all_before(req); }

void on_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, fuse_file_info*) {
  answer(req, [&]() -> Result<void> {
    if ((mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0) {
      return fail(ErrorCode::kUnsupported);
    }
    Frontend& frontend = frontend_of(req);
    // KILLPRIV_V2 leaves it to us here, too, and does not say who has CAP_FSETID.
    const bool kill = frontend.kill_suidgid && fuse_req_ctx(req)->uid != 0;
    return change_killing(frontend, ino, kill, [&]() -> Result<void> {
      auto done = frontend.fs.fallocate(ino, static_cast<uint32_t>(mode), static_cast<uint64_t>(offset),
                                        static_cast<uint64_t>(length));
      if (!done || !kill) return done;
      AttrChange change;
      change.kill_suidgid = true;
      auto killed = frontend.fs.setattr(ino, change);
      if (!killed) return fail(std::move(killed).error());
      return {};
    });
  });
}

void on_lseek(fuse_req_t req, fuse_ino_t ino, off_t offset, int whence, fuse_file_info*) {
  answer(
      req,
      [&]() -> Result<uint64_t> {
        if (whence != SEEK_DATA && whence != SEEK_HOLE) return fail(ErrorCode::kInvalid);
        if (offset < 0) return fail(ErrorCode::kNoDevice);
        return frontend_of(req).fs.seek(ino, static_cast<uint64_t>(offset),
                                        whence == SEEK_DATA ? SeekWhat::kData : SeekWhat::kHole);
      },
      [req](uint64_t found) noexcept { fuse_reply_lseek(req, static_cast<off_t>(found)); });
}

}  // namespace

void answer_synced(Frontend& frontend, const SyncRequest& request, const Result<void>& result) noexcept {
  if (!result) {
    contain(frontend, [&] { frontend.errors.note(result.error()); });
    fuse_reply_err(request.req, to_errno(result.error()));
  } else if (request.written) {
    fuse_reply_write(request.req, *request.written);
  } else {
    fuse_reply_err(request.req, 0);
  }
}

void add_file_operations(fuse_lowlevel_ops& ops) {
  ops.open = on_open;
  ops.create = on_create;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 17)
  ops.tmpfile = on_tmpfile;
#endif
  ops.release = on_release;
  ops.flush = on_flush;
  ops.read = on_read;
  ops.write = on_write;
  ops.fsync = on_fsync;
  ops.fsyncdir = on_fsyncdir;
  ops.fallocate = on_fallocate;
  ops.lseek = on_lseek;
}

}  // namespace cairn::fusefs
