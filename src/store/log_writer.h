// The write pipeline: operations, batches, commit marks, group commit, seals.
#pragma once

#include <array>
#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "base/log.h"
#include "base/mutex.h"
#include "cairn/result.h"
#include "cairn/store.h"
#include "format/superblock.h"
#include "index/memtable.h"
#include "io/env.h"
#include "log/segment_writer.h"
#include "store/catalog.h"
#include "store/key_filter.h"
#include "store/reserve.h"
#include "store/room.h"

namespace cairn::store {

// One change, compressed and hashed, ready to be copied into the slab.
struct PreparedChange {
  format::RecordType type = format::RecordType::kPut;
  format::Codec codec = format::Codec::kNone;
  ByteView key;
  ByteView stored;
  Bytes storage;  // what `stored` points to if it was compressed
  uint32_t raw_length = 0;
  uint64_t value_checksum = 0;
  Doomed replaces;  // the record that dies by this one, as far as known (an estimate)
  std::shared_ptr<const Segment>
      extent;  // with the value, if that has its own segment; its file goes with the last reference
};

// Appends batches to the open segment, makes them visible in order, commits and seals.
//
// How a write goes: begin() promises room, in the open segment or, after a roll, in the next. write() takes sequence numbers and a
// range of the slab under mu_, fills it without the lock, adds to the memtable, and publishes in order. end() closes.
//
// The gate: a commit point (and a roll) shuts out new operations, waits for the open ones, runs the commit hook, and places
// the mark; then the gate opens, and only then the disk is touched. The I/O token (io_busy_) is held by whoever writes to
// segment files: one commit, seal or write-behind at a time, in log order. Token before gate; never wait for the token with the gate shut.
//
// A failed write or sync is final (hazard 14): every later begin() and sync() fails. kNoSpace for the next segment is not.
// In cache mode, which promises nothing about the disk, neither is: what could not be sealed stays in memory and is written to a new
// file, again and again (degraded(), log_retry.cc), and only the memory for that bounds what is written meanwhile.
// States of a segment here: prepared_ (a file, empty) -> active_ (filled) -> sealing_ (complete, waits for its footer)
// -> the catalog's. They move in this order only, one at a time, and the log's order is that of their ids.
//
// Thread-safe. Jobs it submits keep it alive through shared_from_this(). Functions that REQUIRE mu_ and return a
// Result, or wait, may let it go meanwhile: what was read before may have changed.
class LogWriter : public std::enable_shared_from_this<LogWriter> {
 public:
  // Pointers outlive the writer; `room` is where segment files are paid for.
  struct Config {
    io::Env* env = nullptr;
    std::shared_ptr<const SegmentFiles> files;
    std::shared_ptr<KeyFilter> filter;
    format::Superblock superblock;
    uint64_t commit_interval_ms = 0;  // 0: no timer
    std::shared_ptr<Logger> logger;
    std::shared_ptr<Room> room;
    std::shared_ptr<Reserve> reserve;  // may be none
    std::function<void()> on_sealed;   // called without locks after each seal
    std::function<void()> on_starved;  // somebody waits for room: called without locks
  };
  // Where the log goes on: what recovery found.
  struct Start {
    SeqNo next_seq{1};
    log::MarkPlace last_mark;
    SegmentId last_log;
    uint64_t next_number = 0;
  };
  LogWriter(Config config, Catalog* catalog, const Start& start);

  // Opens the first segment. Call once, before anything else. kNoSpace, kIo as making its file says.
  Result<void> start() EXCLUDES(mu_);
  // Hook, last commit, seal; waits for the jobs. Nothing may be called afterwards but the getters. The first error is
  // returned; what was synced before is on disk all the same, and the next open finds it.
  Result<void> stop() EXCLUDES(mu_);
  // Waits for the jobs, and starts no more: instead of stop(), where start() or what followed it failed.
  void abandon() EXCLUDES(mu_);

  // Opens an operation with `room` bytes of log promised (at most max_operation_room()). Waits while the gate is shut,
  // and for a roll where the open segment has no room left. Waits for room, unless `may_wait` is false: kNoSpace then,
  // as when deny_room() says that there will be none. kReadOnly after a failure. end() closes it; the thread opens no
  // other meanwhile.
  Result<void> begin(uint64_t room, Store::OperationKind kind, bool may_wait = true) EXCLUDES(mu_);
  // Appends `changes` as one batch: numbered in their order, visible when it returns, durable with the next commit.
  // Needs that much room promised to the caller, `cost` being log_cost() of the changes as stored. Cannot fail, and
  // waits only for batches before it to become visible.
  void write(std::vector<PreparedChange>& changes, uint64_t cost) EXCLUDES(mu_);
  // Closes the operation and takes back what it neither wrote nor kept.
  void end(uint64_t unused_room) EXCLUDES(mu_);
  // As Store::Operation::keep() and reclaim(): moves room between an operation and what is kept for the hook.
  // `promised_` has both.
  bool keep(uint64_t bytes) EXCLUDES(mu_);
  void reclaim(uint64_t bytes) EXCLUDES(mu_);
  void set_hook(std::function<Result<void>()> hook) EXCLUDES(mu_);
  // For the hook: takes all kept room (an operation that the gate lets through).
  uint64_t take_kept() EXCLUDES(mu_);

