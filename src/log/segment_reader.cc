#include "log/segment_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"

namespace cairn::log {
namespace {

using format::RecordHeader;

// Below it a length that lied costs less than the question.
// Reads longer than this ask first whether the file can hold them at all.
constexpr uint64_t kTrustedLength = 1 << 20;  // bytes
static_assert(kTrustedLength >= 4 * format::kMinPieceSize, "an ordinary chunk needs no stat");

// Memory that is not cleared first: a length that lied costs address space, not pages.
Result<std::shared_ptr<char[]>> allocate(uint64_t length) {
  try {
    return std::make_shared_for_overwrite<char[]>(length);
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kOutOfMemory, fmt::format("no memory for a value of {} bytes", length));
  }
}

tl::unexpected<Error> corrupt(const std::string& name, uint64_t offset, std::string_view what) {
  return fail(ErrorCode::kCorrupt, fmt::format("{}: record at {}: {}", name, offset, what));
}

// The index is younger than nothing: it may name a place that was recycled, or be damaged itself. Keys are compared as
// bytes; hashes identify nothing (design §4.7).
// What disagrees between the record that was read and what the index says of it, or null.
const char* disagreement(const format::Record& record, ByteView key, const format::IndexEntry& entry) {
  const RecordHeader& header = record.header;
  if (record.key != key) return "holds another key";
  if (header.seq != entry.seq || header.type != entry.type) return "holds another version";
  if (header.stored_length != entry.stored_length || header.raw_length != entry.raw_length ||
      header.codec != entry.codec) {
    return "its lengths are not those that the index names";
  }
  if (header.value_checksum != entry.value_checksum) return "its value is not the one that the index names";
  return nullptr;
}

// For lengths that come from the index or a pointer: allocation is bounded by bytes that are really there.
Result<void> expect_room(const io::File& file, const std::string& name, uint64_t offset, uint64_t length) {
  TRY_ASSIGN(const io::FileStat stat, file.stat());
  if (offset > stat.size || length > stat.size - offset) return corrupt(name, offset, "reaches beyond the file");
  return {};
}

// What of a file is read for one record: of whole blocks, where the file wants that.
struct Stretch {
  uint64_t begin = 0, end = 0;  // bytes of the file
  uint64_t before = 0;          // bytes in front of the record
  uint64_t record = 0;          // its length, bytes
  uint64_t value = 0;           // where in the record the value begins, bytes
  [[nodiscard]] uint64_t size() const { return end - begin; }
};

Stretch place_of(const RecordSource& source, ByteView key, const format::IndexEntry& entry) {
  const uint64_t length = format::record_size(key.size(), entry.stored_length);
  const uint64_t unit = source.direct ? io::kBlockSize : 1;
  const uint64_t before = entry.offset % unit;
  const uint64_t size = (before + length + unit - 1) / unit * unit;
  CHECK(size >= length && size % unit == 0 && before < unit);
  return {.begin = entry.offset - before,
          .end = entry.offset - before + size,
          .before = before,
          .record = length,
          .value = format::kRecordHeaderSize + key.size()};
}

constexpr uint64_t kCacheLine = 64;  // bytes

bool is_small(const Stretch& place) { return place.record < io::BufferPool::kSmallest; }

Result<std::shared_ptr<char[]>> buffer_for(const RecordSource& source, const Stretch& place) {
  if (is_small(place) && !source.direct) return allocate(place.size());
  if (source.direct) return source.buffers.take(std::max<uint64_t>(place.size(), io::BufferPool::kSmallest));
  // Not at the buffer's front: the value is to begin with a cache line. It is looked at more often than it is read.
  const uint64_t shift = (kCacheLine - place.value % kCacheLine) % kCacheLine;
  TRY_ASSIGN(auto buffer, source.buffers.take(shift + place.size()));
  char* const front = buffer.get() + shift;
  return std::shared_ptr<char[]>(std::move(buffer), front);
}

// The value of the record that lies in the first `got` bytes of `buffer`, or what is wrong with it.
Result<Value> verified(const RecordSource& source, ByteView key, const format::IndexEntry& entry, const Stretch& place,
                       std::shared_ptr<char[]> buffer, size_t got) {
  const ByteView bytes =
      ByteView(buffer.get(), std::min<uint64_t>(got, place.before + place.record)).substr(std::min(got, place.before));
  auto record = format::decode_record(bytes, {source.salt, source.segment, entry.offset});
  if (!record) return corrupt(source.name, entry.offset, record.error().message);
  if (const char* what = disagreement(*record, key, entry)) return corrupt(source.name, entry.offset, what);
  if (!format::value_verifies(record->header, record->stored)) {
    return corrupt(source.name, entry.offset, "value: checksum mismatch");
  }
  if (!is_small(place) || !source.direct) return Value(record->stored, std::move(buffer));
  // Out of the blocks that it shares: held by a cache they would be several times as large.
  TRY_ASSIGN(auto own, allocate(record->stored.size()));
  std::memcpy(own.get(), record->stored.data(), record->stored.size());
  return Value({own.get(), record->stored.size()}, own);
}

// One read into a buffer for each record, so that a cache that holds one of them holds no more than that. Where two meet inside a
// block that has to be read whole, the first one gets it, and the second one a copy.
class Scatter {
 public:
  explicit Scatter(const RecordSource& source) : source_(source) {}

