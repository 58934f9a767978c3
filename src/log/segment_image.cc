#include "log/segment_image.h"

#include <algorithm>

#include "base/check.h"

namespace cairn::log {

std::optional<SegmentImage::Found> SegmentImage::record_at(uint64_t offset) const {
  DCHECK(offset <= limit() && offset % format::kRecordAlignment == 0);
  const ByteView rest = bytes_.substr(offset);
  auto decoded = format::decode_record_header(rest, place(offset));
  if (!decoded) return std::nullopt;
  const auto& header = decoded->header;
  const uint64_t value_begin = offset + format::kRecordHeaderSize + header.key_length;
  Found found;
  // Clipped to the image: a value that reaches beyond it is reported as damage of what is there.
  found.value_end = std::min(value_begin + header.stored_length, limit());
  found.end = std::min(offset + format::record_size(header.key_length, header.stored_length), limit());
  found.record.offset = offset;
  found.record.header = header;
  found.record.key = decoded->key;
  found.record.stored = bytes(value_begin, found.value_end);
  found.record.value_ok = found.record.stored.size() == header.stored_length;
  return found;
}

std::optional<ScannedMark> SegmentImage::mark_in(const ScannedRecord& record) {
  if (record.header.type != format::RecordType::kMark) return std::nullopt;
  if (!format::value_verifies(record.header, record.stored)) return std::nullopt;
  const auto mark = format::decode_commit_mark(record.stored);
  // A mark that starts behind itself would make a walk go backwards.
  if (!mark || mark->start_offset > record.offset) return std::nullopt;
  return ScannedMark{record.offset, record.header.checksum, *mark};
}

static_assert(format::kSegmentHeaderSize % format::kRecordAlignment == 0);

uint64_t SegmentImage::find_record(uint64_t offset) const {
  // Records lie at multiples of 8 only; from anywhere else the steps below would miss every one of them.
  offset = (offset + format::kRecordAlignment - 1) / format::kRecordAlignment * format::kRecordAlignment;
  // Never by a magic number alone (hazard 19): a header verifies only with this salt, this id and this offset, so a
  // record inside somebody's value does not.
  for (; offset < limit(); offset += format::kRecordAlignment) {
    if (format::is_record_header(bytes_.substr(offset), place(offset))) return offset;
  }
  return limit();
}

uint64_t SegmentImage::durable_by_marks(uint64_t offset) const {
  uint64_t durable = 0;
  // Behind damage nothing chains, so every mark that verifies is believed: it was written by us, and says what was
  // durable then.
  for (offset = find_record(offset); offset < limit(); offset = find_record(offset)) {
    const auto found = record_at(offset);
    if (const auto mark = mark_in(found->record)) durable = std::max(durable, mark->mark.durable_offset);
    offset = found->end;
  }
  return durable;
}

}  // namespace cairn::log
