#include "tree/sweeper.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "io/env.h"
#include "tree/chunks.h"
#include "tree/edit.h"
#include "tree/names.h"
#include "tree/tree.h"

namespace cairn::tree {
namespace {

constexpr size_t kStepChildren = 64;
constexpr uint64_t kEraseAtOnce = 64;  // keys of a child that goes with its name
constexpr uint64_t kStepKeys = 1024;   // at most, so that a step is short and its batch small
static_assert(kStepKeys > format::kMaxPatches && kStepChildren > 0);

// What ends an erasure: the attributes and the orphan's marker.
uint64_t last_step_cost() { return 4 * erase_cost() + attributes_cost_max(); }

bool has_room(const Edit& edit, ByteView key) { return edit.room_left() >= log_cost(key.size(), 0) + last_step_cost(); }

// All keys of an inode that has no name: chunks first, they may be many; the attributes last.
Result<bool> erase_step(Tree& tree, Edit& edit, Inode& inode) REQUIRES(inode.mutex) {
  // Somebody opened it since: whoever releases it last submits it again.
  if (inode.life == Life::kUnlinked && tree.in_use(inode)) return false;
  inode.life = Life::kDying;
  // What only memory has goes first, so that no commit writes it back.
  drop_chunks(edit.operation(), inode, 0, UINT64_MAX);
  Cursor cursor = tree.store.scan(format::inode_prefix(inode.ino));
  // Behind what is erased already: the cursor would have to step over all those erases.
  if (inode.sweep_next != 0) cursor.seek(format::chunk_key(inode.ino, inode.sweep_next));
  uint64_t next = inode.sweep_next;
  uint64_t n = 0;
  for (; cursor.valid() && n < kStepKeys && has_room(edit, cursor.key()); cursor.next()) {
    const auto key = format::decode_tree_key(cursor.key());
    // Last, with the orphan's marker: until then a restart finds where to go on.
    if (key && key->kind == format::KeyKind::kAttributes) continue;
    if (key && key->kind == format::KeyKind::kChunk) next = key->number;
    edit.batch().erase(cursor.key());
    ++n;
  }
  const bool more = cursor.valid();
  TRY(cursor.status());
  if (!more) {
    edit.batch().erase(format::orphan_key(inode.ino));
    if (inode.attributes.sweep_from != format::kNoSweep) edit.batch().erase(format::sweep_key(inode.ino));
    if (inode.attributes.xattrs != 0) edit.batch().erase(format::unit_key(inode.ino));
    edit.erase(inode);
  }
  TRY(edit.commit());
  CHECK(next >= inode.sweep_next);
  inode.sweep_next = next;
  return more;
}

// The chunks behind the end of a truncated file.
Result<bool> cut_step(Tree& tree, Edit& edit, Inode& inode) REQUIRES(inode.mutex) {
  uint64_t next = std::max(inode.attributes.sweep_from, inode.sweep_next);
  CHECK(inode.attributes.sweep_from != format::kNoSweep);
  inode.known_patches.reset();
  format::Attributes& draft = edit.draft(inode);
  Cursor cursor = tree.store.scan(format::kind_prefix(inode.ino, format::KeyKind::kChunk));
  cursor.seek(format::chunk_key(inode.ino, next));
  for (uint64_t n = 0; cursor.valid() && n < kStepKeys && has_room(edit, cursor.key()); cursor.next(), ++n) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    next = key.number;
    edit.batch().erase(cursor.key());
  }
  const bool more = cursor.valid();
  TRY(cursor.status());
  if (!more) {
    // In the batch of the last chunks: the file may grow again from here on.
    draft.sweep_from = format::kNoSweep;
    edit.batch().erase(format::sweep_key(inode.ino));
  }
  TRY(edit.commit());
  inode.sweep_next = more ? next : 0;
  return more;
}

// ---- Directories that were evicted with all that is below them ----

struct Child {
  Bytes name;
  format::Entry entry;
};

Result<std::vector<Child>> first_children(const Tree& tree, Inode& directory) EXCLUDES(directory.mutex) {
  std::vector<Child> out;
  const ReadLock lock(directory.mutex);
  if (!directory.loaded || directory.erased) return out;
  // Only one without a name is taken apart.
  if (!directory.attributes.is_directory() || directory.attributes.links != 0) return out;
  Cursor cursor = tree.store.scan(format::kind_prefix(directory.ino, format::KeyKind::kListing));
  for (; cursor.valid() && out.size() < kStepChildren; cursor.next()) {
    TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
    TRY_ASSIGN(const Value value, cursor.value());
    TRY_ASSIGN(const auto listing, format::decode_listing(value.view()));
    out.push_back({Bytes(listing.name), {.ino = listing.ino, .type = listing.type, .cookie = key.number}});
  }
  TRY(cursor.status());
  return out;
}

// One of them loses this name, and with its last one whatever it is: a directory becomes the next to be swept.
Result<void> drop_child(Tree& tree, Inode& directory, const Child& child) NO_THREAD_SAFETY_ANALYSIS {
  const InodeRef inode = tree.inodes.get(child.entry.ino);
  const uint64_t room = name_cost(child.name.size()) + name_cost(kMaxNameSize) + attributes_cost_max() +
                        attributes_cost_max(kMaxSymlinkSize) + drop_cost() + kEraseAtOnce * erase_cost();
  TRY_ASSIGN(auto edit, Edit::begin(tree, room, Store::OperationKind::kFree));
  // The directory has no name, so nobody adds to it; a child may have other names elsewhere.
  const InodeLocks locks(&directory, inode.get());
  remove_name(edit, directory, child.name, child.entry);
  const bool usable = require_usable(*inode).has_value();  // else the name leads nowhere, and only it has to go
  if (usable) TRY(drop_link(tree, edit, *inode, directory.ino, child.name));
  TRY(edit.commit());
  if (usable) after_eviction(tree, *inode);
  return {};
}

}  // namespace

