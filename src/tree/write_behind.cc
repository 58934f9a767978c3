#include "tree/write_behind.h"

#include <chrono>

#include "tree/tree.h"

namespace cairn::tree {
namespace {

// Long enough that a thread is woken for many files at a time.
constexpr std::chrono::milliseconds kDelay(10);

void write_closed(Tree& tree, Inode& inode) {
  {
    const ReadLock lock(inode.mutex);
    if (inode.chunks.empty() || inode.life != Life::kAlive) return;
    // Open again: the next release brings it back.
    if (tree.options.opens_counted && tree.inodes.opens(inode) != 0) return;
  }
  if (auto written = write_back_now(tree, inode); !written)
    tree.note_error("write_back_failed", inode.ino, written.error());
}

}  // namespace

WriteBehind::WriteBehind(Tree& tree)
    : queue_(tree.store.env().executor(), kDelay, [&tree](const std::vector<InodeRef>& closed) {
        for (const InodeRef& inode : closed) write_closed(tree, *inode);
      }) {}

}  // namespace cairn::tree
