// Small files go whole to whoever uses this library: with their open, and ahead of it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/mutex.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/background_queue.h"
#include "tree/inode.h"

namespace cairn::tree {

struct Tree;

// Reading a cold tree is waiting: a program asks for one file after the other, and what it asks for next has to be found, read,
// decompressed, verified and copied while it waits. Files that were made one after the other have numbers that follow each other, lie
// side by side in the log, and are mostly read in that order; so the next ones are got ready while the program works on this one.
// Thread-safe.
class HandOver {
 public:
  explicit HandOver(Tree& tree);

  // As FileSystem::set_content_taker().
  void set_taker(FileSystem::TakeContent take);
  // As FileSystem::open_to_read().
  Result<Attr> open(Inode& inode) EXCLUDES(inode.mutex);
  // Returns when no job runs, and none will.
  void stop() { ahead_.stop(); }

 private:
  struct Range {
    Ino first = 0;
    Ino end = 0;
  };
  // Opens of files that were not known, one after the other. Of one block of numbers, so that threads meet only where they read the
  // same files.
  struct Stream {
    Mutex mutex;  // a leaf
    Ino last GUARDED_BY(mutex) = 0;
    Ino asked_to GUARDED_BY(mutex) = 0;  // those below were asked for ahead
    int length GUARDED_BY(mutex) = 0;    // opens in order
  };

  // Whether the content may go to the taker.
  [[nodiscard]] bool is_to_go(const Inode& inode) const REQUIRES_SHARED(inode.mutex);
  Result<Attr> open_and_give(Inode& inode) EXCLUDES(inode.mutex);
  // The content, if it could be read and is in one piece; else it is for who reads it to see. False: the taker did not take it.
  bool give(const Inode& inode, const Result<std::vector<Value>>& pieces) REQUIRES(inode.mutex);
  // A file that was not known is being opened, or only because it was given ahead: asks for the next ones if that goes on where
  // others went.
  void note_open(Ino ino, bool was_given);
  [[nodiscard]] bool is_any_to_come(Ino ino) const;
  void give_ahead(Ino ino);

  Tree& tree_;
  FileSystem::TakeContent take_;  // changes only while nobody uses it
  std::array<Stream, 64> streams_;
  BackgroundQueue<Range> ahead_;
};

}  // namespace cairn::tree
