#include "tree/inode_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cairn::tree {

namespace {

// Whether the store has all of an inode that only the table still refers to. Nobody can be holding its mutex then, so it is
// only tried: elsewhere a shard's mutex comes after an inode's.
bool can_be_loaded_again(Inode& inode) {
  if (!inode.mutex.try_lock_shared()) return false;
  const bool can = inode.loaded && inode.life == Life::kAlive && !inode.erased && !inode.dirty && inode.chunks.empty();
  inode.mutex.unlock_shared();
  return can;
}

}  // namespace

InodeTable::InodeTable(const Store& store, uint64_t objects_max)
    : store_(store), objects_max_(std::max<uint64_t>(1, objects_max / kShards)) {}

// Whoever finds no inode publishes a locked one and fills it: others wait for its mutex, nobody reads the store twice, and
// no reader can bring back what a writer changed meanwhile. The analysis does not follow a lock into a shared object.
InodeRef InodeTable::get(Ino ino) NO_THREAD_SAFETY_ANALYSIS {
  Shard& shard = shard_of(ino);
  InodeRef inode;
  {
    const MutexLock lock(shard.mutex);
    Slot& slot = shard.slots[ino];
    if (slot.inode) {
      shard.recent.splice(shard.recent.begin(), shard.recent, slot.position);
      return slot.inode;
    }
    inode = std::make_shared<Inode>(ino);
    CHECK(inode->mutex.try_lock());  // nobody has it yet; a lock() here would be against the order of locks
    put(shard, ino, slot, inode);
    trim(shard);
  }
  load(*inode);
  const bool failed = !inode->loaded;
  inode->mutex.unlock();
  if (failed) withdraw_failed(*inode);  // nothing of it is worth keeping: the next one to ask reads the store again
  return inode;
}

InodeRef InodeTable::known(Ino ino) const {
  const Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(ino);
  if (found == shard.slots.end() || found->second.lookups == 0) return nullptr;
  return found->second.inode;
}

void InodeTable::load(Inode& inode) {
  auto value = store_.get(format::attributes_key(inode.ino));
  if (!value) {
    const bool absent = value.error().code == ErrorCode::kNotFound;
    inode.load_error = absent ? Error(ErrorCode::kStale) : std::move(value).error();
    return;
  }
  auto attributes = format::decode_attributes(value->view());
  if (!attributes) {
    inode.load_error = std::move(attributes).error();
    return;
  }
  if (!is_current(inode)) {
    // Made and published while this read the store, which had it by then. Whoever came before that asked for what was not there.
    inode.load_error = Error(ErrorCode::kStale);
    return;
  }
  inode.attributes = std::move(*attributes);
  inode.loaded = true;
  // Without a name after a restart: nobody can have it open, the sweeper is on its way.
  if (inode.attributes.links == 0) inode.life = Life::kDying;
}

bool InodeTable::is_current(const Inode& inode) const {
  const Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  return found != shard.slots.end() && found->second.inode.get() == &inode;
}

void InodeTable::withdraw_failed(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  // Somebody else's object by now: a file of that number was published meanwhile.
  if (found == shard.slots.end() || found->second.inode.get() != &inode) return;
  drop_object(shard, found->second);
  if (!found->second.counted()) shard.slots.erase(found);
}

void InodeTable::publish(const InodeRef& inode, uint64_t lookups, uint64_t opens) {
  Shard& shard = shard_of(inode->ino);
  const MutexLock lock(shard.mutex);
  // Somebody who guesses numbers may just be finding out that there is no such inode.
  Slot& slot = shard.slots[inode->ino];
  if (slot.inode) drop_object(shard, slot);
  put(shard, inode->ino, slot, inode);
  slot.lookups += lookups;
  slot.opens += opens;
  trim(shard);
}

void InodeTable::withdraw(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  CHECK(found != shard.slots.end() && found->second.inode.get() == &inode && found->second.counted());
  drop_object(shard, found->second);
  shard.slots.erase(found);
}

void InodeTable::count_lookup(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  if (found != shard.slots.end() && found->second.inode.get() == &inode) ++found->second.lookups;
}

void InodeTable::count_open(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  // The caller holds a reference, and an object that is referenced is not trimmed.
  CHECK(found != shard.slots.end() && found->second.inode.get() == &inode);
  ++found->second.opens;
}

uint64_t InodeTable::opens(const Inode& inode) const {
  const Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  return found == shard.slots.end() ? 0 : found->second.opens;
}

uint64_t InodeTable::lookups(const Inode& inode) const {
  const Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  return found == shard.slots.end() ? 0 : found->second.lookups;
}

InodeRef InodeTable::forget(Ino ino, uint64_t n) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(ino);
  if (found == shard.slots.end() || found->second.lookups == 0) return nullptr;
  Slot& slot = found->second;
  // Clipped: the kernel's word about its own counts is taken, but never below zero (hazard 41).
  slot.lookups -= std::min(n, slot.lookups);
  return slot.lookups == 0 ? uncounted(shard, ino) : nullptr;
}

InodeRef InodeTable::release(Ino ino) {
  Shard& shard = shard_of(ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(ino);
  if (found == shard.slots.end() || found->second.opens == 0) return nullptr;
  Slot& slot = found->second;
  --slot.opens;
  return slot.opens == 0 ? uncounted(shard, ino) : nullptr;
}

// One kind of count of `ino` has just become zero.
InodeRef InodeTable::uncounted(Shard& shard, Ino ino) {
  const auto found = shard.slots.find(ino);
  CHECK(found != shard.slots.end());
  InodeRef inode = found->second.inode;
  if (found->second.counted()) return inode;
  if (inode && inode->erased) drop_object(shard, found->second);
  if (!found->second.inode) shard.slots.erase(found);
  return inode;
}

void InodeTable::put(Shard& shard, Ino ino, Slot& slot, const InodeRef& inode) {
  DCHECK(slot.inode == nullptr);
  shard.recent.push_front(ino);
  slot.inode = inode;
  slot.position = shard.recent.begin();
}

void InodeTable::drop_object(Shard& shard, Slot& slot) {
  CHECK(slot.inode != nullptr);
  shard.recent.erase(slot.position);
  slot.inode.reset();
}

// Dirty inodes and those in use are referenced from elsewhere too; a reference that only the table has can gain no other, as
// that takes the shard's mutex.
void InodeTable::trim(Shard& shard) const {
  // Bounded: with everything in use the table is larger for a while, and nobody waits for it.
  constexpr int kTries = 8;
  for (int i = 0; i < kTries && shard.recent.size() > objects_max_; ++i) {
    const auto last = std::prev(shard.recent.end());
    const auto found = shard.slots.find(*last);
    Slot& slot = found->second;
    if (slot.opens == 0 && slot.inode.use_count() == 1 && can_be_loaded_again(*slot.inode)) {
      drop_object(shard, slot);
      if (!slot.counted()) shard.slots.erase(found);
    } else {
      shard.recent.splice(shard.recent.begin(), shard.recent, last);
    }
  }
}

void InodeTable::drop_if_uncounted(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  if (found == shard.slots.end() || found->second.inode.get() != &inode || found->second.counted()) return;
  drop_object(shard, found->second);
  shard.slots.erase(found);
}

uint64_t InodeTable::counted() const {
  uint64_t n = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    for (const auto& [ino, slot] : shard.slots) n += slot.counted() ? 1 : 0;
  }
  return n;
}

uint64_t InodeTable::objects() const {
  uint64_t n = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    n += shard.recent.size();
  }
  return n;
}

}  // namespace cairn::tree
