// Walking segments without commits: compacted ones and extents. They count as a whole or not at all: they get their
// name (and an extent its pointer) only after everything was synced. So there is no torn tail to tell from damage: what
// does not verify below the last record is damage, whatever the cause.
#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "format/decode.h"
#include "log/segment_image.h"

namespace cairn::log {
namespace {

class RecordWalk {
 public:
  RecordWalk(const SegmentImage& image, const format::SegmentHeader& header, const ScanOptions& options,
             SegmentScan& result)
      : image_(image), header_(header), options_(options), result_(result) {
    durable_ = std::max(options.durable_end, options.sealed_end.value_or(0));
  }

  uint64_t run() {
    while (position_ < image_.limit()) {
      auto found = image_.record_at(position_);
      if (found && belongs_here(found->record.header)) {
        take(*found);
      } else {
        skip_gap();
      }
    }
    if (durable_ > image_.limit()) add_damage(image_.limit(), durable_, "missing");
    DCHECK(end_ <= position_);
    result_.end = round_up_to_commit(end_);
    if (options_.sealed_end) result_.end = std::max(result_.end, image_.limit());
    return durable_;
  }

 private:
  [[nodiscard]] bool belongs_here(const format::RecordHeader& record) const {
    if (header_.kind == format::SegmentKind::kExtent) return record.type == format::RecordType::kPiece;
    return record.type <= format::RecordType::kExtent && header_.first_seq <= record.seq &&
           record.seq <= header_.last_seq;
  }

  void take(SegmentImage::Found& found) {
    ScannedRecord& record = found.record;
    if (record.value_ok && options_.verify_values)
      record.value_ok = format::value_verifies(record.header, record.stored);
    if (!record.value_ok) {
      add_damage(found.value_end - record.stored.size(), found.value_end,
                 fmt::format("value of record seq={}", record.header.seq.value), record.header.seq, record.key);
    }
    if (!format::all_zero(image_.bytes(found.value_end, found.end))) add_damage(found.value_end, found.end, "padding");
    if (record.value_ok || options_.keep_damaged) result_.records.push_back(record);
    previous_ = record;
    position_ = end_ = found.end;
  }

  // What a record follows is damage. Behind the last one, only what is known to have been written is.
  void skip_gap() {
    const uint64_t next = image_.find_record(position_ + format::kRecordAlignment);
    const bool last = next == image_.limit();
    DCHECK(position_ < next && next <= image_.limit());
    const uint64_t written = last ? std::min(next, durable_) : next;
    if (position_ < written && !may_be_zeros(written, last)) add_damage(position_, written, "record header");
    position_ = next;
  }

  // Whether [position_, end) holds zeros that belong there: the padding at the end, or what compression saved in an
  // extent.
  [[nodiscard]] bool may_be_zeros(uint64_t end, bool last) const {
    if (position_ != end_ || !format::all_zero(image_.bytes(position_, end))) return false;
    if (last) return end <= round_up_to_commit(position_);
    // Pieces lie where they would lie uncompressed: the hole behind one is as long as what it saved, to the byte.
    if (header_.kind != format::SegmentKind::kExtent || !previous_) return false;
    const auto& header = previous_->header;
    return end == format::extent_piece_offset(header.key_length, header.raw_length, header.seq.value + 1);
  }

  void add_damage(uint64_t begin, uint64_t end, std::string what, SeqNo seq = {}, ByteView key = {}) {
    DCHECK(begin <= end);
    result_.damage.push_back({begin, end - begin, std::move(what), seq, Bytes(key)});
  }

  const SegmentImage& image_;
  const format::SegmentHeader& header_;
  const ScanOptions& options_;
  SegmentScan& result_;

  uint64_t durable_ = 0;  // offsets below must verify
  uint64_t position_ = format::kSegmentHeaderSize;
  uint64_t end_ = format::kSegmentHeaderSize;  // behind the last record
  std::optional<ScannedRecord> previous_;      // the last record
};

}  // namespace

uint64_t scan_records(const SegmentImage& image, const format::SegmentHeader& header, const ScanOptions& options,
                      SegmentScan& result) {
  return RecordWalk(image, header, options, result).run();
}

}  // namespace cairn::log