  Result<void> add(const Stretch& place) {
    uint64_t shared = 0;
    if (!parts_.empty()) {
      const Stretch& last = parts_.back().place;
      CHECK(place.begin + place.before >= last.begin + last.before + last.record);
      shared = end_ - std::min(place.begin, end_);
      CHECK(shared <= place.size() && shared <= last.size());
      TRY(skip_to(place.begin));
    } else {
      begin_ = end_ = place.begin;
    }
    TRY_ASSIGN(auto buffer, buffer_for(source_, place));
    if (shared < place.size()) spans_.emplace_back(buffer.get() + shared, place.size() - shared);
    end_ = place.end;
    parts_.push_back({place, std::move(buffer), shared});
    return {};
  }
  // Bytes that came, from the first record's place on.
  Result<size_t> read() {
    TRY_ASSIGN(const size_t got, source_.file.preadv(begin_, spans_));
    for (size_t i = 1; i < parts_.size(); ++i) {
      const Part& last = parts_[i - 1];
      std::memcpy(parts_[i].buffer.get(), last.buffer.get() + (last.place.size() - parts_[i].shared), parts_[i].shared);
    }
    return got;
  }

  struct Filled {
    Stretch place;
    std::shared_ptr<char[]> buffer;
    size_t length;  // bytes of it that are the file's
  };
  // What of `got` bytes is record `i`'s.
  Filled take(size_t i, size_t got) {
    Part& part = parts_[i];
    const uint64_t before = part.place.begin - begin_;
    return {part.place, std::move(part.buffer),
            std::min<uint64_t>(got - std::min<uint64_t>(got, before), part.place.size())};
  }

 private:
  struct Part {
    Stretch place;
    std::shared_ptr<char[]> buffer;
    uint64_t shared;  // bytes at its front that are at the end of the part before
  };
  // What lies between two records goes where nobody looks.
  Result<void> skip_to(uint64_t offset) {
    if (offset <= end_) return {};
    CHECK(offset - end_ <= kReadGapMax);
    if (!between_) {
      TRY_ASSIGN(between_, source_.buffers.take(io::BufferPool::kSmallest));
    }
    static_assert(kReadGapMax <= io::BufferPool::kSmallest);
    spans_.emplace_back(between_.get(), offset - end_);
    end_ = offset;
    return {};
  }

  const RecordSource& source_;
  std::vector<Part> parts_;
  std::vector<std::span<char>> spans_;
  std::shared_ptr<char[]> between_;
  uint64_t begin_ = 0, end_ = 0;  // of the file, bytes
};

// Memory for a part of an extent's value.
Result<std::shared_ptr<char[]>> room_for(const RecordSource& source, uint64_t length) {
  return length < io::BufferPool::kSmallest ? allocate(length) : source.buffers.take(length);
}

// Reads the pieces of an extent, each straight to where it is wanted.
class PieceReader {
 public:
  PieceReader(const RecordSource& source, const format::ExtentPointer& pointer, ByteView key)
      : source_(source), pointer_(pointer), key_(key), head_(format::kRecordHeaderSize + key.size(), '\0') {}

