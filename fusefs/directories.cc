// Handlers for listings.

#include <cerrno>

#include "fusefs/border.h"
#include "fusefs/convert.h"
#include "fusefs/dir_buffer.h"
#include "fusefs/frontend.h"

namespace cairn::fusefs {
namespace {

// Where the kernel understands ENOSYS it stops sending opendir and releasedir, and keeps listings in its page cache. It drops
// them itself when something in the directory changes through this mount.
void on_opendir(fuse_req_t req, fuse_ino_t, fuse_file_info* fi) {
  if (frontend_of(req).no_opendir) {
    fuse_reply_err(req, ENOSYS);
  } else {
    fuse_reply_open(req, fi);
  }
}

void on_releasedir(fuse_req_t req, fuse_ino_t, fuse_file_info*) { fuse_reply_err(req, 0); }

void list(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus) {
  answer(
      req,
      [&]() -> Result<DirBuffer> {
        FileSystem& fs = frontend_of(req).fs;
        DirBuffer buffer(req, size, plus);
        if (auto filled = fill(fs, ino, offset, plus, &buffer); !filled) return fail(std::move(filled).error());
        // The kernel may forget an inode as soon as it has the reply, so they are counted before.
        for (Ino found : buffer.looked_up()) fs.count_lookup(found);
        return buffer;
      },
      [req](const DirBuffer& buffer) noexcept {
        Frontend& frontend = frontend_of(req);
        if (fuse_reply_buf(req, buffer.bytes().data(), buffer.bytes().size()) == 0) return;
        contain(frontend, [&] {
          for (Ino found : buffer.looked_up()) frontend.fs.forget(found, 1);
        });
      });
}

void on_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  list(req, ino, size, offset, /*plus=*/false);
}

void on_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, fuse_file_info*) {
  list(req, ino, size, offset, /*plus=*/true);
}

}  // namespace

void add_directory_operations(fuse_lowlevel_ops& ops) {
  ops.opendir = on_opendir;
  ops.releasedir = on_releasedir;
  ops.readdir = on_readdir;
  ops.readdirplus = on_readdirplus;
}

}  // namespace cairn::fusefs
