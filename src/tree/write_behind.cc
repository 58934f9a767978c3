#include "tree/write_behind.h"

#include <chrono>
#include <utility>
#include <vector>

#include "io/env.h"
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

struct WriteBehind::Shared {
  Mutex mutex;  // a leaf
  CondVar changed;
  Tree* tree GUARDED_BY(mutex) = nullptr;
  io::Executor* executor = nullptr;
  std::vector<InodeRef> closed GUARDED_BY(mutex);
  bool scheduled GUARDED_BY(mutex) = false;  // a job is waiting or running
  bool running GUARDED_BY(mutex) = false;    // it is using the tree
  bool stopping GUARDED_BY(mutex) = false;
};

WriteBehind::WriteBehind(Tree& tree) : shared_(std::make_shared<Shared>()) {
  const MutexLock lock(shared_->mutex);
  shared_->tree = &tree;
  shared_->executor = &tree.store.env().executor();
}

WriteBehind::~WriteBehind() { stop(); }

void WriteBehind::submit(InodeRef inode) {
  const std::shared_ptr<Shared>& shared = shared_;
  {
    const MutexLock lock(shared->mutex);
    if (shared->stopping) return;
    shared->closed.push_back(std::move(inode));
    if (std::exchange(shared->scheduled, true)) return;
  }
  shared->executor->submit_after(kDelay, [shared] { run(shared); });
}

void WriteBehind::run(const std::shared_ptr<Shared>& shared) {
  Tree* tree = nullptr;
  std::vector<InodeRef> closed;
  {
    const MutexLock lock(shared->mutex);
    // What comes from here on has a job of its own.
    shared->scheduled = false;
    if (shared->stopping) return;
    // The one before still works: it goes on when it has ended.
    if (shared->running) return;
    shared->running = true;
    closed.swap(shared->closed);
    tree = shared->tree;
  }
  // Without the lock: stop() waits for `running`, and the tree lives until then.
  for (const InodeRef& inode : closed) write_closed(*tree, *inode);
  closed.clear();
  bool again = false;
  {
    const MutexLock lock(shared->mutex);
    shared->running = false;
    again = !shared->closed.empty() && !shared->stopping && !std::exchange(shared->scheduled, true);
    shared->changed.notify_all();
  }
  if (again) shared->executor->submit([shared] { run(shared); });
}

void WriteBehind::stop() {
  const MutexLock lock(shared_->mutex);
  shared_->stopping = true;
  shared_->closed.clear();
  shared_->executor->wait(shared_->mutex, shared_->changed, [this] {
    shared_->mutex.assert_held();
    return !shared_->running;
  });
}

}  // namespace cairn::tree
