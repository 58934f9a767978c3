#include "fusefs/convert.h"

#include <sys/sysmacros.h>

#include "fusefs/border.h"
#include "fusefs/frontend.h"

namespace cairn::fusefs {
namespace {

// Times are 64 bit on disk. A time_t of 32 bit would cut them; such systems are not supported.
static_assert(sizeof(time_t) == sizeof(int64_t));
static_assert(sizeof(off_t) == sizeof(int64_t), "sizes and offsets are 64 bit");
static_assert(sizeof(ino_t) >= sizeof(Ino) && sizeof(fuse_ino_t) >= sizeof(Ino), "inode numbers are not translated");

timespec to_timespec(const Time& time) {
  return {.tv_sec = static_cast<time_t>(time.seconds), .tv_nsec = static_cast<long>(time.nanoseconds)};
}

statx_timestamp to_timestamp(const Time& time) {
  statx_timestamp out = {};
  out.tv_sec = time.seconds;
  out.tv_nsec = time.nanoseconds;
  return out;
}

}  // namespace

// st_dev is left out: the kernel fills in the mount's own device.
struct stat to_stat(const Attr& attr) {
  struct stat st = {};
  st.st_ino = attr.ino;
  st.st_mode = attr.mode;
  st.st_uid = attr.uid;
  st.st_gid = attr.gid;
  st.st_nlink = attr.links;
  st.st_size = static_cast<off_t>(attr.size);
  st.st_blocks = static_cast<blkcnt_t>(attr.blocks);
  st.st_blksize = kPreferredIo;
  st.st_rdev = attr.rdev;
  st.st_atim = to_timespec(attr.atime);
  st.st_mtim = to_timespec(attr.mtime);
  st.st_ctim = to_timespec(attr.ctime);
  return st;
}

// The same facts as to_stat(), and the time of birth, which only statx() can say. The mask tells programs what is
// filled in.
struct statx to_statx(const Attr& attr) {
  struct statx st = {};
  st.stx_mask = STATX_BASIC_STATS | STATX_BTIME;
  st.stx_blksize = static_cast<uint32_t>(kPreferredIo);
  st.stx_nlink = attr.links;
  st.stx_uid = attr.uid;
  st.stx_gid = attr.gid;
  st.stx_mode = static_cast<uint16_t>(attr.mode);
  st.stx_ino = attr.ino;
  st.stx_size = attr.size;
  st.stx_blocks = attr.blocks;
  st.stx_rdev_major = major(attr.rdev);
  st.stx_rdev_minor = minor(attr.rdev);
  st.stx_atime = to_timestamp(attr.atime);
  st.stx_btime = to_timestamp(attr.btime);
  st.stx_ctime = to_timestamp(attr.ctime);
  st.stx_mtime = to_timestamp(attr.mtime);
  return st;
}

fuse_entry_param to_entry(const Attr& attr) {
  fuse_entry_param entry = {};  // generation 0: inode numbers are never used again
  entry.ino = attr.ino;
  entry.attr = to_stat(attr);
  entry.attr_timeout = kCacheSeconds;
  entry.entry_timeout = kCacheSeconds;
  return entry;
}

Caller to_caller(fuse_req_t req) {
  const fuse_ctx* ctx = fuse_req_ctx(req);
  // As the kernel saw them when the call was made: for a thread that changed its fsuid that is the one that counts.
  return {.uid = ctx->uid, .gid = ctx->gid, .umask = ctx->umask};
}

void reply_entry(fuse_req_t req, const Attr& attr) noexcept {
  Frontend& frontend = frontend_of(req);  // the request is gone after the reply
  const fuse_entry_param entry = to_entry(attr);
  if (fuse_reply_entry(req, &entry) != 0) contain(frontend, [&] { frontend.fs.forget(attr.ino, 1); });
}

void reply_attr(fuse_req_t req, const Attr& attr) noexcept {
  const struct stat st = to_stat(attr);
  fuse_reply_attr(req, &st, kCacheSeconds);
}

}  // namespace cairn::fusefs
