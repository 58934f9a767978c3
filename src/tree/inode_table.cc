#include "tree/inode_table.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace cairn::tree {

InodeTable::InodeTable(const Store& store, uint64_t idle_max)
    : store_(store), idle_max_(std::max<uint64_t>(1, idle_max / kShards)) {}

// Whoever finds no inode publishes a locked one and fills it: others wait for its mutex, nobody reads the store twice, and
// no reader can bring back what a writer changed meanwhile. The analysis does not follow a lock into a shared object.
InodeRef InodeTable::get(Ino ino) NO_THREAD_SAFETY_ANALYSIS {
  Shard& shard = shard_of(ino);
  InodeRef inode;
  {
    const MutexLock lock(shard.mutex);
    if (const auto found = shard.slots.find(ino); found != shard.slots.end()) {
      Slot& slot = found->second;
      if (slot.idle) shard.idle.splice(shard.idle.begin(), shard.idle, slot.position);
      return slot.inode;
    }
    inode = std::make_shared<Inode>(ino);
    inode->mutex.lock();
    Slot& slot = shard.slots.emplace(ino, Slot{.inode = inode, .position = {}}).first->second;
    make_idle(shard, ino, slot);
  }
  load(*inode);
  const bool failed = !inode->loaded;
  inode->mutex.unlock();
  if (failed) {
    inode->erased = true;  // nothing of it is worth keeping: the next one to ask reads the store again
    drop_if_uncounted(*inode);
  }
  return inode;
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
  inode.attributes = std::move(*attributes);
  inode.loaded = true;
  // Without a name after a restart: nobody can have it open, the sweeper is on its way.
  if (inode.attributes.links == 0) inode.life = Life::kDying;
}

void InodeTable::publish(const InodeRef& inode, uint64_t lookups, uint64_t opens) {
  Shard& shard = shard_of(inode->ino);
  const MutexLock lock(shard.mutex);
  // Somebody who guesses numbers may just be finding out that there is no such inode.
  Slot& slot = shard.slots[inode->ino];
  slot.inode = inode;
  count(shard, slot, lookups, opens);
}

void InodeTable::withdraw(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  CHECK(found != shard.slots.end() && found->second.inode.get() == &inode && !found->second.idle);
  shard.slots.erase(found);
}

void InodeTable::count(Shard& shard, Slot& slot, uint64_t lookups, uint64_t opens) {
  if (slot.idle) {
    shard.idle.erase(slot.position);
    slot.idle = false;
  }
  slot.lookups += lookups;
  slot.opens += opens;
}

void InodeTable::count_lookup(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  if (found != shard.slots.end() && found->second.inode.get() == &inode) count(shard, found->second, 1, 0);
}

void InodeTable::count_open(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  CHECK(found != shard.slots.end() && found->second.inode.get() == &inode);
  count(shard, found->second, 0, 1);
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
  InodeRef inode = found->second.inode;
  if (found->second.lookups != 0 || found->second.opens != 0) return inode;
  if (inode->erased) {
    shard.slots.erase(found);
  } else {
    make_idle(shard, ino, found->second);
  }
  return inode;
}

void InodeTable::make_idle(Shard& shard, Ino ino, Slot& slot) {
  if (slot.idle) return;
  shard.idle.push_front(ino);
  slot.position = shard.idle.begin();
  slot.idle = true;
  // Dirty inodes and those in use are referenced from elsewhere too; a reference that only the table has can gain no other,
  // as that takes the shard's mutex.
  constexpr int kTries = 8;
  for (int i = 0; i < kTries && shard.idle.size() > idle_max_; ++i) {
    const auto last = std::prev(shard.idle.end());
    const auto victim = shard.slots.find(*last);
    if (victim->second.inode.use_count() == 1) {
      shard.idle.erase(last);
      shard.slots.erase(victim);
    } else {
      shard.idle.splice(shard.idle.begin(), shard.idle, last);
    }
  }
}

void InodeTable::drop_if_uncounted(const Inode& inode) {
  Shard& shard = shard_of(inode.ino);
  const MutexLock lock(shard.mutex);
  const auto found = shard.slots.find(inode.ino);
  if (found == shard.slots.end() || found->second.inode.get() != &inode) return;
  const Slot& slot = found->second;
  if (slot.lookups != 0 || slot.opens != 0) return;
  if (slot.idle) shard.idle.erase(slot.position);
  shard.slots.erase(found);
}

uint64_t InodeTable::counted() const {
  uint64_t n = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    n += shard.slots.size() - shard.idle.size();
  }
  return n;
}

uint64_t InodeTable::size() const {
  uint64_t n = 0;
  for (const Shard& shard : shards_) {
    const MutexLock lock(shard.mutex);
    n += shard.slots.size();
  }
  return n;
}

}  // namespace cairn::tree
