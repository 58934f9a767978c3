#include "fusefs/dir_buffer.h"

#include <algorithm>

#include <sys/stat.h>

#include "fusefs/convert.h"

namespace cairn::fusefs {
namespace {

// Bytes that an entry with a name of ordinary length takes (FUSE's dirent: 24 + name, padded to 8; direntplus: 128 more).
constexpr size_t kTypicalEntry = 40;
constexpr size_t kTypicalPlusEntry = 168;

static_assert(kTypicalEntry < kTypicalPlusEntry);
}  // namespace

// Room for all of it is taken at once, so that filling it is one allocation.
DirBuffer::DirBuffer(fuse_req_t req, size_t size, bool plus) : req_(req), capacity_(size), plus_(plus) {
  bytes_.reserve(size);
}

size_t DirBuffer::estimate() const {
  return std::max<size_t>(1, (capacity_ - bytes_.size()) / (plus_ ? kTypicalPlusEntry : kTypicalEntry));
}

// libfuse says first, given no buffer, how many bytes an entry takes: name and padding included.
bool DirBuffer::add_plain(const char* name, Ino ino, uint32_t type, off_t next) {
  struct stat st = {};
  st.st_ino = ino;
  st.st_mode = type;
  const size_t used = bytes_.size();
  const size_t needed = fuse_add_direntry(req_, nullptr, 0, name, &st, next);
  if (needed > capacity_ - used) return false;
  bytes_.resize(used + needed);
  fuse_add_direntry(req_, bytes_.data() + used, needed, name, &st, next);
  return true;
}

bool DirBuffer::add_plus(const char* name, const fuse_entry_param& entry, off_t next) {
  const size_t used = bytes_.size();
  const size_t needed = fuse_add_direntry_plus(req_, nullptr, 0, name, &entry, next);
  if (needed > capacity_ - used) return false;
  bytes_.resize(used + needed);
  fuse_add_direntry_plus(req_, bytes_.data() + used, needed, name, &entry, next);
  return true;
}

bool DirBuffer::add_without_lookup(const char* name, Ino ino, uint32_t type, off_t next) {
  if (!plus_) return add_plain(name, ino, type, next);
  fuse_entry_param entry = {};  // inode 0: the kernel takes the entry, and looks the name up when it needs it
  entry.attr.st_ino = ino;
  entry.attr.st_mode = type;
  return add_plus(name, entry, next);
}

// The handler counts one lookup for each entry with attributes (directories.cc). The inode of an entry that did not fit
// stays out of looked_up(), so the caller never counts what the kernel has not seen.
bool DirBuffer::add(const DirEntry& entry, const Attr* attr) {
  const auto next = static_cast<off_t>(entry.cookie);
  if (!plus_ || attr->ino == 0) return add_without_lookup(entry.name.c_str(), entry.ino, entry.type, next);
  looked_up_.push_back(entry.ino);  // first, because it may fail
  if (add_plus(entry.name.c_str(), to_entry(*attr), next)) return true;
  looked_up_.pop_back();
  return false;
}

// "." and ".." come first and are no entries of the tree. A directory that was removed while it is open has no parent
// to name: it is then its own, as nobody can tell the difference.
Result<void> fill(FileSystem& fs, Ino dir, off_t offset, bool plus, DirBuffer* buffer) {
  if (offset == kOffsetStart) {
    if (!buffer->add_without_lookup(".", dir, S_IFDIR, kOffsetAfterDot)) return {};
    offset = kOffsetAfterDot;
  }
  if (offset == kOffsetAfterDot) {
    const auto parent = fs.parent(dir);
    if (!buffer->add_without_lookup("..", parent ? *parent : dir, S_IFDIR, kOffsetAfterDotDot)) return {};
    offset = kOffsetAfterDotDot;
  }
  static_assert(kOffsetStart < kOffsetAfterDot && kOffsetAfterDot < kOffsetAfterDotDot);
  // 0 means "from the first entry"; everything else is a cookie that an earlier reply has handed out.
  uint64_t cookie = offset == kOffsetAfterDotDot ? 0 : static_cast<uint64_t>(offset);
  for (;;) {
    std::vector<Attr> attrs;
    auto entries = fs.read_dir(dir, cookie, buffer->estimate(), plus ? &attrs : nullptr);
    if (!entries) {
      if (!buffer->bytes().empty()) return {};  // the next call starts here and gets the error
      return fail(std::move(entries).error());
    }
    if (entries->empty()) return {};
    for (size_t i = 0; i < entries->size(); ++i) {
      if (!buffer->add((*entries)[i], plus ? &attrs[i] : nullptr)) return {};
    }
    cookie = entries->back().cookie;
  }
}

}  // namespace cairn::fusefs