  // Everything written before the call is durable when it returns. One caller leads, those who come meanwhile share the
  // next commit. In cache mode nothing happens. kReadOnly, or the error that made it so.
  Result<void> sync() EXCLUDES(mu_);
  Result<void> seal() EXCLUDES(mu_);  // rolls if the open segment holds anything, and waits until it is sealed

  // --- Room, for maintenance ---
  struct Starving {
    bool grow = false, free = false;
  };
  // Who waits for room.
  [[nodiscard]] Starving starving() const EXCLUDES(mu_);
  // The last attempt to prepare a segment found no room.
  [[nodiscard]] bool is_short() const EXCLUDES(mu_);
  // Nothing will come: those who wait get kNoSpace. False if anything has happened since room->events() was `events`; then
  // nobody is told.
  bool deny_room(Store::OperationKind kind, uint64_t events) EXCLUDES(mu_);
  // Waits until the store may grow. kNoSpace when deny_room() says that it will not.
  Result<void> await_growth() EXCLUDES(mu_);
  // Seals what is open in the background, so that what its erases killed can be reclaimed. False: nothing is open, or there
  // is no room for a successor.
  bool request_seal() EXCLUDES(mu_);
  // There is more room than there was.
  void room_freed() EXCLUDES(mu_);

  // Waits until every sequence number given out so far is visible.
  void settle_visible() EXCLUDES(mu_);
  // Both only grow: records up to here can be seen, and survive a crash.
  [[nodiscard]] SeqNo visible() const { return SeqNo(visible_seq_.load(std::memory_order_acquire)); }
  [[nodiscard]] SeqNo durable() const { return SeqNo(durable_seq_.load()); }
  // Inode numbers and cookies. Segment headers and marks reserve 65,536 ahead, so a crash never gives one out twice.
  uint64_t next_number() { return next_number_.fetch_add(1); }
  [[nodiscard]] uint64_t seals() const { return seals_; }
  [[nodiscard]] uint64_t bytes_in() const { return bytes_in_; }          // of values, before compression
  [[nodiscard]] uint64_t bytes_logged() const { return bytes_logged_; }  // of sealed segments
  [[nodiscard]] uint64_t commits() const { return commits_; }
  [[nodiscard]] std::optional<Error> failure() const EXCLUDES(mu_);
  // Cache mode: why the disk does not take what is written, while it does not.
  [[nodiscard]] std::optional<Error> degraded() const EXCLUDES(mu_);
  [[nodiscard]] uint64_t unwritten_bytes() const EXCLUDES(mu_);  // of the log, only in memory
  [[nodiscard]] uint64_t max_operation_room() const { return config_.superblock.segment_size / 4; }
  [[nodiscard]] uint64_t kept_max() const;

 private:
  struct OpenSegment {
    OpenSegment(log::PreparedFile file, std::shared_ptr<log::Slab> slab, const format::SegmentHeader& header)
        : writer(std::move(file), std::move(slab), header), memtable(std::make_shared<index::Memtable>()) {}
    // Guarded by mu_, but for its file, which is the token's, and the slab's bytes: those belong to whoever reserved
    // them until the batch is published, and never change then.
    log::SegmentWriter writer;
    std::shared_ptr<index::Memtable> memtable;
    uint64_t footer_cost = 0;   // bytes the footer may take, at most, so far
    SeqNo last_seq;             // of the newest commit
    uint64_t written_hint = 0;  // bytes: how far the file was written when somebody last looked
    uint64_t commits = 0;       // marks in it
    // What its file may take; kept once it is sealed.
    RoomClaim claim;
    bool from_reserve = false;
    // Its file cannot be trusted any more (hazard 14): the next attempt makes another.
    bool seal_failed = false;
  };
  using SegmentPtr = std::shared_ptr<OpenSegment>;
  // A write between reservation and publication. They become visible in the order of the queue, so that a reader who
  // sees a number sees all before it.
  struct Ticket {
    SeqNo last;
    uint64_t offset;
    OpenSegment* segment;
    bool done = false;
  };

