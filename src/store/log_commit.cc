// The half of LogWriter that writes to segment files: commits, seals, writing behind, the timer, start and stop.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "store/log_writer.h"
#include "store/recover.h"

namespace cairn::store {

void LogWriter::take_token() {
  wait([&] {
    mu_.assert_held();
    return !io_busy_;
  });
  io_busy_ = true;
}

void LogWriter::drop_token() {
  io_busy_ = false;
  changed_.notify_all();
}

Result<void> LogWriter::start() {
  MutexLock lock(mu_);
  request_prepared(Room::Use::kSeal);
  wait([&] {
    mu_.assert_held();
    return prepared_ || prepare_error_;
  });
  if (!prepared_) return fail(*prepare_error_);
  TRY(switch_segment());
  lock.unlock();
  if (durable_mode_ && config_.commit_interval_ms > 0) schedule_timer();
  lock.lock();
  return {};
}

// ---- Commit ----

Result<void> LogWriter::sync() {
  if (!durable_mode_) return {};
  MutexLock lock(mu_);
  const uint64_t request = ++sync_requests_;
  for (;;) {
    if (synced_requests_ >= request) return {};
    TRY(check_running());
    if (!io_busy_) break;
    wait([&] {
      mu_.assert_held();
      return !io_busy_ || synced_requests_ >= request || failure_;
    });
  }
  io_busy_ = true;
  auto result = commit();
  drop_token();
  return result;
}

// Makes everything done before it durable, with the token. Callers that come while it runs share the next one.
Result<void> LogWriter::commit() {
  shut_gate();
  // Requests up to now: what their callers wrote is published, as write() has returned.
  CHECK(io_busy_);
  const uint64_t covers = sync_requests_;
  if (auto hooked = run_hook(); !hooked || failure_) {
    open_gate();
    TRY(check_running());
    return hooked;
  }
  if (active_->writer.has_uncommitted()) place_mark();
  const SegmentPtr target = active_;
  const uint64_t end = target->writer.commit_end();
  // Read with the gate shut: this is what the mark covers.
  const SeqNo last = next_seq_.prev();
  open_gate();

  // Older segments first: the log reaches the disk in order, and this segment's header says that they are sealed.
  while (!sealing_.empty() && sealing_.front()->writer.id() < target->writer.id()) TRY(seal_front());
  // A segment without a commit stays unwritten: there is nothing in it to keep.
  if (target->writer.last_mark().offset != 0) {
    mu_.unlock();
    // `target` may be rolled over meanwhile; its file is ours until the token is given back.
    auto result = target->writer.sync_until(end);
    mu_.lock();
    if (!result) {
      fail_store(result.error());
      return result;
    }
    target->written_hint = std::max(target->written_hint, end);
    maybe_fill();
  }
  durable_seq_.store(std::max(durable_seq_.load(), last.value));
  synced_requests_ = std::max(synced_requests_, covers);
  return {};
}

// ---- Seal ----

namespace {

format::TableTrailer trailer_of(const log::SegmentWriter& writer, SeqRange range, uint64_t next_ino) {
  format::TableTrailer trailer;
  trailer.kind = format::TableKind::kFooter;
  trailer.id = writer.id().value;
  trailer.salt = writer.header().salt;
  trailer.base = writer.commit_end();
  trailer.range = range;
  trailer.last_mark = writer.last_mark().number;
  trailer.last_mark_offset = writer.last_mark().offset;
  trailer.last_mark_checksum = writer.last_mark().checksum;
  trailer.next_ino = next_ino;
  return trailer;
}

}  // namespace

// Seals the oldest segment that waits for it, with the token. mu_ is let go while the disk works.
Result<void> LogWriter::seal_front() {
  CHECK(io_busy_ && !sealing_.empty());
  const SegmentPtr segment = sealing_.front();
  mu_.unlock();
  log::SegmentWriter& writer = segment->writer;
  // The queue and everything in this segment but its file stand still: it has no open operation and takes no more.
  const SeqRange range{writer.header().first_seq, segment->last_seq};
  const uint64_t next_ino = reserved_number();
  auto result = [&]() -> Result<void> {
    format::TableTrailer trailer = trailer_of(writer, range, next_ino);
    TRY_ASSIGN(const Bytes footer, build_footer(*segment->memtable, trailer));
    index::ManifestSegment meta;
    meta.id = writer.id();
    meta.salt = writer.header().salt;
    meta.range = range;
    meta.entries = trailer.entries;
    meta.record_bytes = trailer.record_bytes;
    if (segment->seal_failed || !writer.has_file()) {
      // Only a cache gets here twice: a cas store is read-only by now.
      CHECK(!durable_mode_);
      config_.files->files->forget(writer.name());
      TRY_ASSIGN(meta.file_size, writer.seal_anew(footer, *config_.files->directory, spare_for_seal()));
    } else {
      TRY_ASSIGN(meta.file_size, writer.seal(footer));
    }
    auto sealed = std::make_shared<Segment>(meta, config_.files);
    // Read back at once: a footer that cannot be read is found while the memtable still has everything.
    TRY_ASSIGN(auto table, sealed->footer());
    segment->claim.shrink_to(Room::charge(meta.file_size));
    segment->claim.keep();
    config_.room->owe(meta.overhead());
    bytes_logged_ += meta.file_size;
    catalog_->sealed({sealed, segment->memtable, writer.slab(), table}, writer.last_mark(), next_ino);
    // The newest stays in memory: what was just written is what is read next.
    catalog_->release_memory(1);
    return {};
  }();
  mu_.lock();
  if (!result) {
    segment->seal_failed = true;
    durable_mode_ ? fail_store(result.error()) : degrade(result.error());
    // Maintenance counted on this seal: who waits for what it would have freed is to be told otherwise.
    if (config_.on_starved && !stopping_) {
      mu_.unlock();
      config_.on_starved();
      mu_.lock();
    }
    return result;
  }
  CHECK(sealing_.front() == segment);
  sealing_.pop_front();
  ++seals_;
  // Who was told that the memory is full looks again.
  if (degraded_) config_.room->give_back(0);
  note_written();
  durable_seq_.store(std::max(durable_seq_.load(), range.last.value));
  changed_.notify_all();
  if (config_.on_sealed && !stopping_) {
    mu_.unlock();
    config_.on_sealed();
    mu_.lock();
  }
  return {};
}

void LogWriter::seal_job() {
  MutexLock lock(mu_);
  take_token();
  if (!failure_ && !sealing_.empty()) {
    // The error was handled: the store is read-only or degraded, and whoever waits is told.
    if (auto sealed = seal_front(); !sealed) config_.logger->debug("seal_failed reason=\"{}\"", sealed.error().message);
  }
  drop_token();
}

Result<void> LogWriter::seal() {
  MutexLock lock(mu_);
  TRY(check_running());
  // Only what was begun before this call has to be in: one roll does it.
  if (active_->writer.has_uncommitted() || active_->writer.last_mark().offset != 0 || kept_ != 0)
    TRY(roll(0, true, Room::Use::kSeal));
  // Later rolls may add more, for which this caller need not wait.
  const SegmentId newest = last_log_;
  wait([&] {
    mu_.assert_held();
    return failure_ || sealing_.empty() || sealing_.front()->writer.id() > newest || sealing_.front()->seal_failed;
  });
  TRY(check_running());
  if (sealing_.empty() || sealing_.front()->writer.id() > newest) return {};
  CHECK(degraded_.has_value());
  return fail(Error(ErrorCode::kIo, degraded_->os_errno, "not on disk yet: " + degraded_->message));
}

// ---- Writing behind ----

// Everything below is filled, multiple of 4096 downwards.
uint64_t LogWriter::filled_until() const {
  uint64_t end = active_->writer.end();
  for (const Ticket& t : tickets_)
    if (t.segment == active_.get()) end = std::min(end, t.offset);
  return end / format::kCommitAlignment * format::kCommitAlignment;
}

void LogWriter::write_behind_job() {
  MutexLock lock(mu_);
  take_token();
  write_behind_queued_ = false;
  // A segment's first bytes say that the one before is sealed, so they wait for that.
  if (!failure_ && sealing_.empty()) {
    const SegmentPtr segment = active_;
    const uint64_t end = filled_until();
    if (end > segment->writer.written()) {
      mu_.unlock();
      // Not synced: a failure here is one of the log all the same, as the next sync would not tell of it (hazard 14).
      auto result = segment->writer.write_until(end);
      mu_.lock();
      if (!result) fail_store(result.error());
    }
    segment->written_hint = std::max(segment->written_hint, end);
  }
  drop_token();
}

// ---- Timer ----

void LogWriter::schedule_timer() {
  // Weak: a timer that is still to come must not keep a closed store alive.
  std::weak_ptr<LogWriter> self = weak_from_this();
  config_.env->executor().submit_after(std::chrono::milliseconds(config_.commit_interval_ms), [self] {
    if (auto writer = self.lock()) writer->timer_job();
  });
}

// Commits what there is. When the log is idle the last mark is repeated once, so that damage to the last commit is not taken
// for a torn tail.
void LogWriter::timer_job() {
  {
    MutexLock lock(mu_);
    if (stopping_ || failure_) return;
    // As submit() does: stop() waits for it.
    ++jobs_;
  }
  Result<void> result;
  bool repeat = false;
  {
    MutexLock lock(mu_);
    const bool dirty = active_->writer.has_uncommitted() || kept_ != 0 || durable_seq_.load() < next_seq_.prev().value;
    repeat = !dirty && !stopping_ && !mark_repeated_ && active_->writer.last_mark().offset != 0 && fits(0);
    if (repeat) {
      take_token();
      shut_gate();
      // Something may have been written, or rolled over, while the gate was closing: then there is no need. After stop() took
      // the token before us the segment is sealed.
      const bool idle = !active_->writer.has_uncommitted() && active_->writer.last_mark().offset != 0 && kept_ == 0;
      if (idle && !stopping_ && !failure_ && fits(0)) place_mark();
      open_gate();
      result = commit();
      drop_token();
    } else if (!dirty) {
      repeat = true;  // nothing to do
    }
  }
  if (!repeat) result = sync();
  if (!result) config_.logger->error("commit_failed reason=\"{}\"", result.error().message);
  // What was deleted on a full disk comes back although nobody fills the segment that says so.
  if (is_short() && config_.room->doomed() > 0) config_.on_starved();
  MutexLock lock(mu_);
  --jobs_;
  changed_.notify_all();
  lock.unlock();
  schedule_timer();
  lock.lock();
}

// ---- Stop ----

void LogWriter::abandon() {
  MutexLock lock(mu_);
  stopping_ = true;
  wait([&] {
    mu_.assert_held();
    return jobs_ == 0;
  });
}

Result<void> LogWriter::stop() {
  MutexLock lock(mu_);
  // A seal that was asked for is under way or done before the last one begins.
  no_more_seals_ = true;
  wait([&] {
    mu_.assert_held();
    return !seal_requested_;
  });
  stopping_ = true;
  take_token();
  shut_gate();
  Result<void> result = check_running();
  if (result) result = run_hook();
  if (result && active_->writer.has_uncommitted()) place_mark();
  open_gate();
  if (result && active_->writer.last_mark().offset != 0) {
    last_log_ = active_->writer.id();
    sealing_.push_back(active_);
  } else if (result) {  // after a failure the file stays: what was synced is in it, and recovery takes it from there
    catalog_->drop_open(active_->writer.id());
    if (auto gone = active_->writer.discard(*config_.files->directory); !gone && result) result = gone;
  }
  while (result && !sealing_.empty()) result = seal_front();
  drop_token();
  wait([&] {
    mu_.assert_held();
    return jobs_ == 0;
  });
  if (prepared_) {
    Result<void> gone;
    if (prepared_->file) gone = prepared_->file->close();
    if (gone && prepared_->file) gone = config_.files->directory->unlink(prepared_->name);
    if (!gone && result) result = gone;
    prepared_.reset();
    // Its room goes back with its file.
    prepared_claim_ = {};
  }
  hook_ = nullptr;
  return result;
}

}  // namespace cairn::store
