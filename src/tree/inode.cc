#include "tree/inode.h"

#include <algorithm>

#include "base/check.h"
#include "base/try.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kBlock = 512;           // bytes, the unit of st_blocks
constexpr uint64_t kDirectoryPage = 4096;  // bytes
constexpr uint64_t kEntriesPerPage = 64;   // as a directory of ordinary names would have them
static_assert(kDirectoryPage % kBlock == 0);

uint64_t blocks_of(uint64_t bytes) { return (bytes + kBlock - 1) / kBlock; }

}  // namespace

Attr to_attr(Ino ino, const format::Attributes& a) {
  Attr out;
  out.ino = ino;
  out.mode = a.mode;
  out.uid = a.uid;
  out.gid = a.gid;
  out.links = a.links;
  out.rdev = a.rdev;
  out.atime = a.atime;
  out.mtime = a.mtime;
  out.ctime = a.ctime;
  out.btime = a.btime;
  out.size = a.size;
  if (a.is_directory()) {
    // Programs take 0 for "not supported" (du, find -empty on some); ext4 shows whole blocks.
    out.size = kDirectoryPage * (1 + a.size / kEntriesPerPage);
    out.blocks = blocks_of(out.size);
  } else if (a.is_regular()) {
    out.blocks = blocks_of(a.stored);
  }
  return out;
}

Result<void> require_usable(const Inode& inode) {
  if (!inode.loaded) return fail(inode.load_error);
  if (inode.life == Life::kDying) return fail(ErrorCode::kStale);
  return {};
}

Result<void> require_directory(const Inode& inode) {
  if (!inode.loaded) return fail(inode.load_error);
  // Not kNotFound: at ESTALE the kernel looks the name up again, ENOENT would reach the program.
  if (inode.evicted) return fail(ErrorCode::kStale);
  if (!inode.attributes.is_directory()) return fail(ErrorCode::kNotDirectory);
  // A directory that was removed, but is still somebody's: nothing can be made in it.
  if (inode.life != Life::kAlive) return fail(ErrorCode::kNotFound);
  return {};
}

Result<void> require_regular(const Inode& inode) {
  TRY(require_usable(inode));
  if (inode.attributes.is_directory()) return fail(ErrorCode::kIsDirectory);
  if (!inode.attributes.is_regular()) return fail(ErrorCode::kInvalid);
  return {};
}

// The set is only known at run time, which the analysis cannot express; assume_locked() tells it at the place of use.
InodeLocks::InodeLocks(Inode* a, Inode* b, Inode* c, Inode* d) NO_THREAD_SAFETY_ANALYSIS {
  for (Inode* inode : {a, b, c, d}) {
    if (inode != nullptr) held_[count_++] = inode;
  }
  // One order for all, so that two renames in opposite directions cannot wait for each other.
  std::sort(held_, held_ + count_, [](const Inode* x, const Inode* y) { return x->ino < y->ino; });
  count_ = static_cast<int>(std::unique(held_, held_ + count_) - held_);
  DCHECK(std::is_sorted(held_, held_ + count_, [](const Inode* x, const Inode* y) { return x->ino < y->ino; }));
  CHECK(count_ != 0);
  for (int i = 0; i < count_; ++i) held_[i]->mutex.lock();
}

InodeLocks::~InodeLocks() NO_THREAD_SAFETY_ANALYSIS {
  for (int i = count_; i-- > 0;) held_[i]->mutex.unlock();
}

}  // namespace cairn::tree
