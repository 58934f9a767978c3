// Handlers that find, make, move and remove names.

#include <cerrno>

#include <sys/stat.h>

#include "fusefs/border.h"
#include "fusefs/convert.h"
#include "fusefs/frontend.h"

namespace cairn::fusefs {
namespace {

// Lookup and every call that makes a name count one lookup of the inode, which the kernel gives back by forget.
// reply_entry() gives it back where the reply did not arrive.
void on_lookup(fuse_req_t req, fuse_ino_t parent, const char* name) {
  answer(
      req,
      [&]() -> Result<Attr> {
        auto attr = frontend_of(req).fs.lookup(parent, name);
        // Inode 0 tells the kernel that it may remember that there is no such name.
        if (!attr && attr.error().code == ErrorCode::kNotFound) return Attr{};
        return attr;
      },
      [req](const Attr& attr) noexcept {
        if (attr.ino != 0) return reply_entry(req, attr);
        fuse_entry_param nothing = {};
        nothing.entry_timeout = kCacheSeconds;
        fuse_reply_entry(req, &nothing);
      });
}

// Forgets have no answer, so nothing may be reported either; the request is freed by reply_none.
void on_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count) {
  Frontend& frontend = frontend_of(req);
  contain(frontend, [&] { frontend.fs.forget(ino, count); });
  fuse_reply_none(req);
}

void on_forget_multi(fuse_req_t req, size_t count, fuse_forget_data* forgets) {
  Frontend& frontend = frontend_of(req);
  for (size_t i = 0; i < count; ++i) {
    contain(frontend, [&] { frontend.fs.forget(forgets[i].ino, forgets[i].nlookup); });
  }
  fuse_reply_none(req);
}

// Everything that makes a name answers the same way: with its entry.
template <class Make>
void answer_entry(fuse_req_t req, Make&& make) noexcept {
  answer(req, make, [req](const Attr& attr) noexcept { reply_entry(req, attr); });
}

void on_mknod(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode, dev_t rdev) {
  answer_entry(req, [&] { return frontend_of(req).fs.mknod(parent, name, mode, rdev, to_caller(req)); });
}

void on_mkdir(fuse_req_t req, fuse_ino_t parent, const char* name, mode_t mode) {
  answer_entry(req, [&] { return frontend_of(req).fs.mkdir(parent, name, mode, to_caller(req)); });
}

void on_symlink(fuse_req_t req, const char* target, fuse_ino_t parent, const char* name) {
  answer_entry(req, [&] { return frontend_of(req).fs.symlink(parent, name, target, to_caller(req)); });
}

void on_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char* new_name) {
  answer_entry(req, [&] { return frontend_of(req).fs.link(ino, new_parent, new_name); });
}

void on_readlink(fuse_req_t req, fuse_ino_t ino) {
  answer(
      req, [&] { return frontend_of(req).fs.readlink(ino); },
      [req](const Bytes& target) noexcept { fuse_reply_readlink(req, target.c_str()); });
}

void on_unlink(fuse_req_t req, fuse_ino_t parent, const char* name) {
  answer(req, [&] { return frontend_of(req).fs.unlink(parent, name); });
}

void on_rmdir(fuse_req_t req, fuse_ino_t parent, const char* name) {
  answer(req, [&] { return frontend_of(req).fs.rmdir(parent, name); });
}

void on_rename(fuse_req_t req, fuse_ino_t parent, const char* name, fuse_ino_t new_parent, const char* new_name,
               unsigned flags) {
  answer(req, [&] { return frontend_of(req).fs.rename(parent, name, new_parent, new_name, flags, to_caller(req)); });
}

}  // namespace

void add_name_operations(fuse_lowlevel_ops& ops) {
  ops.lookup = on_lookup;
  ops.forget = on_forget;
  ops.forget_multi = on_forget_multi;
  ops.mknod = on_mknod;
  ops.mkdir = on_mkdir;
  ops.symlink = on_symlink;
  ops.link = on_link;
  ops.readlink = on_readlink;
  ops.unlink = on_unlink;
  ops.rmdir = on_rmdir;
  ops.rename = on_rename;
}

}  // namespace cairn::fusefs