  // Bytes [from, to) of the raw content of piece `index` to `out`. Not more than that is verified there: what was put there before
  // an error is anything.
  Result<void> read(uint64_t index, uint64_t from, uint64_t to, char* out) {
    const uint64_t length = raw_length(index);
    CHECK(from < to && to <= length);
    const bool whole = to - from == length;
    if (!whole) {
      TRY(make(stored_));
    }
    // At the place it has in the answer, if it is not compressed.
    const std::span<char> place(whole ? out : stored_.get(), length);
    TRY_ASSIGN(const RecordHeader header, fetch(index, place));
    const ByteView stored(place.data(), header.stored_length);
    if (header.codec == format::Codec::kNone) {
      if (!whole) std::memcpy(out, stored.data() + from, to - from);
      return {};
    }
    TRY(make(raw_));
    auto done = whole ? unpack_over(header, stored, out)
                      : format::decompress(header.codec, stored, raw_.get(), header.raw_length);
    if (!done)
      return fail(done.error().code, fmt::format("{}: piece {}: {}", source_.name, index, done.error().message));
    if (!whole) std::memcpy(out, raw_.get() + from, to - from);
    return {};
  }

 private:
  [[nodiscard]] uint64_t raw_length(uint64_t index) const {
    DCHECK(index * pointer_.piece_size < pointer_.length);
    return std::min<uint64_t>(pointer_.piece_size, pointer_.length - index * pointer_.piece_size);
  }
  // Of one piece, made when it is first needed: memory is bounded by what is asked and two pieces.
  Result<void> make(std::shared_ptr<char[]>& buffer) const {
    if (buffer) return {};
    TRY_ASSIGN(buffer, room_for(source_, std::min<uint64_t>(pointer_.piece_size, pointer_.length)));
    return {};
  }
  // Puts the stored bytes of a piece, verified, at the front of `place`, which is as long as the piece is raw.
  Result<RecordHeader> fetch(uint64_t index, std::span<char> place) {
    const uint64_t offset = format::extent_piece_offset(key_.size(), pointer_.piece_size, index);
    const std::array<std::span<char>, 2> spans = {std::span(head_), place};
    TRY_ASSIGN(const size_t got, source_.file.preadv(offset, spans));
    const auto record = format::decode_record_header(ByteView(head_).substr(0, std::min(got, head_.size())),
                                                     {pointer_.salt, pointer_.segment, offset});
    if (!record) return corrupt(source_.name, offset, record.error().message);
    const RecordHeader& header = record->header;
    if (header.type != format::RecordType::kPiece || header.seq != SeqNo(index) || record->key != key_ ||
        header.raw_length != place.size()) {
      return corrupt(source_.name, offset, "is not the piece that belongs here");
    }
    // Header and key lie in `head_`, which is as long as both.
    if (header.stored_length > std::min<uint64_t>(got - head_.size(), place.size())) {
      return corrupt(source_.name, offset, "record: value reaches beyond the bytes that are there");
    }
    if (!format::value_verifies(header, {place.data(), header.stored_length})) {
      return corrupt(source_.name, offset, "value: checksum mismatch");
    }
    return header;
  }
  // What lies packed where it belongs unpacked: out of the way, and back.
  Result<void> unpack_over(const RecordHeader& header, ByteView stored, char* out) {
    std::memcpy(raw_.get(), stored.data(), stored.size());
    return format::decompress(header.codec, {raw_.get(), stored.size()}, out, header.raw_length);
  }

  const RecordSource& source_;
  const format::ExtentPointer& pointer_;
  const ByteView key_;
  Bytes head_;  // of a piece: header and key
  std::shared_ptr<char[]> stored_, raw_;
};

}  // namespace

Result<Value> read_record(const RecordSource& source, ByteView key, const format::IndexEntry& entry) {
  const Stretch place = place_of(source, key, entry);
  if (place.record > kTrustedLength) TRY(expect_room(source.file, source.name, entry.offset, place.record));
  // One pread for header, key and value: the index knows how long they are.
  TRY_ASSIGN(auto buffer, buffer_for(source, place));
  TRY_ASSIGN(const size_t got, source.file.pread(place.begin, {buffer.get(), place.size()}));
  return verified(source, key, entry, place, std::move(buffer), got);
}

std::vector<std::optional<Value>> read_records(const RecordSource& source, std::span<const RecordRequest> requests) {
  CHECK(!requests.empty());
  std::vector<std::optional<Value>> values(requests.size());
  Scatter scatter(source);
  for (const RecordRequest& request : requests)
    if (!scatter.add(place_of(source, request.key, *request.entry))) return values;
  const auto got = scatter.read();
  if (!got) return values;
  for (size_t i = 0; i < requests.size(); ++i) {
    auto part = scatter.take(i, *got);
    auto value = verified(source, requests[i].key, *requests[i].entry, part.place, std::move(part.buffer), part.length);
    if (value) values[i] = std::move(*value);
  }
  return values;
}