Result<bool> sweep_step(Tree& tree, Inode& inode) {
  TRY_ASSIGN(const auto children, first_children(tree, inode));
  for (const Child& child : children) TRY(drop_child(tree, inode, child));
  if (!children.empty()) return true;
  const uint64_t room = kStepKeys * erase_cost() + last_step_cost();
  TRY_ASSIGN(auto edit, Edit::begin(tree, room, Store::OperationKind::kFree));
  const WriteLock lock(inode.mutex);
  if (!inode.loaded) return fail(inode.load_error);
  // Submitted twice, perhaps: by its last close and by the start.
  if (inode.erased) return false;
  if (inode.attributes.links == 0) return erase_step(tree, edit, inode);
  if (inode.attributes.sweep_from != format::kNoSweep) return cut_step(tree, edit, inode);
  return false;
}

Result<void> finish_sweep(Tree& tree, Inode& inode) {
  for (;;) {
    {
      const ReadLock lock(inode.mutex);
      if (inode.attributes.links == 0 && inode.life == Life::kDying) return fail(ErrorCode::kStale);
      if (inode.attributes.sweep_from == format::kNoSweep) return {};
    }
    TRY(sweep_step(tree, inode));
  }
}

struct Sweeper::Shared {
  Mutex mutex;  // a leaf
  CondVar changed;
  Tree* tree GUARDED_BY(mutex) = nullptr;
  io::Executor* executor = nullptr;
  std::deque<Ino> queue GUARDED_BY(mutex);
  bool scheduled GUARDED_BY(mutex) = false;  // a job is waiting or running
  bool running GUARDED_BY(mutex) = false;    // it is using the tree
  bool stopping GUARDED_BY(mutex) = false;
};

Sweeper::Sweeper(Tree& tree) : shared_(std::make_shared<Shared>()) {
  const MutexLock lock(shared_->mutex);
  shared_->tree = &tree;
  shared_->executor = &tree.store.env().executor();
}

Sweeper::~Sweeper() { stop(); }

Result<void> Sweeper::resume() {
  Tree* tree = nullptr;
  {
    const MutexLock lock(shared_->mutex);
    tree = shared_->tree;
  }
  for (const auto kind : {format::KeyKind::kOrphan, format::KeyKind::kSweep}) {
    Cursor cursor = tree->store.scan(format::kind_prefix(0, kind));
    for (; cursor.valid(); cursor.next()) {
      TRY_ASSIGN(const auto key, format::decode_tree_key(cursor.key()));
      // Twice does no harm: the second time there is nothing to do.
      submit(key.ino);
    }
    TRY(cursor.status());
  }
  return {};
}

void Sweeper::submit(Ino ino) {
  const std::shared_ptr<Shared>& shared = shared_;
  {
    const MutexLock lock(shared->mutex);
    if (shared->stopping) return;
    shared->queue.push_back(ino);
    if (shared->scheduled) return;
    shared->scheduled = true;
  }
  schedule(shared);
}

void Sweeper::schedule(const std::shared_ptr<Shared>& shared) {
  shared->executor->submit([shared] { run(shared); });
}

// One step, then back into the executor's queue: other work gets its turn.
void Sweeper::run(const std::shared_ptr<Shared>& shared) {
  Tree* tree = nullptr;
  Ino ino = 0;
  {
    const MutexLock lock(shared->mutex);
    if (shared->stopping || shared->queue.empty()) {
      shared->scheduled = false;
      shared->changed.notify_all();
      return;
    }
    tree = shared->tree;
    ino = shared->queue.front();
    shared->queue.pop_front();
    CHECK(!shared->running);
    shared->running = true;
  }
  // Without the lock: stop() waits for `running`, and the tree lives until then.
  const InodeRef inode = tree->inodes.get(ino);
  const auto more = sweep_step(*tree, *inode);
  if (!more && more.error().code != ErrorCode::kStale) tree->note_error("sweep_failed", ino, more.error());
  bool again = false;
  {
    const MutexLock lock(shared->mutex);
    if (!more && more.error().code == ErrorCode::kReadOnly) shared->queue.clear();  // all the others would say the same
    // To the end of the queue: a huge file does not keep small ones waiting.
    if (more && *more) shared->queue.push_back(ino);
    shared->running = false;
    again = !shared->stopping && !shared->queue.empty();
    shared->scheduled = again;
    shared->changed.notify_all();
  }
  if (again) schedule(shared);
}

void Sweeper::drain() {
  const MutexLock lock(shared_->mutex);
  const auto ready = [this] {
    shared_->mutex.assert_held();
    return !shared_->running && (shared_->queue.empty() || shared_->stopping);
  };
  shared_->executor->wait(shared_->mutex, shared_->changed, ready);
}

void Sweeper::stop() {
  const MutexLock lock(shared_->mutex);
  shared_->stopping = true;
  const auto ready = [this] {
    shared_->mutex.assert_held();
    return !shared_->running;
  };
  shared_->executor->wait(shared_->mutex, shared_->changed, ready);
}

}  // namespace cairn::tree
