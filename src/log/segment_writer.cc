#include "log/segment_writer.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "format/table.h"
#include "io/os_error.h"

namespace cairn::log {
namespace {

// Zeros go out in pieces of this size: the disk stays busy, and other writers get their turn between two of them.
constexpr size_t kFillPiece = 1 << 20;  // bytes
static_assert(kFillPiece % io::kBlockSize == 0);
static_assert(format::kCommitAlignment == io::kBlockSize, "commits are written with direct I/O");
static_assert(format::kSegmentHeaderSize % io::kBlockSize == 0);

// Memory that direct I/O takes. Content is undefined.
struct AlignedBuffer {
  explicit AlignedBuffer(size_t size) : data(static_cast<char*>(std::aligned_alloc(io::kBlockSize, size))) {
    CHECK(data != nullptr);
  }
  ~AlignedBuffer() { std::free(data); }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  char* data;
};

uint64_t round_up(uint64_t n, uint64_t unit) { return (n + unit - 1) / unit * unit; }

// All of the segment's space is taken before its first record: a seal then cannot meet a full disk. Where the file
// system cannot preallocate, it may, and the store treats that as any failed write.
Result<void> fill_prepared(io::File& file, const format::SegmentHeader& header) {
  if (auto r = file.allocate(0, header.superblock.segment_size); !r && r.error().code != ErrorCode::kUnsupported)
    return fail(std::move(r).error());
  AlignedBuffer block(format::kSegmentHeaderSize);
  format::encode_segment_header_block(header, block.data);
  DCHECK(header.prepared && header.superblock.segment_size % io::kBlockSize == 0);
  TRY(file.pwrite(0, {block.data, format::kSegmentHeaderSize}));
  return file.sync();
}

Result<void> write_zeros(io::File& file, uint64_t begin, uint64_t end) {
  AlignedBuffer zeros(std::min<uint64_t>(kFillPiece, end - begin));
  std::memset(zeros.data, 0, std::min<uint64_t>(kFillPiece, end - begin));
  for (uint64_t at = begin; at < end;) {
    const uint64_t length = std::min<uint64_t>(kFillPiece, end - at);
    TRY(file.pwrite(at, {zeros.data, length}));
    at += length;
  }
  return {};
}

}  // namespace

Result<PreparedFile> prepare_segment_file(io::Directory& segments, const format::SegmentHeader& header) {
  PreparedFile out;
  // Order: content under the new name, synced; then the rename; then the directory. A `.seg` file that cannot be read
  // is thus damage and never a crash, and the name is durable before the first record that would be lost with it
  // (hazard 15).
  out.id = header.id;
  out.salt = header.salt;
  out.name = format::segment_file_name(header.id);
  const auto new_name = format::new_segment_file_name(header.id);
  auto file = segments.open(new_name, {io::OpenMode::kCreate, /*direct=*/true});
  if (!file) return fail(io::own_file_error(std::move(file).error()));
  out.file = std::move(*file);
  format::SegmentHeader prepared = header;
  prepared.prepared = true;
  auto filled = fill_prepared(*out.file, prepared);
  if (filled) filled = out.file->close();
  // From here on it may be there under either name.
  const bool renames = filled.has_value();
  if (filled) filled = segments.rename(new_name, out.name);
  if (filled) filled = segments.sync();
  if (filled) {
    // Opened again, so that messages name the file as it is called now.
    file = segments.open(out.name, {io::OpenMode::kReadWrite, /*direct=*/true});
    if (!file) filled = fail(std::move(file).error());
  }
  if (filled) {
    out.file = std::move(*file);
    return out;
  }
  // What stays behind if this fails too is a new or a prepared file, which recovery removes.
  for (const auto& name : {new_name, out.name}) {
    if (name == out.name && !renames) break;
    if (auto gone = segments.unlink(name); !gone && gone.error().code != ErrorCode::kNotFound)
      filled.error().message += "; and " + gone.error().message;
  }
  return fail(io::own_file_error(std::move(filled).error()));
}

Result<void> fill_with_zeros(PreparedFile& prepared, uint64_t segment_size) {
  TRY(write_zeros(*prepared.file, format::kSegmentHeaderSize, segment_size));
  TRY(prepared.file->sync());
  prepared.filled = true;
  return {};
}

SegmentWriter::SegmentWriter(PreparedFile prepared, std::shared_ptr<Slab> slab, const format::SegmentHeader& header)
    : header_(header), prepared_(std::move(prepared)), slab_(std::move(slab)) {
  CHECK(slab_ != nullptr && slab_->size() % format::kCommitAlignment == 0);
  CHECK(!header_.prepared && header_.id == prepared_.id && header_.salt == prepared_.salt);
  CHECK(header_.kind == format::SegmentKind::kLog);
  // Written with the first commit, over the prepared one: until then a crash finds an empty segment.
  format::encode_segment_header_block(header_, slab_->data());
}

uint64_t SegmentWriter::reserve(uint64_t length) {
  const uint64_t at = end_;
  DCHECK(at % format::kRecordAlignment == 0 && end_ <= slab_->size());
  CHECK(length % format::kRecordAlignment == 0 && length <= slab_->size() - end_);
  end_ += length;
  return at;
}

MarkPlace SegmentWriter::place_mark(SeqRange range, const MarkPlace& previous, uint64_t next_ino) {
  // Only the checksums of the headers are hashed, not the bytes: each of them covers its header, key and the value's
  // checksum. The gate is shut meanwhile, and this takes 8 bytes a record.
  Bytes checksums;
  for (uint64_t at = commit_start_; at < end_;) {
    format::RecordHeaderDisk header;
    std::memcpy(&header, slab_->data() + at, sizeof header);
    CHECK(header.type != static_cast<uint8_t>(format::RecordType::kMark));
    checksums.append(slab_->data() + at, sizeof header.checksum);
    at += format::record_size(header.key_length, header.stored_length);
  }
  CHECK(range.last >= range.first.prev() && (range.empty() == (end_ == commit_start_)));
  CHECK(previous.number != CommitNo{} || previous.checksum == 0);
  format::CommitMark mark;
  mark.number = previous.number.next();
  mark.range = range;
  mark.records_checksum = format::checksum(checksums);
  mark.previous_offset = last_mark_.offset;
  mark.previous_checksum = previous.checksum;
  // Read without a lock: it only grows, and an older value proves a little less.
  mark.durable_offset = durable_;
  mark.next_ino = next_ino;
  mark.start_offset = commit_start_;
  const auto disk = format::encode_commit_mark(mark);
  const ByteView value(reinterpret_cast<const char*>(&disk), sizeof disk);

  MarkPlace placed;
  placed.number = mark.number;
  placed.offset = reserve(format::kMarkRecordSize);
  format::RecordHeader header;
  header.type = format::RecordType::kMark;
  header.seq = range.last;
  header.raw_length = sizeof disk;
  header.value_checksum = format::checksum(value);
  placed.checksum = format::encode_record(header, {}, value, place(placed.offset), slab_->data() + placed.offset);
  // The next commit begins on a block of its own, so that no block with acknowledged bytes is ever written again.
  const uint64_t aligned = round_up(end_, format::kCommitAlignment);
  CHECK(aligned <= slab_->size());
  // Slabs come dirty out of the pool: padding is zeroed by whoever is responsible for it (hazard 10).
  std::memset(slab_->data() + end_, 0, aligned - end_);
  end_ = commit_start_ = aligned;
  last_mark_ = placed;
  return placed;
}

Result<void> SegmentWriter::fill(uint64_t offset, uint64_t length) {
  CHECK(length % format::kCommitAlignment == 0 && has_file());
  CHECK(offset % format::kCommitAlignment == 0 && length > 0);
  CHECK(offset >= written_ && offset >= format::kSegmentHeaderSize);
  return write_zeros(*prepared_.file, offset, offset + length);
}

Result<void> SegmentWriter::write_until(uint64_t end) {
  CHECK(end % format::kCommitAlignment == 0 && end <= slab_->size());
  CHECK(written_ % format::kCommitAlignment == 0 && has_file());
  // Each byte is written once: writing a block again that holds an acknowledged commit could tear it.
  if (end <= written_) return {};
  TRY(prepared_.file->pwrite(written_, {slab_->data() + written_, end - written_}));
  written_ = end;
  return {};
}

Result<void> SegmentWriter::sync_until(uint64_t end) {
  TRY(write_until(end));
  // The one that led before has synced it as well.
  if (durable_ >= end) return {};
  TRY(prepared_.file->sync());
  durable_ = end;
  return {};
}

Result<uint64_t> SegmentWriter::seal(ByteView footer) {
  CHECK(!has_uncommitted());
  CHECK(footer.size() >= format::kTableTrailerSize);
  TRY(write_until(commit_start_));
  // Direct I/O wants whole blocks; the cut below takes the padding off again.
  const uint64_t padded = round_up(footer.size(), io::kBlockSize);
  AlignedBuffer buffer(padded);
  std::memcpy(buffer.data, footer.data(), footer.size());
  std::memset(buffer.data + footer.size(), 0, padded - footer.size());
  TRY(prepared_.file->pwrite(commit_start_, {buffer.data, padded}));
  // The trailer is found from the end of the file, so the size belongs to what the sync makes durable. A crash before
  // it leaves a segment without a footer, which recovery walks.
  const uint64_t size = commit_start_ + footer.size();
  TRY(prepared_.file->truncate(size));
  TRY(prepared_.file->sync());
  DCHECK(written_ == commit_start_);
  durable_ = commit_start_;
  TRY(prepared_.file->close());
  return size;
}

Result<uint64_t> SegmentWriter::seal_anew(ByteView footer, io::Directory& segments, const Spare& spare) {
  CHECK(!has_uncommitted() && commit_start_ > format::kSegmentHeaderSize);
  prepared_.file.reset();
  const auto new_name = format::new_segment_file_name(id());
  // The old file first, durably: its room pays for the new one. Losing it loses nothing: the segment is whole in its
  // slab, and was promised to nobody (only a cache comes here).
  for (const auto& name : {new_name, prepared_.name}) {
    if (auto gone = segments.unlink(name); !gone && gone.error().code != ErrorCode::kNotFound)
      return fail(gone.error());
  }
  TRY(segments.sync());
  const uint64_t size = commit_start_ + round_up(footer.size(), io::kBlockSize);
  const auto create = [&]() -> Result<std::unique_ptr<io::File>> {
    auto file = segments.open(new_name, {io::OpenMode::kCreate, /*direct=*/true});
    if (!file) return fail(io::own_file_error(std::move(file).error()));
    auto room = (*file)->allocate(0, size);
    if (room || room.error().code == ErrorCode::kUnsupported) return file;
    if (spare) TRY(segments.unlink(new_name));
    return fail(std::move(room).error());
  };
  auto file = create();
  if (!file && file.error().code == ErrorCode::kNoSpace && spare) {
    if (auto spared = spare(new_name, size); spared)
      file = std::move(*spared);  // else what the disk said is the reason
  }
  if (!file) return fail(std::move(file).error());
  prepared_.file = std::move(*file);
  written_ = 0;
  auto sealed = seal(footer);
  prepared_.file.reset();
  if (!sealed) return sealed;
  TRY(segments.rename(new_name, prepared_.name));
  TRY(segments.sync());
  return sealed;
}

Result<void> SegmentWriter::discard(io::Directory& segments) {
  // The unlink is not synced: an empty prepared segment that comes back is removed by recovery.
  if (!has_file()) return {};
  TRY(prepared_.file->close());
  return segments.unlink(prepared_.name);
}

}  // namespace cairn::log
