#include "store/room.h"

#include <algorithm>

#include "base/check.h"
#include "io/env.h"

namespace cairn::store {
namespace {

static_assert(io::kBlockSize == 4096, "what file systems allocate in");
constexpr uint64_t kFixed = 192 << 10;     // bytes: directories, superblock, lock, manifest and its successor
constexpr uint64_t kFixedShare = 512;      // and this part of the limit: their growth with it, and blocks of extents
constexpr uint64_t kMaintenanceUnits = 1;  // what only maintenance may use
constexpr uint64_t kSealSegments = 1;      // what only seals that are forced, and maintenance, may use
constexpr uint64_t kFreeSegments = 2;      // the same for erases

}  // namespace

Room::Room(uint64_t limit, uint64_t segment_size) : segment_size_(segment_size), limit_(limit), goal_(limit) {}

uint64_t Room::charge(uint64_t size) {
  // One block more: a file system may need one to say where the others are.
  return (size + io::kBlockSize - 1) / io::kBlockSize * io::kBlockSize + io::kBlockSize;
}

// What small stores with tiny segments would otherwise not have for a merge.
uint64_t Room::unit(uint64_t limit) const { return std::max<uint64_t>(charge(segment_size_), limit / 64); }

// Four, measured: with two, writers wait for what they could have had sooner. A store of few segments cannot spare that many.
uint64_t Room::ahead() const { return std::clamp<uint64_t>(goal_ / segment_size_ / 16, 2, 4); }

uint64_t Room::maintenance_step() const { return limited() ? unit(goal_) / 2 : UINT64_MAX; }

bool Room::try_limit(uint64_t limit) {
  goal_ = limit;
  // Below the line for growing there is room for what others are taking at this moment by the old limit: a segment of the
  // log and a step of maintenance.
  const bool holds = limit >= limit_ || fits(0, Use::kGrow);
  if (holds) limit_ = limit;
  ++events_;
  return holds;
}

void Room::keep_limit() {
  goal_ = limit_.load();
  ++events_;
}

uint64_t Room::line(Use use) const {
  const uint64_t limit = use == Use::kGrow ? goal_ : limit_;
  uint64_t kept = kFixed + limit / kFixedShare;
  if (use != Use::kMaintain) kept += kMaintenanceUnits * unit(limit) + owed_;
  if (use == Use::kFree || use == Use::kGrow) kept += kSealSegments * charge(segment_size_);
  if (use == Use::kGrow) kept += kFreeSegments * charge(segment_size_);
  return limit > kept ? limit - kept : 0;
}

uint64_t Room::left(Use use) const {
  if (!limited()) return UINT64_MAX;
  const uint64_t most = line(use);
  return most - std::min(most, used());
}

bool Room::take(uint64_t bytes, Use use) {
  uint64_t used = used_;
  bool noted = false;
  for (;;) {
    if (limited() && used + bytes > line(use)) {
      if (noted) return false;
      // Noted before the last look: whoever takes back after it sees the refusal.
      noted = true;
      ++refusals_;
      used = used_;
      continue;
    }
    DCHECK(used + bytes >= used);
    if (used_.compare_exchange_weak(used, used + bytes)) return true;
  }
}

void Room::give_back(uint64_t bytes) {
  const uint64_t before = used_.fetch_sub(bytes);
  CHECK(before >= bytes);
  uint64_t short_of = shortage_;
  while (short_of > 0 && !shortage_.compare_exchange_weak(short_of, short_of - std::min(short_of, bytes))) {
  }
  ++events_;
  ++freed_;
}

void Room::take_back(uint64_t bytes, uint64_t refusals) {
  const uint64_t before = used_.fetch_sub(bytes);
  CHECK(before >= bytes);
  if (refusals_ == refusals) return;
  ++events_;
  ++freed_;
}

void Room::settle(uint64_t bytes) {
  const uint64_t before = owed_.fetch_sub(bytes);
  CHECK(before >= bytes);
  ++events_;
}

void Room::doom(SegmentId by, const Doomed& records) {
  MutexLock lock(mu_);
  doomed_by_[by] += records;
  doomed_ += records.all;
  doomed_sealed_ += records.sealed;
  ++events_;
}

void Room::killed(SegmentId by) {
  MutexLock lock(mu_);
  const auto it = doomed_by_.find(by);
  if (it == doomed_by_.end()) return;
  CHECK(doomed_ >= it->second.all && doomed_sealed_ >= it->second.sealed);
  doomed_ -= it->second.all;
  doomed_sealed_ -= it->second.sealed;
  doomed_by_.erase(it);
  ++events_;
}

void Room::add_shortage(uint64_t bytes) {
  shortage_ += bytes;
  ++events_;
}

void Room::end_shortage() {
  if (shortage_.exchange(0) != 0) ++events_;
}

uint64_t Room::deficit() const {
  if (!limited()) return 0;
  const uint64_t wanted = used() + ahead() * charge(segment_size_);
  const auto less = [](uint64_t bytes, uint64_t help) { return bytes - std::min(bytes, help); };
  const uint64_t of_limit = less(wanted, line(Use::kGrow) + doomed() + reclaimable());
  const uint64_t of_disk = less(std::min(shortage(), sealed_live_.load()), doomed_sealed_ + reclaimable());
  return std::max(of_limit, of_disk);
}

}  // namespace cairn::store
