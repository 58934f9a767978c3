// The half of LogWriter that is about room: beginning an operation, waiting for space, files for segments to come.
#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "store/log_writer.h"

namespace cairn::store {
namespace {

constexpr uint64_t kEraseShare =
    64;  // one part in so many of a cache's segment: the erases of about three segments of files of 128 KiB

Room::Use use_of(Store::OperationKind kind) {
  return kind == Store::OperationKind::kGrow ? Room::Use::kGrow : Room::Use::kFree;
}

Error no_room(const Room& room) {
  if (room.limited()) return {ErrorCode::kNoSpace, "the store's limit leaves no room for another segment"};
  return {ErrorCode::kNoSpace,
          "the disk of the store is full: free space on it, or delete files; what is left is kept for deleting"};
}

}  // namespace

Result<void> LogWriter::begin(uint64_t room, Store::OperationKind kind, bool may_wait) {
  CHECK(room <= max_operation_room());
  // New data leaves room for the erases that free any, should the disk have none for another segment.
  const bool spares = kind == Store::OperationKind::kGrow && config_.room->limited();
  const uint64_t spared = spares ? config_.superblock.segment_size / kEraseShare : 0;
  MutexLock lock(mu_);
  bool denied = false;
  for (;;) {
    wait([&] {
      mu_.assert_held();
      return !gate_shut_ || failure_;
    });
    TRY(check_running());
    // What frees space may use what is kept back: deleting works on a full store.
    Result<void> result;
    if (kind == Store::OperationKind::kGrow && shortage_due_) note_shortage(0);
    if (kind == Store::OperationKind::kGrow && kept_for_erases_) {
      if (!wait_for_answer(kind)) kept_for_erases_ = false;  // nothing can go: on in memory
      continue;
    }
    if (kind == Store::OperationKind::kGrow && !may_grow()) {
      result = fail(no_room(*config_.room));
    } else if (fits(room + spared)) {
      break;
    } else {
      result = roll(room + spared, false, use_of(kind));
    }
    if (result) continue;
    if (result.error().code != ErrorCode::kNoSpace || !may_wait || denied) return result;
    const auto waited = wait_for_room(kind, result.error());
    if (!waited && waited.error().code != ErrorCode::kNoSpace) return waited;
    denied = !waited.has_value();  // once more, for what was freed just before the wait began
  }
  DCHECK(fits(room));
  promised_ += room;
  ++open_operations_;
  return {};
}

// The open segment takes new data unless it lives on what is kept for erases.
bool LogWriter::may_grow() const {
  // Two atomics, as every operation asks.
  if (!config_.room->may_grow()) return false;
  return !active_->from_reserve || (config_.reserve && config_.reserve->is_whole());
}

// Until something came free, or nothing will: false.
bool LogWriter::wait_for_answer(Store::OperationKind kind) {
  const auto k = static_cast<size_t>(kind);
  // Counted before anybody is told that somebody waits: an answer that comes at once is not missed.
  const uint64_t denials = denials_[k], freed = config_.room->freed();
  ++starving_[k];
  if (config_.on_starved) {
    mu_.unlock();
    // Without the lock: it kicks maintenance, which takes its own, and asks us who starves.
    config_.on_starved();
    mu_.lock();
  }
  wait([&] {
    mu_.assert_held();
    return failure_ || denials_[k] != denials || config_.room->freed() != freed;
  });
  CHECK(starving_[k] > 0);
  --starving_[k];
  return config_.room->freed() != freed;
}

// Returns when there may be room: for another look. With `why` when there will be none.
Result<void> LogWriter::wait_for_room(Store::OperationKind kind, const Error& why) {
  const bool answer = wait_for_answer(kind);
  TRY(check_running());
  if (answer) return {};
  // Once, until something comes free.
  const uint64_t freed = config_.room->freed();
  if (kind == Store::OperationKind::kGrow && std::exchange(refused_at_, freed) != freed)
    config_.logger->warn("writers_refused reason=\"{}\"", why.message);
  return fail(why);
}

Result<void> LogWriter::await_growth() {
  MutexLock lock(mu_);
  for (bool denied = false; !config_.room->may_grow();) {
    if (denied) return fail(no_room(*config_.room));
    const auto waited = wait_for_room(Store::OperationKind::kGrow, no_room(*config_.room));
    if (!waited && waited.error().code != ErrorCode::kNoSpace) return waited;
    denied = !waited.has_value();
  }
  return check_running();
}

LogWriter::Starving LogWriter::starving() const {
  MutexLock lock(mu_);
  return {starving_[static_cast<size_t>(Store::OperationKind::kGrow)] != 0,
          starving_[static_cast<size_t>(Store::OperationKind::kFree)] != 0};
}

bool LogWriter::is_short() const {
  MutexLock lock(mu_);
  return !prepared_ && prepare_error_ && prepare_error_->code == ErrorCode::kNoSpace;
}

bool LogWriter::deny_room(Store::OperationKind kind, uint64_t events) {
  MutexLock lock(mu_);
  // What maintenance looked at is out of date: somebody may have room now.
  if (config_.room->events() != events) return false;
  ++denials_[static_cast<size_t>(kind)];
  changed_.notify_all();
  return true;
}

bool LogWriter::request_seal() {
  MutexLock lock(mu_);
  if (failure_ || no_more_seals_) return false;
  if (seal_requested_ || retrying_) return true;  // both tell when they have ended
  if (degraded_ && (degraded_->code != ErrorCode::kNoSpace || !sealing_.empty())) return false;
  if (!sealing_.empty()) return true;
  // Nothing was freed since the last attempt found no room, so this one would not either.
  if (seal_failed_at_ == config_.room->freed() || !holds_something()) return false;
  force_seal();
  return true;
}

void LogWriter::force_seal() {
  if (seal_requested_ || no_more_seals_) return;
  submit(&LogWriter::forced_seal_job);
  seal_requested_ = true;
}

void LogWriter::forced_seal_job() {
  MutexLock lock(mu_);
  const uint64_t freed = config_.room->freed();
  Result<void> rolled;
  if (!failure_) rolled = roll(0, true, Room::Use::kSeal);
  seal_requested_ = false;
  changed_.notify_all();
  if (rolled) return;
  seal_failed_at_ = freed;
  config_.logger->warn("seal_for_room_failed reason=\"{}\"", rolled.error().message);
  lock.unlock();
  config_.on_starved();
  lock.lock();
}

void LogWriter::room_freed() {
  MutexLock lock(mu_);
  // Ahead of need: whoever waits then finds the file made.
  if (active_ && !failure_ && !prepared_ &&
      config_.room->fits(Room::charge(config_.superblock.segment_size), Room::Use::kGrow))
    request_prepared(Room::Use::kGrow);
  if (degraded_ && degraded_->code == ErrorCode::kNoSpace) request_retry();
  changed_.notify_all();
}

// ---- Files for segments to come ----

// On a disk that is full, for what frees space.
Result<log::PreparedFile> LogWriter::prepare_from_reserve(const format::SegmentHeader& header) {
  Bytes block(format::kSegmentHeaderSize, '\0');
  format::SegmentHeader prepared = header;
  // The header says so until the first commit writes it again: a crash finds an empty segment.
  prepared.prepared = true;
  format::encode_segment_header_block(prepared, block.data());
  CHECK(config_.reserve != nullptr);
  log::PreparedFile out{header.id, header.salt, format::segment_file_name(header.id), nullptr};
  TRY_ASSIGN(out.file, config_.reserve->take_unless_last(*config_.files->directory,
                                                         {out.name, config_.superblock.segment_size, block, true}));
  return out;
}

format::SegmentHeader LogWriter::prepared_header(SegmentId id, uint64_t salt) const {
  format::SegmentHeader header;
  header.id = id;
  header.salt = salt;
  header.next_ino = reserved_number();  // durable before a number is given out, whatever becomes of the first commit
  header.superblock = config_.superblock;
  header.superblock.limit = config_.room->limit();
  return header;
}

void LogWriter::prepare_job() {
  const format::SegmentHeader header = prepared_header(catalog_->new_segment_id(), config_.env->random());
  const std::string name = format::segment_file_name(header.id);
  Room::Use use = Room::Use::kGrow;
  bool older_first = false;
  {
    MutexLock lock(mu_);
    use = prepare_use_;
    // The erases in older ones are what makes room on a full disk: with a file for this one there might be none for them, ever.
    older_first = disk_full_ && !sealing_.empty();
  }
  const auto make = [&]() -> Result<log::PreparedFile> {
    if (older_first)
      return fail(ErrorCode::kNoSpace, fmt::format("no room for {} on the disk before older ones", name));
    return log::prepare_segment_file(*config_.files->directory, header);
  };
  // Room first, then the file: what is allocated never exceeds what is accounted for (hazard 24).
  Result<log::PreparedFile> file = fail(no_room(*config_.room));
  RoomClaim claim;
  bool from_reserve = false;
  std::optional<Error> in_memory;  // why
  const uint64_t charge = Room::charge(config_.superblock.segment_size);
  if (config_.room->take(charge, use)) {
    claim = RoomClaim(config_.room.get(), charge);
    file = make();
    // The disk is full although the limit is not: only what frees space may use the reserve.
    from_reserve = !file && file.error().code == ErrorCode::kNoSpace && use != Room::Use::kGrow && config_.reserve &&
                   durable_mode_;
    if (from_reserve) file = prepare_from_reserve(header);
    // A cache goes on without a file; its room stays taken for the one that will be made.
    if (!file && !durable_mode_) {
      in_memory = file.error();
      file = log::PreparedFile{header.id, header.salt, name, nullptr};
    }
  }
  MutexLock lock(mu_);
  preparing_ = false;
  if (file) {
    CHECK(!prepared_);
    prepared_ = std::move(*file);
    prepared_claim_ = std::move(claim);
    prepared_from_reserve_ = from_reserve;
  } else {
    // The claim goes back with the function: nobody has the room.
    prepare_error_ = file.error();
  }
  if (in_memory) {
    degrade(*in_memory);
  } else if (file) {
    note_written();
  }
  changed_.notify_all();
  if (!in_memory || stopping_) return;
  lock.unlock();
  config_.on_starved();  // what the disk lacks may be evicted
  lock.lock();
}

}  // namespace cairn::store
