// Walking the commits of a log segment.
//
// The problem: what a crash leaves behind and what a failing disk leaves behind look the same, bytes that do not
// verify. The first must be dropped without a word, because nobody was told that it is there; the second must be
// reported, because somebody was. The idea: only what is *proven* to have been durable can be damaged. The proof is the
// footer (all of it), the caller, or any mark further on that says up to where the segment was durable when it was
// written. Marks are looked for only when something does not verify, once, in the bytes behind it; so an ordinary
// recovery hashes everything once.
#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "log/segment_image.h"

namespace cairn::log {
namespace {

using format::RecordType;

bool belongs_in_log(RecordType type) { return type <= RecordType::kMark; }

class LogWalk {
 public:
  LogWalk(const SegmentImage& image, char* padding, const format::SegmentHeader& header, const ScanOptions& options,
          SegmentScan& result)
      : image_(image), padding_(padding), header_(header), options_(options), result_(result) {
    durable_ = std::max(options.durable_end, options.sealed_end.value_or(0));
    last_.mark.number = header.previous_mark;
    last_.checksum = header.previous_mark_checksum;
    newest_ = header.first_seq == SeqNo{} ? SeqNo{} : header.first_seq.prev();
  }

  // Returns up to where the segment is proven to have been durable.
  uint64_t run() {
    // A prepared header says that nothing was written: what is here was never synced, or the header is an old one.
    bool on = !header_.prepared || lost(0, format::kSegmentHeaderSize, "segment header");
    while (on && position_ < image_.limit()) on = step();
    if (on && durable_ > image_.limit()) lost(image_.limit(), durable_, "missing");
    if (on && !run_is_empty()) lost(position_ - 1, position_, "commit mark missing at the end");
    forget_run();
    // Records of a commit whose mark is lost count too.
    if (!result_.records.empty()) {
      const auto& last = result_.records.back();
      const uint64_t size = format::record_size(last.header.key_length, last.header.stored_length);
      result_.end = std::max(result_.end, std::min(round_up_to_commit(last.offset + size), image_.limit()));
    }
    if (options_.sealed_end) result_.end = std::max(result_.end, image_.limit());
    return durable_;
  }

 private:
  // Takes what is at position_ and moves on. False: the log ends here.
  bool step() {
    auto found = image_.record_at(position_);
    if (!found || !belongs_in_log(found->record.header.type)) return skip_gap("record header");
    if (found->record.header.type == RecordType::kMark) return take_mark(*found);
    ScannedRecord& record = found->record;
    if (record.value_ok && options_.verify_values)
      record.value_ok = format::value_verifies(record.header, record.stored);
    if (!record.value_ok) add_value_damage(record, found->value_end);
    check_padding(found->value_end, found->end);
    const format::Le64 sum = record.header.checksum;
    run_checksums_.append(format::bytes_of(sum));
    run_ascends_ = run_ascends_ && record.header.seq > run_last_seq_;
    if (run_first_seq_ == SeqNo{}) run_first_seq_ = record.header.seq;
    run_last_seq_ = record.header.seq;
    result_.records.push_back(record);
    position_ = found->end;
    return true;
  }

  bool take_mark(const SegmentImage::Found& found) {
    const auto mark = SegmentImage::mark_in(found.record);
    if (!mark) return skip_gap("commit mark");
    const uint64_t end = std::min(round_up_to_commit(found.end), image_.limit());
    const bool complete = completes_run(*mark);
    if (complete && (run_first_bad_ == kNone || proven(run_first_bad_))) {
      accept_run();
    } else if (proven(complete ? run_first_bad_ : found.end - 1)) {
      // The mark itself is sound, so the commits behind it chain to it. Of its own commit the batches that are whole
      // count.
      if (run_follows_mark_ || mark->mark.start_offset == run_offset_)
        add_damage(found.record.offset, found.end, "commit mark does not fit its commit", {});
      salvage_run();
    } else {
      return false;
    }
    DCHECK(found.end <= end);
    check_commit_padding(found.end, end);
    result_.marks.push_back(*mark);
    durable_ = std::max(durable_, mark->mark.durable_offset);
    last_ = *mark;
    chained_ = true;
    position_ = result_.end = end;
    begin_run(true);
    return true;
  }

  // --- The run: records since the last mark, or since bytes that did not verify ---

  [[nodiscard]] bool run_is_empty() const { return result_.records.size() == run_begin_; }

  void begin_run(bool follows_mark) {
    run_begin_ = result_.records.size();
    run_damage_ = result_.damage.size();
    run_offset_ = position_;
    run_follows_mark_ = follows_mark;
    run_checksums_.clear();
    run_first_seq_ = run_last_seq_ = SeqNo{};
    run_ascends_ = true;
    run_first_bad_ = kNone;
  }

  // Whether `found` is the mark of exactly the run's records, and follows the mark before it (if that one could be
  // read).
  [[nodiscard]] bool completes_run(const ScannedMark& found) const {
    const auto& mark = found.mark;
    if (mark.start_offset != run_offset_ || mark.records_checksum != format::checksum(run_checksums_)) return false;
    if (!run_is_empty()) {
      const bool in_range = run_first_seq_ >= mark.range.first && run_last_seq_ <= mark.range.last;
      if (!in_range || !run_ascends_ || run_first_seq_ <= newest_) return false;
    }
    if (!chained_) return mark.number > last_.mark.number;
    return mark.number == last_.mark.number.next() && mark.previous_checksum == last_.checksum &&
           mark.previous_offset == last_.offset;
  }

