// The bytes of one segment in memory, and finding records in them.
#pragma once

#include <cstdint>
#include <optional>

#include "cairn/bytes.h"
#include "cairn/result.h"
#include "format/segment.h"
#include "log/scan.h"

namespace cairn::log {

// `offset` is at most a file's size, so the sum does not overflow.
constexpr uint64_t round_up_to_commit(uint64_t offset) {
  return (offset + format::kCommitAlignment - 1) / format::kCommitAlignment * format::kCommitAlignment;
}

// Looks at the bytes [0, limit) of a segment's file. `limit` is a multiple of 4096; the file may end earlier, zeros
// stand for the rest. Everything it finds is bound to the segment's salt, its id and the offset by the record's
// checksum.
class SegmentImage {
 public:
  // Both outlive it. `bytes` is the whole image: its size is limit().
  SegmentImage(ByteView bytes, const format::SegmentHeader& header) : bytes_(bytes), header_(header) {}

  [[nodiscard]] uint64_t limit() const { return bytes_.size(); }
  // Needs begin <= end; clipped at limit().
  [[nodiscard]] ByteView bytes(uint64_t begin, uint64_t end) const { return bytes_.substr(begin, end - begin); }

  struct Found {
    ScannedRecord record;    // value_ok: it lies inside the image; it is not hashed yet
    uint64_t value_end = 0;  // offset behind the value
    uint64_t end = 0;        // offset behind the padding to 8
  };
  // The record at `offset`, if its header and key verify. Both ends are at most limit().
  [[nodiscard]] std::optional<Found> record_at(uint64_t offset) const;
  // The mark in a record of type kMark, if its value verifies and decodes.
  [[nodiscard]] static std::optional<ScannedMark> mark_in(const ScannedRecord& record);
  // The first offset at or behind `offset` where a header verifies, or limit(). Time is linear in the distance.
  [[nodiscard]] uint64_t find_record(uint64_t offset) const;
  // The highest offset that a valid mark at or behind `offset` calls durable; 0 if there is none.
  [[nodiscard]] uint64_t durable_by_marks(uint64_t offset) const;

 private:
  [[nodiscard]] format::RecordPlace place(uint64_t offset) const { return {header_.salt, header_.id, offset}; }

  ByteView bytes_;
  const format::SegmentHeader& header_;
};

// Walks the commits (a log segment) or the records (the other kinds) of `image` into `result`: records, marks, end,
// damage. Returns up to where the segment is proven to have been durable, so that it must verify. `padding` is the same
// memory as the image: what a crash left in the padding of a commit that is kept is made zero.
uint64_t scan_log(const SegmentImage& image, char* padding, const format::SegmentHeader& header,
                  const ScanOptions& options, SegmentScan& result);
uint64_t scan_records(const SegmentImage& image, const format::SegmentHeader& header, const ScanOptions& options,
                      SegmentScan& result);

}  // namespace cairn::log
