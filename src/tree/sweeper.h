// Erases in the background what no name leads to any more, and the chunks behind the end of truncated files.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>

#include "base/mutex.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/inode.h"

namespace cairn::tree {

struct Tree;

// Works through a queue, one bounded step after the other, on the executor of the store's Env. What is to be done is in the
// log as well (keys 'O' and 'W' under inode 0), so it goes on after a restart. Thread-safe.
// Errors are counted and logged; the work is then left to the next start.
class Sweeper {
 public:
  explicit Sweeper(Tree& tree);
  ~Sweeper();  // stop()
  Sweeper(const Sweeper&) = delete;
  Sweeper& operator=(const Sweeper&) = delete;

  // Puts on the queue what the log says is left over from before. Once, before anything else.
  Result<void> resume();
  // The inode has no name and is not in use; or its attributes say that chunks are to be swept.
  void submit(Ino ino);
  // Returns when the queue is empty. For close() and tests.
  void drain();
  // Returns when no job runs, and none will. The queue stays.
  void stop();

 private:
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared);
  static void schedule(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;  // jobs outlive the sweeper
};

// One bounded step. True if there is more to do.
Result<bool> sweep_step(Tree& tree, Inode& inode) EXCLUDES(inode.mutex);
// All the steps of a file's unfinished truncation; whoever wants to write behind its end waits for it.
Result<void> finish_sweep(Tree& tree, Inode& inode) EXCLUDES(inode.mutex);

}  // namespace cairn::tree
