#include "log/segment_reader.h"

#include <algorithm>
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

// One piece of an extent: reads it into `buffer`, verifies it, and gives its stored bytes.
Result<format::Record> read_piece(const io::File& file, const std::string& name, const format::ExtentPointer& pointer,
                                  ByteView key, uint64_t index, std::span<char> buffer) {
  const uint64_t offset = format::extent_piece_offset(key.size(), pointer.piece_size, index);
  TRY_ASSIGN(const size_t got, file.pread(offset, buffer));
  auto record = format::decode_record({buffer.data(), got}, {pointer.salt, pointer.segment, offset});
  if (!record) return corrupt(name, offset, record.error().message);
  const RecordHeader& header = record->header;
  DCHECK(index * pointer.piece_size < pointer.length);
  const uint64_t raw_length = std::min<uint64_t>(pointer.piece_size, pointer.length - index * pointer.piece_size);
  if (header.type != format::RecordType::kPiece || header.seq != SeqNo(index) || record->key != key ||
      header.raw_length != raw_length) {
    return corrupt(name, offset, "is not the piece that belongs here");
  }
  if (!format::value_verifies(header, record->stored)) return corrupt(name, offset, "value: checksum mismatch");
  return record;
}

// Copies bytes [begin, end) of a piece's raw content to `out`; `scratch` has room for all of it.
Result<void> copy_raw(const format::Record& piece, uint64_t begin, uint64_t end, char* scratch, char* out) {
  const char* raw = piece.stored.data();
  if (piece.header.codec != format::Codec::kNone) {
    TRY(format::decompress(piece.header.codec, piece.stored, scratch, piece.header.raw_length));
    raw = scratch;
  }
  CHECK(begin <= end && end <= piece.header.raw_length);
  std::memcpy(out, raw + begin, end - begin);
  return {};
}

}  // namespace

Result<Value> read_record(const RecordSource& source, ByteView key, const format::IndexEntry& entry) {
  const auto& [file, name, salt, segment, buffers, direct] = source;
  const uint64_t length = format::record_size(key.size(), entry.stored_length);
  if (length > kTrustedLength) TRY(expect_room(file, name, entry.offset, length));
  // One pread for header, key and value: the index knows how long they are. Of whole blocks, where the file wants that.
  const uint64_t unit = direct ? io::kBlockSize : 1;
  const uint64_t before = entry.offset % unit;
  const uint64_t wanted = (before + length + unit - 1) / unit * unit;
  CHECK(wanted >= length && wanted % unit == 0 && before < unit);
  const bool small = length < io::BufferPool::kSmallest;
  TRY_ASSIGN(auto buffer,
             small && !direct ? allocate(wanted) : buffers.take(std::max<uint64_t>(wanted, io::BufferPool::kSmallest)));
  TRY_ASSIGN(const size_t got, file.pread(entry.offset - before, {buffer.get(), wanted}));
  const ByteView bytes = ByteView(buffer.get(), std::min<uint64_t>(got, before + length)).substr(std::min(got, before));
  auto record = format::decode_record(bytes, {salt, segment, entry.offset});
  if (!record) return corrupt(name, entry.offset, record.error().message);
  if (const char* what = disagreement(*record, key, entry)) return corrupt(name, entry.offset, what);
  if (!format::value_verifies(record->header, record->stored)) {
    return corrupt(name, entry.offset, "value: checksum mismatch");
  }
  if (!small || !direct) return Value(record->stored, std::move(buffer));
  // Out of the blocks that it shares: held by a cache they would be several times as large.
  TRY_ASSIGN(auto own, allocate(record->stored.size()));
  std::memcpy(own.get(), record->stored.data(), record->stored.size());
  return Value({own.get(), record->stored.size()}, own);
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

Result<Value> read_extent(const io::File& file, const std::string& name, const format::ExtentPointer& pointer,
                          ByteView key, uint64_t offset, uint64_t length) {
  // The caller clips the range to the value; the pointer itself was decoded, so its sizes are bounded.
  CHECK(offset <= pointer.length && length <= pointer.length - offset);
  if (length == 0) return Value();
  const uint64_t end = offset + length;
  const uint64_t piece = pointer.piece_size;
  const uint64_t last = (end - 1) / piece;
  TRY(expect_room(file, name, format::extent_piece_offset(key.size(), pointer.piece_size, last),
                  format::kRecordHeaderSize));
  // Room for one piece as stored, one decompressed, and the answer: memory is bounded by what is asked and two pieces.
  const uint64_t room = format::record_size(key.size(), std::min(piece, pointer.length));
  TRY_ASSIGN(auto buffer, allocate(room));
  TRY_ASSIGN(auto scratch, allocate(std::min(piece, pointer.length)));
  TRY_ASSIGN(auto out, allocate(length));
  for (uint64_t index = offset / piece; index <= last; ++index) {
    TRY_ASSIGN(const auto record, read_piece(file, name, pointer, key, index, {buffer.get(), room}));
    const uint64_t begin = index * piece;
    const uint64_t from = std::max(offset, begin);
    const uint64_t to = std::min(end, begin + record.header.raw_length);
    if (auto copied = copy_raw(record, from - begin, to - begin, scratch.get(), out.get() + (from - offset)); !copied) {
      return fail(copied.error().code, fmt::format("{}: piece {}: {}", name, index, copied.error().message));
    }
  }
  return Value({out.get(), length}, out);
}

}  // namespace cairn::log