  // Writing
  void add_to_filter(const std::vector<PreparedChange>& changes);
  void fill(OpenSegment& segment, uint64_t offset, SeqNo first, const std::vector<PreparedChange>& changes);
  void publish(SeqNo last) EXCLUDES(mu_);
  // The gate
  // Waits for a gate that somebody else shut, shuts it, and waits for the open operations. From then until open_gate()
  // nobody but the hook can write.
  void shut_gate() REQUIRES(mu_);
  void open_gate() REQUIRES(mu_);
  // Has the layer above write what it buffers. A failure is final.
  Result<void> run_hook() REQUIRES(mu_);
  // Commits everything written so far to the slab. Needs the gate shut.
  void place_mark() REQUIRES(mu_);
  // Whether the open segment has that much left, its footer and a mark included.
  [[nodiscard]] bool fits(uint64_t room) const REQUIRES(mu_);
  [[nodiscard]] bool holds_something() const REQUIRES(mu_);  // the open segment
  // Rolling over to the next segment
  Result<void> roll(uint64_t room, bool force, Room::Use use) REQUIRES(mu_);
  Result<void> wait_for_next_segment(Room::Use use) REQUIRES(mu_);
  // The open segment goes to sealing_, the prepared one becomes the open one. Needs the gate shut and a mark behind
  // everything. kOutOfMemory.
  Result<void> switch_segment() REQUIRES(mu_);
  // Has a file made in the background, unless there is one or one is being made.
  void request_prepared(Room::Use use) REQUIRES(mu_);
  void prepare_job() EXCLUDES(mu_);
  format::SegmentHeader prepared_header(SegmentId id, uint64_t salt) const;
  void maybe_fill() REQUIRES(mu_);
  void fill_prepared_job() EXCLUDES(mu_);
  void fill_open_job() EXCLUDES(mu_);
  Result<log::PreparedFile> prepare_from_reserve(const format::SegmentHeader& header);
  [[nodiscard]] bool may_grow() const REQUIRES(mu_);
  bool wait_for_answer(Store::OperationKind kind) REQUIRES(mu_);
  Result<void> wait_for_room(Store::OperationKind kind, const Error& why) REQUIRES(mu_);
  void force_seal() REQUIRES(mu_);  // in the background
  void forced_seal_job() EXCLUDES(mu_);
  format::SegmentHeader next_header(SegmentId id, uint64_t salt) const REQUIRES(mu_);
  // I/O, with the token
  // The token is handed on in no particular order. Whoever holds it may let go of mu_ for the disk.
  void take_token() REQUIRES(mu_);
  void drop_token() REQUIRES(mu_);
  Result<void> commit() REQUIRES(mu_);
  Result<void> seal_front() REQUIRES(mu_);
  void seal_job() EXCLUDES(mu_);
  void write_behind_job() EXCLUDES(mu_);
  void maybe_write_behind() REQUIRES(mu_);
  void maybe_touch() REQUIRES(mu_);
  void touch_job() EXCLUDES(mu_);
  // Offset in the open segment below which every byte is filled: what may be written already.
  uint64_t filled_until() const REQUIRES(mu_);
  // Cache mode, while the disk fails
  // Notes that the disk has refused something, and has it tried again later.
  void degrade(const Error& error) REQUIRES(mu_);
  void note_written() REQUIRES(mu_);
  // Has files evicted for so many segments that a full disk does not take, if that can be.
  void note_shortage(uint64_t segments) REQUIRES(mu_);
  void schedule_retry() REQUIRES(mu_);
  // Tries at once what the disk has refused, in the background.
  void request_retry() REQUIRES(mu_);
  void retry_job() EXCLUDES(mu_);
  Result<void> await_reserve(const std::string& name) const;
  void top_up_shortage() REQUIRES(mu_);
  [[nodiscard]] log::SegmentWriter::Spare spare_for_seal() const;
  Result<void> make_prepared_file() REQUIRES(mu_);
  [[nodiscard]] size_t max_sealing() const REQUIRES(mu_);
  [[nodiscard]] bool memory_full() const REQUIRES(mu_);
  // Timer
  void schedule_timer() EXCLUDES(mu_);
  void timer_job() EXCLUDES(mu_);
  // Jobs and failure
  // Every job is counted in jobs_ until it has ended; stop() waits for all of them.
  void submit(void (LogWriter::*job)()) REQUIRES(mu_);
  // Final: the first error stays, everybody who waits is woken.
  void fail_store(const Error& error) REQUIRES(mu_);
  void wait(const std::function<bool()>& ready) REQUIRES(mu_);
  Result<void> check_running() const REQUIRES(mu_);
  uint64_t reserved_number() const { return next_number_.load() + 65536; }

  const Config config_;
  Catalog* const catalog_;
  const std::shared_ptr<log::SlabPool> slabs_;
  const bool durable_mode_;  // cas