  // All of the run counts.
  void accept_run() {
    if (!run_is_empty()) newest_ = run_last_seq_;
    if (run_first_bad_ == kNone || options_.keep_damaged) return;
    CHECK(run_begin_ <= result_.records.size());
    auto& records = result_.records;
    const auto bad = [](const ScannedRecord& record) { return !record.value_ok; };
    records.erase(std::remove_if(records.begin() + static_cast<ptrdiff_t>(run_begin_), records.end(), bad),
                  records.end());
  }

  // The batches of the run that are whole count; of the others nothing does (hazard 22).
  void salvage_run() {
    size_t kept = run_begin_;
    size_t batch = kNone;  // where the batch began, among the run's records
    auto& records = result_.records;
    for (size_t i = run_begin_; i < records.size(); ++i) {
      const auto& header = records[i].header;
      if ((header.flags & format::kBatchFirst) != 0) {
        drop_records(batch, i);
        batch = i;
      }
      const bool in_order = header.seq > newest_;
      newest_ = std::max(newest_, header.seq);
      if (batch == kNone || !in_order) {
        drop_records(batch == kNone ? i : batch, i + 1);
        batch = kNone;
      } else if ((header.flags & format::kBatchLast) != 0) {
        for (; batch <= i; ++batch) {
          if (records[batch].value_ok || options_.keep_damaged) records[kept++] = records[batch];
        }
        batch = kNone;
      }
    }
    CHECK(run_begin_ <= kept);
    drop_records(batch, records.size());
    CHECK(kept <= records.size());
    records.resize(kept);
  }

  // Reports records [begin, end) as lost although they verify.
  void drop_records(size_t begin, size_t end) {
    for (; begin < end; ++begin) {
      const ScannedRecord& record = result_.records[begin];
      const auto& header = record.header;
      if (!record.value_ok) continue;  // reported already
      const uint64_t length = format::record_size(header.key_length, header.stored_length);
      add_damage(record.offset, record.offset + length,
                 fmt::format("incomplete batch of record seq={}", header.seq.value), header.seq, record.key);
    }
  }

  // The run will never count: it belongs to a commit that nobody was told of.
  void forget_run() {
    result_.records.resize(run_begin_);
    CHECK(run_damage_ <= result_.damage.size());
    result_.damage.resize(run_damage_);
  }

  // --- Torn or damaged ---

  // Whether the byte at `offset` was durable, so that it must verify.
  [[nodiscard]] bool proven(uint64_t offset) {
    if (offset < durable_) return true;
    if (!looked_ahead_) {
      looked_ahead_ = true;
      durable_ = std::max(durable_, image_.durable_by_marks(std::max(offset, format::kSegmentHeaderSize)));
    }
    return offset < durable_;
  }

  // The bytes [begin, end) should hold something and do not: the walk goes on at `end`. False if they were never proven
  // durable: the log ends there.
  bool lost(uint64_t begin, uint64_t end, const char* what) {
    if (!proven(begin)) return false;
    salvage_run();
    DCHECK(begin < end);
    add_damage(begin, std::min(end, durable_), what, {});
    chained_ = false;
    position_ = end;
    begin_run(false);
    return end <= durable_;
  }

  bool skip_gap(const char* what) {
    if (!proven(position_)) return false;  // before the search: it is for nothing then
    return lost(position_, image_.find_record(position_ + format::kRecordAlignment), what);
  }

  void add_damage(uint64_t begin, uint64_t end, std::string what, SeqNo seq, ByteView key = {}) {
    DCHECK(begin <= end);
    result_.damage.push_back({begin, end - begin, std::move(what), seq, Bytes(key)});
  }

  void add_value_damage(const ScannedRecord& record, uint64_t value_end) {
    const auto& header = record.header;
    if (run_first_bad_ == kNone) run_first_bad_ = record.offset;
    add_damage(value_end - record.stored.size(), value_end, fmt::format("value of record seq={}", header.seq.value),
               header.seq, record.key);
  }

  // A record's padding is in the sector of its last byte: a crash cannot change it alone.
  void check_padding(uint64_t begin, uint64_t end) {
    if (!format::all_zero(image_.bytes(begin, end))) add_damage(begin, end, "padding", {});
  }

  // A commit's padding may be in sectors that a crash left as they were. The commit is complete all the same.
  void check_commit_padding(uint64_t begin, uint64_t end) {
    if (format::all_zero(image_.bytes(begin, end))) return;
    if (proven(begin)) add_damage(begin, end, "padding", {});
    std::fill(padding_ + begin, padding_ + end, '\0');
  }

  static constexpr uint64_t kNone = UINT64_MAX;

  const SegmentImage& image_;
  char* const padding_;
  const format::SegmentHeader& header_;
  const ScanOptions& options_;
  SegmentScan& result_;

  uint64_t durable_ = 0;       // offsets below are proven
  bool looked_ahead_ = false;  // whether durable_ knows of the marks further on
  uint64_t position_ = format::kSegmentHeaderSize;
  ScannedMark last_;     // the newest mark; at first what the header says of the one in the segment before
  SeqNo newest_;         // of what counts or was dropped so far
  bool chained_ = true;  // nothing unreadable lies between last_ and position_

  size_t run_begin_ = 0;   // index into result_.records
  size_t run_damage_ = 0;  // index into result_.damage
  uint64_t run_offset_ = format::kSegmentHeaderSize;
  bool run_follows_mark_ = true;  // false: it follows bytes that did not verify
  Bytes run_checksums_;           // of the headers of its records, 8 bytes each
  SeqNo run_first_seq_, run_last_seq_;
  bool run_ascends_ = true;
  uint64_t run_first_bad_ = kNone;  // offset of its first record whose value does not verify
};

}  // namespace

uint64_t scan_log(const SegmentImage& image, char* padding, const format::SegmentHeader& header,
                  const ScanOptions& options, SegmentScan& result) {
  return LogWalk(image, padding, header, options, result).run();
}

}  // namespace cairn::log
