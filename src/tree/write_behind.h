// Writes to the log what is buffered of files that were closed: a moment later, and not in the thread that closes them.
#pragma once

#include "tree/background_queue.h"
#include "tree/inode.h"

namespace cairn::tree {

struct Tree;

// Compressing and logging a file's last chunk is half of what the daemon does for a small new file; the program that made it is
// making the next one meanwhile. What waits here is buffered like that of an open file: it is bounded, has its room in the
// log, and the next commit takes it. A file that is removed before its turn comes never gets there. Thread-safe.
class WriteBehind {
 public:
  explicit WriteBehind(Tree& tree);

  // The inode was closed by the last who had it open. Errors are counted and logged; the data stays buffered, and the next commit
  // reports it.
  void submit(InodeRef inode) { queue_.submit(std::move(inode)); }
  // Returns when no job runs, and none will. What waits is left to the commits.
  void stop() { queue_.stop(); }

 private:
  BackgroundQueue<InodeRef> queue_;
};

}  // namespace cairn::tree
