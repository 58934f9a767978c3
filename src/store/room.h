// How much of the disk the store takes, and who may take the last of it.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <utility>

#include "base/mutex.h"
#include "base/types.h"

namespace cairn::store {

// Bytes of records that were replaced.
struct Doomed {
  uint64_t all = 0;
  uint64_t sealed = 0;  // of them: only these take any of the disk
  Doomed& operator+=(const Doomed& more) {
    all += more.all;
    sealed += more.sealed;
    return *this;
  }
};

// Every file of the store is paid for here before its first byte is allocated, and given back after its last one is gone; so
// what is allocated never exceeds used(), and used() never the limit (hazard 24). What is not paid for file by file (directories,
// manifest, lock, blocks in which the file system keeps extents) comes out of a fixed share of the limit.
//
// The last of the limit is kept for those who make room: only maintenance may use all of it, sealing and what frees space all but
// a little, and what grows the store stays below them. Without a limit (cas) everything fits, and used() is a statistic.
//
// Others may leave less of the disk than the limit allows: then what the disk lacks is evicted for as well (shortage()).
//
// Also the estimate of what is on its way out: dead records that wait for a seal, for their kills, or for compaction.
//
// Thread-safe. Reading takes no lock: begin() looks at every operation.
class Room {
 public:
  enum class Use : uint8_t {
    kGrow,      // a segment for new data
    kFree,      // a segment for erases
    kSeal,      // a segment so that the one before, which holds erases, can be sealed: before that they free nothing
    kMaintain,  // a compacted segment, a table
  };
  Room(uint64_t limit, uint64_t segment_size);

  // Another limit. A greater one holds at once. A smaller one as soon as what is used fits it: until then nothing grows beyond
  // it and evictions are asked for, while those who make room may still use the old one. True if `limit` is the limit now;
  // else it is aimed at, and to be tried again when room has come free.
  [[nodiscard]] bool try_limit(uint64_t limit);
  // Aims at nothing less than the present limit any more.
  void keep_limit();
  [[nodiscard]] uint64_t limit() const { return limit_; }  // bytes; 0: none
  [[nodiscard]] bool limited() const { return limit() != 0; }
  [[nodiscard]] uint64_t used() const { return used_; }
  // What a file of `size` bytes is charged with, at most: whole blocks, and one of the file system's own.
  static uint64_t charge(uint64_t size);

  // All or nothing.
  [[nodiscard]] bool take(uint64_t bytes, Use use);
  // What is on disk already, or must be.
  void add(uint64_t bytes) { used_ += bytes; }
  void give_back(uint64_t bytes);
  // What was taken but never used: no file became smaller. It is room that came free only if somebody was refused meanwhile, that
  // is since refusals() was `refusals`; else who waits for the disk would take an attempt that failed for room, for ever.
  void take_back(uint64_t bytes, uint64_t refusals);
  [[nodiscard]] uint64_t refusals() const { return refusals_; }
  [[nodiscard]] bool fits(uint64_t bytes, Use use) const { return !limited() || used() + bytes <= line(use); }
  // What take() would give at most at this moment; without a limit, UINT64_MAX.
  [[nodiscard]] uint64_t left(Use use) const;
  [[nodiscard]] bool may_grow() const { return fits(0, Use::kGrow); }
  // Three quarters of the limit are used, or less than two more segments fit: from here on what is dead takes no more than its
  // share. Well below the line at which writers wait, as evictions free more than was asked for, and what they killed would stay.
  [[nodiscard]] bool is_filling() const {
    return limited() && (used() > goal_ / 4 * 3 || !fits(2 * segment_size_, Use::kGrow) || shortage() > 0);
  }
  // Bytes that maintenance may write in one go without exceeding the limit.
  [[nodiscard]] uint64_t maintenance_step() const;
  // Grows with every change, so that one can tell whether anything happened meanwhile.
  [[nodiscard]] uint64_t events() const { return events_; }
  [[nodiscard]] uint64_t freed() const { return freed_; }  // grows whenever bytes are given back
  void note_event() { ++events_; }

