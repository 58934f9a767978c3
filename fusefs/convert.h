// Between the types of FileSystem and those of libfuse.
#pragma once

#include <sys/stat.h>

#include <fuse_lowlevel.h>

#include "cairn/filesystem.h"

namespace cairn::fusefs {

// How long the kernel may keep names, attributes and the knowledge that a name is free. Only this mount changes the tree, and
// the kernel knows what it did itself, so only memory limits it. Seconds.
inline constexpr double kCacheSeconds = 86400;

// st_blksize, bytes: what programs take as the size of their buffers. Small ones would cost a request each.
inline constexpr blksize_t kPreferredIo = 128 << 10;

struct stat to_stat(const Attr& attr);
struct statx to_statx(const Attr& attr);
fuse_entry_param to_entry(const Attr& attr);
Caller to_caller(fuse_req_t req);

// Sends a new name's entry; gives the lookup back if nobody is waiting for it any more.
void reply_entry(fuse_req_t req, const Attr& attr) noexcept;
void reply_attr(fuse_req_t req, const Attr& attr) noexcept;

}  // namespace cairn::fusefs