  mutable Mutex mu_;
  CondVar changed_;  // anything below
  // Never null after start(). Replaced only with the gate shut.
  SegmentPtr active_ GUARDED_BY(mu_);
  std::deque<SegmentPtr> sealing_ GUARDED_BY(mu_);  // oldest first
  // The file of the next segment. With the gate shut nobody takes it away but who shut it: a roll unlocks mu_ for the hook.
  std::optional<log::PreparedFile> prepared_ GUARDED_BY(mu_);
  std::optional<Error> prepare_error_ GUARDED_BY(mu_);
  RoomClaim prepared_claim_ GUARDED_BY(mu_);
  bool prepared_from_reserve_ GUARDED_BY(mu_) = false;
  bool preparing_ GUARDED_BY(mu_) = false;
  Room::Use prepare_use_ GUARDED_BY(mu_) = Room::Use::kGrow;
  std::array<uint64_t, 2> starving_ GUARDED_BY(mu_) = {};  // operations that wait for room, by OperationKind
  std::array<uint64_t, 2> denials_ GUARDED_BY(mu_) = {};   // how often such were told that there is none
  bool seal_requested_ GUARDED_BY(mu_) = false;
  bool no_more_seals_ GUARDED_BY(mu_) = false;
  std::optional<uint64_t> seal_failed_at_ GUARDED_BY(mu_);  // room->freed() when a requested seal found no room
  std::optional<uint64_t> refused_at_ GUARDED_BY(mu_);      // the same when writers were last told that there is none
  // commit_first_ <= next_seq_; the numbers in between are in the open commit.
  SeqNo next_seq_ GUARDED_BY(mu_);
  SeqNo commit_first_ GUARDED_BY(mu_);  // first sequence number of the commit being filled
  log::MarkPlace last_mark_ GUARDED_BY(mu_);
  // Nothing was committed since the last repetition, so another would prove nothing.
  bool mark_repeated_ GUARDED_BY(mu_) = true;
  SegmentId last_log_ GUARDED_BY(mu_);
  std::deque<Ticket> tickets_ GUARDED_BY(mu_);  // in sequence order
  uint64_t promised_ GUARDED_BY(mu_) = 0;       // bytes of room given out, kept ones included
  uint64_t kept_ GUARDED_BY(mu_) = 0;           // bytes
  uint64_t open_operations_ GUARDED_BY(mu_) = 0;
  bool gate_shut_ GUARDED_BY(mu_) = false;
  // The token.
  bool io_busy_ GUARDED_BY(mu_) = false;
  bool write_behind_queued_ GUARDED_BY(mu_) = false;
  bool touching_ GUARDED_BY(mu_) = false;
  bool filling_open_ GUARDED_BY(mu_) = false;
  bool stopping_ GUARDED_BY(mu_) = false;
  // A caller of sync() is served once synced_requests_ has reached its number. Both only grow.
  uint64_t sync_requests_ GUARDED_BY(mu_) = 0;
  uint64_t synced_requests_ GUARDED_BY(mu_) = 0;
  uint64_t jobs_ GUARDED_BY(mu_) = 0;
  // Set once. Whoever waits looks at it, so that nobody waits for what will not come.
  std::optional<Error> failure_ GUARDED_BY(mu_);
  std::optional<Error> degraded_ GUARDED_BY(mu_);
  uint64_t retry_ms_ GUARDED_BY(mu_) = 0;  // until the next attempt
  bool retry_scheduled_ GUARDED_BY(mu_) = false;
  // The disk was found full, and files are evicted for what it does not take. Changed with mu_.
  uint64_t tops_up_ GUARDED_BY(mu_) = 0;  // see top_up_shortage(); since the disk took all there was
  std::atomic<bool> disk_full_ = false;
  bool shortage_due_ GUARDED_BY(mu_) = false;  // nobody has written since: nothing is evicted for readers
  // On a full disk: what is left of the open segment is for erases until those who evict have answered.
  bool kept_for_erases_ GUARDED_BY(mu_) = false;
  bool retrying_ GUARDED_BY(mu_) = false;  // the job was submitted, and has not ended
  uint64_t degraded_logged_ms_ GUARDED_BY(mu_) = 0;
  bool degraded_logged_ GUARDED_BY(mu_) = false;  // so its end will be
  std::function<Result<void>()> hook_ GUARDED_BY(mu_);

  std::atomic<uint64_t> visible_seq_;
  std::atomic<uint64_t> durable_seq_;
  std::atomic<uint64_t> next_number_;
  std::atomic<uint64_t> seals_ = 0;
  std::atomic<uint64_t> bytes_in_ = 0;
  std::atomic<uint64_t> bytes_logged_ = 0;
  std::atomic<uint64_t> commits_ = 0;
};

}  // namespace cairn::store
