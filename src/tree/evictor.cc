#include "tree/evictor.h"

#include <algorithm>
#include <atomic>
#include <deque>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "io/env.h"
#include "tree/inode_queue.h"
#include "tree/sieve_hand.h"
#include "tree/tree.h"
#include "tree/units.h"

namespace cairn::tree {

namespace {

constexpr uint64_t kLogAgainMs = 60'000;  // a file that is closed makes it possible again, and the next one not

}  // namespace

struct Evictor::Shared {
  explicit Shared(Tree& t) : tree(t), executor(t.store.env().executor()), hand(t, queue, log) {}

  // Jobs that are still queued when the tree goes find `stopping` and end without touching it.
  Tree& tree;  // gone once stopped: only a job that runs uses it
  io::Executor& executor;
  InodeQueue queue;
  EvictionLog log;
  SieveHand hand;  // the running job's

  Mutex mutex;  // a leaf
  CondVar changed;
  SieveHand::Listener listener GUARDED_BY(mutex);
  std::deque<Ino> damaged GUARDED_BY(mutex);
  bool room_wanted GUARDED_BY(mutex) = false;
  bool scheduled GUARDED_BY(mutex) = false;  // a job is waiting or running
  bool running GUARDED_BY(mutex) = false;    // it is using the tree
  bool stopping GUARDED_BY(mutex) = false;
  // Kept between batches, so that one request of the store is answered once.
  uint64_t owed = 0;       // bytes that are still to be erased before the store is answered; the running job's
  uint64_t logged_ms = 0;  // when that nothing can go was logged last; the running job's
  std::atomic<bool> started = false;
  std::atomic<bool> has_units = false;  // perhaps: without pins and groups nobody looks for them
  std::atomic<bool> exhausted = false;  // the store was told that nothing can go

