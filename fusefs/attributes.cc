// Handlers for attributes, extended attributes, statfs and the limit.

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "fusefs/border.h"
#include "fusefs/convert.h"
#include "fusefs/frontend.h"
#include "fusefs/stats.h"

namespace cairn::fusefs {
namespace {

void on_getattr(fuse_req_t req, fuse_ino_t ino, fuse_file_info*) {
  answer(
      req, [&] { return frontend_of(req).fs.getattr(ino); },
      [req](const Attr& attr) noexcept { reply_attr(req, attr); });
}

#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
// Asked when a program wants to know when something was made; all else comes with getattr.
void on_statx(fuse_req_t req, fuse_ino_t ino, int, int, fuse_file_info*) {
  answer(
      req, [&] { return frontend_of(req).fs.getattr(ino); },
      [req](const Attr& attr) noexcept {
        struct statx st = to_statx(attr);
        fuse_reply_statx(req, 0, &st, kCacheSeconds);
      });
}
#endif

// The kernel has checked nanoseconds to be below a second.
Time to_time(const timespec& time) {
  return {.seconds = time.tv_sec, .nanoseconds = static_cast<uint32_t>(time.tv_nsec)};
}

// utimensat(UTIME_NOW) sets both bits; which clock "now" is read from is then ours to decide, so that it fits the other
// times.
AttrChange::TimeKind time_kind(int to_set, int set, int now) {
  if ((to_set & now) != 0) return AttrChange::TimeKind::kNow;
  return (to_set & set) != 0 ? AttrChange::TimeKind::kSet : AttrChange::TimeKind::kKeep;
}

AttrChange to_change(const struct stat& st, int to_set, bool kernel_says_kill) {
  AttrChange change;
  change.set_mode = (to_set & FUSE_SET_ATTR_MODE) != 0;
  change.set_uid = (to_set & FUSE_SET_ATTR_UID) != 0;
  change.set_gid = (to_set & FUSE_SET_ATTR_GID) != 0;
  change.set_size = (to_set & FUSE_SET_ATTR_SIZE) != 0;
  // On the wire this bit is FATTR_KILL_SUIDGID: chown by anybody, truncation by somebody without CAP_FSETID.
  change.kill_suidgid = kernel_says_kill && (to_set & FUSE_SET_ATTR_KILL_SUID) != 0;
  change.mode = st.st_mode;
  change.uid = st.st_uid;
  change.gid = st.st_gid;
  change.size = static_cast<uint64_t>(st.st_size);
  change.atime_kind = time_kind(to_set, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW);
  change.mtime_kind = time_kind(to_set, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW);
  change.atime = to_time(st.st_atim);
  change.mtime = to_time(st.st_mtim);
  return change;
}

void on_setattr(fuse_req_t req, fuse_ino_t ino, struct stat* st, int to_set, fuse_file_info*) {
  answer(
      req,
      [&] {
        Frontend& frontend = frontend_of(req);
        return frontend.fs.setattr(ino, to_change(*st, to_set, frontend.kill_suidgid));
      },
      [req](const Attr& attr) noexcept { reply_attr(req, attr); });
}

// The figures are the store's, whatever inode is asked about: in cache mode bounded by its limit.
void on_statfs(fuse_req_t req, fuse_ino_t) {
  answer(
      req, [&] { return frontend_of(req).fs.statfs(); },
      [req](const FsStats& stats) noexcept {
        struct statvfs out = {};
        out.f_bsize = stats.block_size;
        out.f_frsize = stats.block_size;
        out.f_blocks = stats.total_bytes / stats.block_size;
        out.f_bfree = stats.free_bytes / stats.block_size;
        out.f_bavail = stats.available_bytes / stats.block_size;
        out.f_files = stats.files + stats.free_files;
        out.f_ffree = stats.free_files;
        out.f_favail = stats.free_files;
        out.f_namemax = kMaxNameSize;
        fuse_reply_statfs(req, &out);
      });
}

static_assert(kStatsAttribute.starts_with("user."), "check_xattr_name() lets it through");

bool is_acl(std::string_view name) { return name == "system.posix_acl_access" || name == "system.posix_acl_default"; }

// Whether there can be an attribute of this name, as ext4 has it. Accepting system.posix_acl_* without enforcing it (-o acl)
// would be a lie about who may read a file.
Result<void> check_xattr_name(fuse_req_t req, std::string_view name) {
  if (is_acl(name) && frontend_of(req).acl) return {};
  constexpr std::array<std::string_view, 3> kSpaces = {"user.", "trusted.", "security."};
  for (std::string_view space : kSpaces) {
    if (!name.starts_with(space)) continue;
    if (name.size() == space.size()) return fail(ErrorCode::kInvalid);
    if (name.size() > kMaxNameSize) return fail(ErrorCode::kRange);
    return {};
  }
  return fail(ErrorCode::kUnsupported);
}

void on_setxattr(fuse_req_t req, fuse_ino_t ino, const char* name, const char* value, size_t size, int flags) {
  answer(req, [&]() -> Result<void> {
    if (auto named = check_xattr_name(req, name); !named) return named;
    XattrMode mode = XattrMode::kAny;
    if ((flags & XATTR_CREATE) != 0) mode = XattrMode::kCreate;
    if ((flags & XATTR_REPLACE) != 0) mode = XattrMode::kReplace;
    return frontend_of(req).fs.set_xattr(ino, name, ByteView(value, size), mode);
  });
}

void on_removexattr(fuse_req_t req, fuse_ino_t ino, const char* name) {
  answer(req, [&]() -> Result<void> {
    if (auto named = check_xattr_name(req, name); !named) return named;
    auto removed = frontend_of(req).fs.remove_xattr(ino, name);
    // Taking away a list that is not there is no error with ext4.
    if (!removed && removed.error().code == ErrorCode::kNoAttribute && is_acl(name)) return {};
    return removed;
  });
}

// The caller's buffer holds `size` bytes; 0 asks how many it would take.
Result<Bytes> fitting(Result<Bytes> bytes, size_t size) {
  if (bytes && size != 0 && bytes->size() > size) return fail(ErrorCode::kRange);
  return bytes;
}

// The two answers of getxattr and listxattr: how long it is, or the bytes themselves.
void reply_sized(fuse_req_t req, const Bytes& bytes, size_t size) noexcept {
  if (size == 0) {
    fuse_reply_xattr(req, bytes.size());
  } else {
    fuse_reply_buf(req, bytes.data(), bytes.size());
  }
}

// The statistics are an attribute because that works through any mount, container or not, with getfattr as well.
void on_getxattr(fuse_req_t req, fuse_ino_t ino, const char* name, size_t size) {
  answer(
      req,
      [&]() -> Result<Bytes> {
        if (auto named = check_xattr_name(req, name); !named) return fail(named.error());
        const FileSystem& fs = frontend_of(req).fs;
        if (ino == kRootIno && name == kStatsAttribute)
          return fitting(stats_json(fs.store_stats(), fs.cache_stats(), fs.known_inodes()), size);
        return fitting(frontend_of(req).fs.get_xattr(ino, name), size);
      },
      [req, size](const Bytes& value) noexcept { reply_sized(req, value, size); });
}

// Names one behind the other, each with its NUL. Those of trusted.* exist for root only, as with ext4; access control lists
// of an earlier mount are not seen without -o acl.
Bytes joined(fuse_req_t req, const std::vector<std::string>& names) {
  const bool is_root = fuse_req_ctx(req)->uid == 0;
  Bytes list;
  for (const std::string& name : names) {
    if (!is_root && name.starts_with("trusted.")) continue;
    if (is_acl(name) && !frontend_of(req).acl) continue;
    list += name;
    list += '\0';
  }
  return list;
}

void on_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size) {
  answer(
      req,
      [&]() -> Result<Bytes> {
        auto names = frontend_of(req).fs.list_xattrs(ino);
        if (!names) return fail(std::move(names).error());
        return fitting(joined(req, *names), size);
      },
      [req, size](const Bytes& list) noexcept { reply_sized(req, list, size); });
}

// Another limit, for `cairnfs resize`. Everything else is not offered.
void on_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned command, void*, fuse_file_info*, unsigned, const void* in,
              size_t in_size, size_t) {
  enter_ring_thread(req);
  if (ino != kRootIno || command != kResizeIoctl || in_size != sizeof(ResizeCall)) {
    fuse_reply_err(req, ENOTTY);
    return;
  }
  const uid_t caller = fuse_req_ctx(req)->uid;
  if (caller != 0 && caller != ::geteuid())
    return Resizer::refuse(req, "only root and who has mounted it may change the limit");
  ResizeCall call;
  std::memcpy(&call, in, sizeof call);
  try {
    frontend_of(req).resizer->start(req, call.limit);
  } catch (...) {
    fuse_reply_err(req, errno_of_exception());
  }
}

}  // namespace

void add_attribute_operations(fuse_lowlevel_ops& ops) {
  ops.getattr = on_getattr;
#if FUSE_VERSION >= FUSE_MAKE_VERSION(3, 18)
  ops.statx = on_statx;
#endif
  ops.setattr = on_setattr;
  ops.statfs = on_statfs;
  ops.ioctl = on_ioctl;
  ops.setxattr = on_setxattr;
  ops.getxattr = on_getxattr;
  ops.listxattr = on_listxattr;
  ops.removexattr = on_removexattr;
}

}  // namespace cairn::fusefs