  // Footers of so many bytes are not merged yet: all others leave maintenance room for the tables that come of them, however far
  // it is behind, as nothing of their segments comes back before.
  void owe(uint64_t bytes) { owed_ += bytes; }
  void settle(uint64_t bytes);
  // Records were replaced by newer ones in the log segment `by`, of which the kills are not yet done.
  void doom(SegmentId by, const Doomed& records) EXCLUDES(mu_);
  // Its kills are done: from now on the liveness bits say it.
  void killed(SegmentId by) EXCLUDES(mu_);
  [[nodiscard]] uint64_t doomed() const { return doomed_; }
  // Bytes of dead records that compaction and punching will give back.
  void set_reclaimable(uint64_t bytes) { reclaimable_ = bytes; }
  [[nodiscard]] uint64_t reclaimable() const { return reclaimable_; }
  // The disk is full, although the limit is not: so many bytes more are to come back. What is given back goes off it, whoever has it
  // then: a disk that others fill again and again must not cost more than what was written meanwhile.
  void add_shortage(uint64_t bytes);
  void end_shortage();
  [[nodiscard]] uint64_t shortage() const { return shortage_; }
  // Live bytes of sealed segments: evicting more gives a full disk nothing.
  void set_sealed_live(uint64_t bytes) { sealed_live_ = bytes; }
  // Bytes that have to die so that the next segments fit: as many as are written while those bytes are on their way out.
  [[nodiscard]] uint64_t deficit() const;

 private:
  [[nodiscard]] uint64_t ahead() const;  // segments
  [[nodiscard]] uint64_t line(Use use) const;
  [[nodiscard]] uint64_t unit(uint64_t limit) const;

  const uint64_t segment_size_;  // bytes
  std::atomic<uint64_t> limit_;
  std::atomic<uint64_t> goal_;  // what growing goes by: limit_, or less
  std::atomic<uint64_t> used_ = 0;
  std::atomic<uint64_t> owed_ = 0;
  std::atomic<uint64_t> doomed_ = 0;
  std::atomic<uint64_t> doomed_sealed_ = 0;
  std::atomic<uint64_t> reclaimable_ = 0;
  std::atomic<uint64_t> shortage_ = 0;
  std::atomic<uint64_t> sealed_live_ = 0;
  std::atomic<uint64_t> events_ = 0;
  std::atomic<uint64_t> freed_ = 0;
  std::atomic<uint64_t> refusals_ = 0;
  mutable Mutex mu_;  // a leaf
  std::map<SegmentId, Doomed> doomed_by_ GUARDED_BY(mu_);
};

// Room that is given back unless it is kept. Movable.
class RoomClaim {
 public:
  RoomClaim() = default;
  RoomClaim(Room* room, uint64_t bytes) : room_(room), bytes_(bytes), refusals_(room->refusals()) {}
  RoomClaim(RoomClaim&& other) noexcept
      : room_(std::exchange(other.room_, nullptr)),
        bytes_(std::exchange(other.bytes_, 0)),
        refusals_(other.refusals_) {}
  // Swaps: what it held goes back when `other` goes.
  RoomClaim& operator=(RoomClaim&& other) noexcept {
    std::swap(room_, other.room_);
    std::swap(bytes_, other.bytes_);
    std::swap(refusals_, other.refusals_);
    return *this;
  }
  ~RoomClaim() { shrink_to(0); }
  // So much of it will not be used.
  void shrink_to(uint64_t bytes) {
    if (!room_ || bytes >= bytes_) return;
    const uint64_t before = std::exchange(bytes_, bytes);
    room_->take_back(before - bytes, refusals_);
  }
  // The file stays: whoever removes it gives the bytes back.
  uint64_t keep() {
    room_ = nullptr;
    return std::exchange(bytes_, 0);
  }

 private:
  Room* room_ = nullptr;
  uint64_t bytes_ = 0;
  uint64_t refusals_ = 0;  // when it was taken
};

}  // namespace cairn::store
