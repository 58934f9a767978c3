// Builds the bytes of log segments in memory, commit by commit, and remembers what is where.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"

namespace cairn::test {

inline format::Superblock small_superblock() {
  format::Superblock superblock;
  for (size_t i = 0; i < superblock.uuid.size(); ++i) superblock.uuid[i] = static_cast<unsigned char>(0xa0 + i);
  superblock.segment_size = 256 << 10;
  superblock.chunk_size = 16 << 10;
  superblock.created_seconds = 1'700'000'000;
  return superblock;
}

inline format::SegmentHeader log_header(uint64_t id = 7) {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kLog;
  header.id = SegmentId(id);
  header.salt = 0x5a17'0000'0000'0000 + id;
  header.previous_id = SegmentId(id - 1);
  header.previous_mark = CommitNo(40);
  header.previous_mark_offset = 8192;
  header.previous_mark_checksum = 0x1234'5678'9abc'def0;
  header.first_seq = SeqNo(1000);
  header.next_ino = 500;
  header.proven_id = SegmentId(id - 1);
  header.superblock = small_superblock();
  return header;
}

struct ImageRecord {
  uint64_t offset = 0;
  uint64_t key_offset = 0;
  uint64_t value_offset = 0;
  uint64_t value_end = 0;
  uint64_t end = 0;  // behind the padding to 8
  SeqNo seq;
  Bytes key, value;
  size_t batch = 0;   // number of the batch, from 0
  size_t commit = 0;  // number of the commit, from 0
};

struct ImageCommit {
  uint64_t start = 0;
  uint64_t mark_offset = 0;
  uint64_t mark_end = 0;  // behind the mark's record, before the padding
  uint64_t end = 0;       // multiple of 4096
  format::CommitMark mark;
  uint64_t mark_checksum = 0;
};

// One write of a batch: a value for a key, or its erasure.
struct ImageWrite {
  Bytes key;
  Bytes value;
  bool erase = false;
};

class SegmentImageBuilder {
 public:
  explicit SegmentImageBuilder(const format::SegmentHeader& header = log_header()) : header_(header) {
    bytes_.resize(format::kSegmentHeaderSize);
    format::encode_segment_header_block(header_, bytes_.data());
    next_seq_ = header_.first_seq;
    mark_number_ = header_.previous_mark;
    mark_checksum_ = header_.previous_mark_checksum;
  }

  SegmentImageBuilder& batch(const std::vector<ImageWrite>& writes) {
    for (size_t i = 0; i < writes.size(); ++i) {
      format::RecordHeader record;
      record.type = writes[i].erase ? format::RecordType::kErase : format::RecordType::kPut;
      if (i == 0) record.flags |= format::kBatchFirst;
      if (i + 1 == writes.size()) record.flags |= format::kBatchLast;
      record.seq = next_seq_;
      next_seq_ = next_seq_.next();
      append(record, writes[i].key, writes[i].value);
    }
    ++batches_;
    return *this;
  }
  SegmentImageBuilder& put(Bytes key, Bytes value) { return batch({{std::move(key), std::move(value)}}); }
  SegmentImageBuilder& erase(Bytes key) { return batch({{std::move(key), {}, true}}); }

  // Ends a commit. `durable`: the offset that its mark calls durable; by default all before this commit.
  SegmentImageBuilder& commit() { return commit_durable(commit_start_); }
  SegmentImageBuilder& commit_durable(uint64_t durable) {
    return commit_changed([durable](format::CommitMark& mark) { mark.durable_offset = durable; });
  }
  // With a mark that says something else than it should.
  SegmentImageBuilder& commit_changed(const std::function<void(format::CommitMark&)>& change) {
    ImageCommit commit;
    auto& mark = commit.mark;
    mark.number = mark_number_.next();
    mark.range = {commit_first_seq_ == SeqNo{} ? next_seq_ : commit_first_seq_, next_seq_.prev()};
    mark.records_checksum = format::checksum(checksums_);
    mark.previous_offset = mark_offset_;
    mark.previous_checksum = mark_checksum_;
    mark.next_ino = header_.next_ino + commits_.size();
    mark.start_offset = commit_start_;
    change(mark);
    const auto disk = format::encode_commit_mark(mark);
    format::RecordHeader record;
    record.type = format::RecordType::kMark;
    record.seq = mark.range.last;
    commit.start = commit_start_;
    commit.mark_offset = bytes_.size();
    mark_checksum_ = encode(record, {}, format::bytes_of(disk));
    commit.mark_end = bytes_.size();
    bytes_.resize((bytes_.size() + 4095) / 4096 * 4096);
    commit.end = commit_start_ = bytes_.size();
    commit.mark_checksum = mark_checksum_;
    mark_number_ = mark.number;
    mark_offset_ = commit.mark_offset;
    commits_.push_back(commit);
    checksums_.clear();
    commit_first_seq_ = {};
    return *this;
  }

  [[nodiscard]] const Bytes& bytes() const { return bytes_; }
  // As a preallocated file: zeros behind what was written.
  [[nodiscard]] Bytes preallocated(uint64_t extra = 3 * 4096) const { return bytes_ + Bytes(extra, '\0'); }
  [[nodiscard]] const std::vector<ImageRecord>& records() const { return records_; }
  [[nodiscard]] const std::vector<ImageCommit>& commits() const { return commits_; }
  [[nodiscard]] const format::SegmentHeader& header() const { return header_; }
  [[nodiscard]] uint64_t end() const { return bytes_.size(); }

  // A record of any kind, outside the bookkeeping of batches.
  void append(format::RecordHeader record, const Bytes& key, const Bytes& value) {
    ImageRecord image;
    image.offset = bytes_.size();
    const uint64_t sum = encode(record, key, value);
    checksums_.append(format::bytes_of(format::Le64(sum)));
    if (commit_first_seq_ == SeqNo{}) commit_first_seq_ = record.seq;
    image.key_offset = image.offset + format::kRecordHeaderSize;
    image.value_offset = image.key_offset + key.size();
    image.value_end = image.value_offset + value.size();
    image.end = bytes_.size();
    image.seq = record.seq;
    image.key = key;
    image.value = value;
    image.batch = batches_;
    image.commit = commits_.size();
    records_.push_back(std::move(image));
  }

 private:
  uint64_t encode(format::RecordHeader record, ByteView key, ByteView value) {
    const uint64_t offset = bytes_.size();
    bytes_.resize(offset + format::record_size(key.size(), value.size()));
    record.value_checksum = format::checksum(value);
    return format::encode_record(record, key, value, {header_.salt, header_.id, offset}, bytes_.data() + offset);
  }

  format::SegmentHeader header_;
  Bytes bytes_;
  std::vector<ImageRecord> records_;
  std::vector<ImageCommit> commits_;
  Bytes checksums_;
  SeqNo next_seq_, commit_first_seq_;
  uint64_t commit_start_ = format::kSegmentHeaderSize;
  CommitNo mark_number_;
  uint64_t mark_offset_ = 0;
  uint64_t mark_checksum_ = 0;
  size_t batches_ = 0;
};

}  // namespace cairn::test
