// Makes room in cache mode: decides which files go, and has them go, in the background.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "tree/inode.h"

namespace cairn::tree {

struct Tree;

// SIEVE over all inodes in the order in which they were made. When the store wants room (Store::set_room_hook), a job on the
// executor takes the hand from candidate to candidate and evicts what nobody uses, a batch at a time.
//
// What stays: files that are open; what is pinned (units.h); and, as long as anything older can go, what was made or changed less than min_age ago.
// Directories go when they are empty and were not used for min_age. A group goes as one; its place in the queue and its visits
// are those of its directory.
//
// The hand and the visits are saved under inode 0 every so often and at the end, so the order survives a restart; a crash
// loses the visits since.
// Thread-safe. In cas mode it does nothing. Errors are counted and logged: a file that cannot be evicted stays, and the next
// one goes.
class Evictor {
 public:
  explicit Evictor(Tree& tree);
  ~Evictor();  // stop() without its error
  Evictor(const Evictor&) = delete;
  Evictor& operator=(const Evictor&) = delete;

  // Loads what was saved and begins to listen to the store. Once, before the first operation.
  void start();
  // Returns when no job runs; none will. Saves hand and visits.
  Result<void> stop();
  // `listener` is told of each name that was taken away and that the kernel may know, from a background thread that holds no
  // lock. It must not wait for a request. An empty function: nobody is told; returns when no call is under way.
  void set_listener(std::function<void(const LostName&)> listener);

  // What happens to inodes. Cheap; an inode's mutex may be held.
  void made(Ino ino);
  void gone(Ino ino);
  void used(Ino ino);
  // The same for the group that it belongs to, if it does. No inode's mutex may be held.
  void used_group(Ino ino);
  // A pin or a group was made or taken away.
  void units_changed();
  // Something became evictable: an open file was closed.
  void released();
  // The file cannot be read: it loses its names, so that whoever asks for them next finds nothing. Done in the background.
  void damaged(Ino ino, const Error& error);

  // Returns when nothing waits to be done. For tests.
  void drain();
  void add_to(CacheStats& stats) const;

 private:
  struct Shared;
  static void run(const std::shared_ptr<Shared>& shared);
  static void want_job(const std::shared_ptr<Shared>& shared);
  std::shared_ptr<Shared> shared_;  // jobs outlive the evictor; null in cas mode
};

}  // namespace cairn::tree
