// Writing one log segment: its image grows in a slab, and goes to its file piece by piece.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/types.h"
#include "cairn/result.h"
#include "format/segment.h"
#include "io/env.h"
#include "log/slab.h"

namespace cairn::log {

// The file of a segment to come: created, preallocated, its header (marked `prepared`) and its name durable. Or none, for a
// segment that stays in memory until seal_anew() makes it.
struct PreparedFile {
  SegmentId id;
  uint64_t salt = 0;
  std::string name;
  std::unique_ptr<io::File> file;
  bool filled = false;  // its blocks have been written, not only allocated
};

// Makes one. After an error nothing is left behind, as far as the disk allows. `header` gives id, salt and superblock.
//
// Segments are written with direct I/O: each byte is written once, out of the slab, and whole blocks. A sync then finds
// nothing to write back, and the page cache keeps no second copy (measured: 150 against 180 us for a synced append of 8 KiB).
Result<PreparedFile> prepare_segment_file(io::Directory& segments, const format::SegmentHeader& header);

// Writes zeros over everything behind the header, durably, so that a sync does not have to turn allocated blocks into
// written ones (62 to 100 us, then). Costs a segment's worth of writing: worth it where many small commits follow.
// After an error the file is not to be used.
Result<void> fill_with_zeros(PreparedFile& prepared, uint64_t segment_size);

// Where the newest mark of the log is; the next mark and the next segment name it.
struct MarkPlace {
  CommitNo number;
  uint64_t offset = 0;    // in its segment
  uint64_t checksum = 0;  // header checksum of its record
};

// A segment being filled. The owner serialises everything except filling reserved ranges of the slab; `written` and the file
// belong to whoever holds the owner's I/O token.
class SegmentWriter {
 public:
  // Encodes the header into the slab: `header` is complete (predecessor, first_seq, proven_id).
  SegmentWriter(PreparedFile prepared, std::shared_ptr<Slab> slab, const format::SegmentHeader& header);

  [[nodiscard]] SegmentId id() const { return header_.id; }
  [[nodiscard]] const format::SegmentHeader& header() const { return header_; }
  [[nodiscard]] const std::string& name() const { return prepared_.name; }
  [[nodiscard]] const std::shared_ptr<Slab>& slab() const { return slab_; }
  [[nodiscard]] format::RecordPlace place(uint64_t offset) const { return {header_.salt, header_.id, offset}; }

  // Where the next record goes. reserve() moves it; the caller fills [offset, offset + length).
  [[nodiscard]] uint64_t end() const { return end_; }
  uint64_t reserve(uint64_t length);
  [[nodiscard]] bool has_uncommitted() const { return end_ != commit_start_; }
  [[nodiscard]] const MarkPlace& last_mark() const { return last_mark_; }
  [[nodiscard]] uint64_t commit_end() const { return commit_start_; }  // behind the newest mark, multiple of 4096

  // Appends the mark that commits everything reserved so far (all of it filled), pads, and starts the next commit. `range` is
  // what the commit holds (empty for a repeated mark). `previous` is the log's newest mark. Needs room_for_mark().
  MarkPlace place_mark(SeqRange range, const MarkPlace& previous, uint64_t next_ino);
  static constexpr uint64_t kMarkRoom = format::kMarkRecordSize + format::kCommitAlignment;  // bytes, at most

  // --- With the I/O token ---
  // As fill_with_zeros(), for `length` bytes from `offset` (multiples of 4096, nothing of the image written there yet).
  // Durable with the next sync.
  Result<void> fill(uint64_t offset, uint64_t length);
  [[nodiscard]] bool filled() const { return prepared_.filled; }
  void set_filled() { prepared_.filled = true; }
  // Writes the image up to `end` (multiple of 4096) that is not yet written. Does not sync.
  Result<void> write_until(uint64_t end);
  // write_until + fdatasync; everything below is durable.
  Result<void> sync_until(uint64_t end);
  // Writes image and `footer` (built for base commit_end()), cuts the file to its size, syncs and closes. Returns the file size.
  Result<uint64_t> seal(ByteView footer);
  // The same in a file of its own that is made now, durable with its name: for a segment without a file, or of which a seal failed,
  // after which nothing in its file can be trusted (hazard 14). That one goes first, and with it its room. After an error it may be
  // called again. `spare` (may be empty) gives a file of that name and size where the disk has no room for one.
  using Spare = std::function<Result<std::unique_ptr<io::File>>(const std::string& name, uint64_t size)>;
  Result<uint64_t> seal_anew(ByteView footer, io::Directory& segments, const Spare& spare);
  [[nodiscard]] bool has_file() const { return prepared_.file != nullptr; }
  // Of the image, so many bytes are in the file. For anybody, at any time.
  [[nodiscard]] uint64_t written() const { return written_; }
  // Unlinks an empty segment's file, if it has one (nothing was committed).
  Result<void> discard(io::Directory& segments);

 private:
  format::SegmentHeader header_;
  PreparedFile prepared_;
  std::shared_ptr<Slab> slab_;
  uint64_t end_ = format::kSegmentHeaderSize;
  uint64_t commit_start_ = format::kSegmentHeaderSize;  // where the commit that is being filled begins
  MarkPlace last_mark_;                                 // of this segment; offset 0: none yet
  std::atomic<uint64_t> written_ = 0;                   // bytes of the image that are in the file
  std::atomic<uint64_t> durable_ = 0;                   // bytes of the image known to be durable
};

}  // namespace cairn::log