  void make_room(const SieveHand::Listener& tell) EXCLUDES(mutex);
};

Evictor::Evictor(Tree& tree) {
  if (tree.cache_mode) shared_ = std::make_shared<Shared>(tree);
}

Evictor::~Evictor() { (void)stop(); }

void Evictor::start() {
  if (!shared_) return;
  // Before the store can ask: until the hook is set nobody runs the hand.
  shared_->hand.load();
  Cursor units = shared_->tree.store.scan(format::kind_prefix(0, format::KeyKind::kUnit));
  // An error counts as "perhaps": looking for pins costs time, not looking could evict one.
  shared_->has_units = units.valid() || !units.status();
  shared_->started = true;
  // Keeps the state alive, not the tree: stop() takes the hook away first.
  shared_->tree.store.set_room_hook([shared = shared_] {
    {
      const MutexLock lock(shared->mutex);
      shared->room_wanted = true;
    }
    want_job(shared);
  });
}

Result<void> Evictor::stop() {
  if (!shared_ || !shared_->started.exchange(false)) return {};
  // The store does not call any more, then our own job ends; what was asked for is not answered, as nobody waits for
  // it.
  shared_->tree.store.set_room_hook({});
  {
    const MutexLock lock(shared_->mutex);
    shared_->stopping = true;
    const auto ready = [this] {
      shared_->mutex.assert_held();
      return !shared_->running;
    };
    shared_->executor.wait(shared_->mutex, shared_->changed, ready);
  }
  // Saving would be refused.
  if (shared_->tree.store.stats().read_only) return {};
  return shared_->hand.save(/*now=*/true);
}

void Evictor::set_listener(std::function<void(const LostName&)> listener) {
  if (!shared_) return;
  const MutexLock lock(shared_->mutex);
  // A job that runs has its own copy of the old one: the caller may destroy it only when that job has ended.
  shared_->listener = std::move(listener);
  const auto ready = [this] {
    shared_->mutex.assert_held();
    return !shared_->running;
  };
  shared_->executor.wait(shared_->mutex, shared_->changed, ready);
}

void Evictor::made(Ino ino) {
  if (shared_) shared_->queue.add(ino);
}

void Evictor::gone(Ino ino) {
  if (shared_) shared_->queue.remove(ino);
}

void Evictor::used(Ino ino) {
  if (shared_) shared_->queue.visit(ino);
}

void Evictor::used_group(Ino ino) {
  // The way up to the root costs lookups: nobody goes it without need.
  if (!shared_ || !shared_->has_units) return;
  const auto unit = unit_of(shared_->tree, ino);
  if (unit && unit->group != 0) shared_->queue.visit(unit->group);  // an error: it counts as not used
}

void Evictor::units_changed() {
  if (!shared_) return;
  shared_->has_units = true;
  released();
}

void Evictor::released() {
  // Only somebody who was told "nothing left" has to hear of it.
  if (!shared_ || !shared_->started || !shared_->exhausted.exchange(false)) return;
  shared_->tree.store.evicted(/*more=*/true);
}

void Evictor::damaged(Ino ino, const Error& error) {
  if (!shared_ || !shared_->started) return;
  shared_->tree.note_error("damaged_file_dropped", ino, error);
  {
    const MutexLock lock(shared_->mutex);
    shared_->damaged.push_back(ino);
  }
  want_job(shared_);
}

void Evictor::want_job(const std::shared_ptr<Shared>& shared) {
  {
    const MutexLock lock(shared->mutex);
    // One job at a time: the hand is its own.
    if (shared->stopping || shared->scheduled) return;
    shared->scheduled = true;
  }
  shared->executor.submit([shared] { run(shared); });
}

// A batch, then back into the executor's queue: other work gets its turn, and what is dead by now can be reclaimed.
void Evictor::run(const std::shared_ptr<Shared>& shared) {
  SieveHand::Listener tell;
  std::deque<Ino> damaged;
  bool room_wanted = false;
  {
    const MutexLock lock(shared->mutex);
    if (shared->stopping) {
      shared->scheduled = false;
      shared->changed.notify_all();
      return;
    }
    CHECK(!shared->running);
    shared->running = true;
    damaged.swap(shared->damaged);
    room_wanted = std::exchange(shared->room_wanted, false);
    tell = shared->listener;
  }
  if (!tell) tell = [](const LostName&) {};
  for (const Ino ino : damaged) shared->hand.evict_damaged(ino, tell);
  if (room_wanted) shared->make_room(tell);
  // No reason to stop: what is lost is an order.
  if (auto saved = shared->hand.save(/*now=*/false); !saved) {
    shared->tree.note_error("eviction_state_not_saved", 0, saved.error());
  }
  bool again = false;
  {
    const MutexLock lock(shared->mutex);
    shared->running = false;
    again = !shared->stopping && (shared->room_wanted || !shared->damaged.empty());
    shared->scheduled = again;
    shared->changed.notify_all();
  }
  if (again) shared->executor.submit([shared] { run(shared); });
}

void Evictor::Shared::make_room(const SieveHand::Listener& tell) {
  // Asked when the work begins: it may have changed since the hook was called.
  if (owed == 0) owed = tree.store.room_deficit();
  const SieveHand::Progress progress = hand.evict_some(owed, has_units, tell);
  if (progress.exhausted) {
    const uint64_t now = tree.store.env().monotonic_ms();
    if (!exhausted.exchange(true) && (logged_ms == 0 || now - logged_ms >= kLogAgainMs)) {
      logged_ms = now;
      tree.logger->warn("nothing_to_evict wanted_bytes={} open_files={} pinned_files={}", owed, progress.open,
                        progress.pinned);
    }
    owed = 0;
    return tree.store.evicted(/*more=*/false);
  }
  // Less of the two: others (unlink, truncation) make room meanwhile.
  owed = std::min(owed - std::min(owed, progress.freed), tree.store.room_deficit());
  if (owed == 0) return tree.store.evicted(/*more=*/true);
  const MutexLock lock(mutex);
  room_wanted = true;
}

void Evictor::drain() {
  if (!shared_) return;
  const MutexLock lock(shared_->mutex);
  const auto ready = [this] {
    shared_->mutex.assert_held();
    return !shared_->scheduled;
  };
  shared_->executor.wait(shared_->mutex, shared_->changed, ready);
}

void Evictor::add_to(CacheStats& stats) const {
  if (!shared_) return;
  shared_->log.add_to(stats);
  if (!shared_->has_units) return;
  const auto pinned = count_pinned(shared_->tree);
  if (!pinned) return shared_->tree.note_error("pinned_not_counted", 0, pinned.error());
  stats.pinned_files = pinned->files;
  stats.pinned_bytes = pinned->bytes;
}

}  // namespace cairn::tree