Result<Value> decode_value(const format::IndexEntry& entry, Value stored, uint32_t max_raw_length) {
  // Before anything is allocated (hazard 35).
  if (entry.raw_length > max_raw_length) {
    return fail(ErrorCode::kCorrupt,
                fmt::format("value of {} bytes, more than the {} that it may have", entry.raw_length, max_raw_length));
  }
  if (entry.codec == format::Codec::kNone) {
    if (stored.size() == entry.raw_length) return stored;
    return fail(ErrorCode::kCorrupt, fmt::format("value of {} bytes has {}", entry.raw_length, stored.size()));
  }
  TRY_ASSIGN(auto raw, allocate(entry.raw_length));
  TRY(format::decompress(entry.codec, stored.view(), raw.get(), entry.raw_length));
  return Value({raw.get(), entry.raw_length}, raw);
}

Result<void> write_extent(io::File& file, const format::SegmentHeader& header, ByteView key, ByteView value,
                          uint32_t piece_size, format::Compression compression) {
  CHECK(!value.empty() && piece_size >= format::kMinPieceSize && piece_size <= format::kMaxRawLength);
  if (value.size() > format::kMaxExtentLength) {
    return fail(ErrorCode::kTooLarge,
                fmt::format("value of {} bytes, at most {}", value.size(), format::kMaxExtentLength));
  }
  // Fields of the log's chain stay 0: an extent is no link of it.
  format::SegmentHeader own;
  own.kind = format::SegmentKind::kExtent;
  own.id = header.id;
  own.salt = header.salt;
  own.next_ino = header.next_ino;
  own.superblock = header.superblock;
  Bytes block(format::kSegmentHeaderSize, '\0');
  format::encode_segment_header_block(own, block.data());
  TRY(file.pwrite(0, block));

  Bytes compressed, image;
  uint64_t end = format::kSegmentHeaderSize;
  for (uint64_t index = 0; index * piece_size < value.size(); ++index) {
    const ByteView raw = value.substr(index * piece_size, piece_size);
    RecordHeader record;
    record.type = format::RecordType::kPiece;
    record.seq = SeqNo(index);
    record.raw_length = static_cast<uint32_t>(raw.size());
    record.codec = format::compress(compression, raw, compressed);
    const ByteView stored = record.codec == format::Codec::kNone ? raw : ByteView(compressed);
    record.value_checksum = format::checksum(stored);
    // At the place it would have uncompressed: what was saved stays a hole, which costs no block.
    const uint64_t offset = format::extent_piece_offset(key.size(), piece_size, index);
    image.resize(format::record_size(key.size(), stored.size()));
    format::encode_record(record, key, stored, {own.salt, own.id, offset}, image.data());
    TRY(file.pwrite(offset, image));
    end = offset + image.size();
  }
  // To a whole block: the walk then sees zeros up to there, and direct readers find an aligned end.
  TRY(file.truncate((end + io::kBlockSize - 1) / io::kBlockSize * io::kBlockSize));
  return file.sync();
}

Result<Value> read_extent(const RecordSource& source, const format::ExtentPointer& pointer, ByteView key,
                          uint64_t offset, uint64_t length) {
  // The caller clips the range to the value; the pointer itself was decoded, so its sizes are bounded.
  CHECK(offset <= pointer.length && length <= pointer.length - offset);
  CHECK(!source.direct);
  if (length == 0) return Value();
  const uint64_t end = offset + length;
  const uint64_t piece = pointer.piece_size;
  const uint64_t last = (end - 1) / piece;
  TRY(expect_room(source.file, source.name, format::extent_piece_offset(key.size(), pointer.piece_size, last),
                  format::kRecordHeaderSize));
  TRY_ASSIGN(auto out, room_for(source, length));
  PieceReader pieces(source, pointer, key);
  for (uint64_t index = offset / piece; index <= last; ++index) {
    const uint64_t begin = index * piece;
    const uint64_t from = std::max(offset, begin);
    const uint64_t to = std::min(end, begin + piece);
    TRY(pieces.read(index, from - begin, to - begin, out.get() + (from - offset)));
  }
  return Value({out.get(), length}, out);
}

}  // namespace cairn::log
