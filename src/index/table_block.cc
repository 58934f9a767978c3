#include "index/table_block.h"

#include <limits>
#include <optional>
#include <utility>

#include "base/check.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/le.h"
#include "index/byte_cursor.h"

namespace cairn::index {
namespace {

using format::bytes_of;
using format::Le32;
using format::Le64;

constexpr uint8_t kTypeMask = 7;
constexpr int kCodecShift = 3;
constexpr uint8_t kCodecMask = 3;
constexpr uint8_t kSmallBit = 1 << 5;
constexpr uint8_t kUnusedBits = 0xc0;
constexpr char kCutShort[] = "entry cut short";

static_assert(static_cast<int>(format::RecordType::kExtent) <= kTypeMask);
static_assert(static_cast<int>(format::Codec::kZstd) <= kCodecMask);
static_assert((kTypeMask | kCodecMask << kCodecShift | kSmallBit | kUnusedBits) == 0xff, "each bit has one meaning");
static_assert(kMaxBlockLength <= UINT32_MAX, "restart offsets");

// entries · restart offsets · restart count
struct BlockParts {
  ByteView entries;
  ByteView restarts;
};

size_t restart_at(ByteView restarts, size_t i) { return format::load<Le32>(restarts.substr(i * sizeof(Le32))); }

std::optional<BlockParts> split_block(ByteView block) {
  if (block.size() < sizeof(Le32)) return std::nullopt;
  const uint64_t count = format::load<Le32>(block.substr(block.size() - sizeof(Le32)));
  block.remove_suffix(sizeof(Le32));
  // Divided, so that a hostile count cannot overflow the product.
  if (count == 0 || count > block.size() / sizeof(Le32)) return std::nullopt;
  const size_t entries = block.size() - count * sizeof(Le32);
  return BlockParts{block.substr(0, entries), block.substr(entries)};
}

// The rules of record.cc, for what the index repeats of a record. Readers use lengths without asking again.
// Type, codec and lengths of one entry agree with each other.
bool fields_agree(const format::IndexEntry& entry) {
  using format::RecordType;
  if (entry.type < RecordType::kPut || entry.type > RecordType::kExtent) return false;
  if (entry.codec > format::Codec::kZstd) return false;
  if (entry.type == RecordType::kErase && (entry.stored_length != 0 || entry.raw_length != 0)) return false;
  if (entry.codec == format::Codec::kNone && entry.stored_length != entry.raw_length) return false;
  return !entry.has_small || (entry.codec == format::Codec::kNone && entry.stored_length <= format::kMaxInlineValue);
}

const char* decode_key(ByteCursor& in, Bytes& key) {
  const uint64_t shared = in.varint();
  const uint64_t rest = in.varint();
  // Checked one by one: both numbers may be anything, and only after these their sum is safe.
  if (shared > key.size()) return "entry shares more than the key before it has";
  if (rest > format::kMaxKeyLength - shared) return "key too long";
  const ByteView bytes = in.take(rest);
  if (!in.ok()) return kCutShort;
  key.resize(shared);
  key.append(bytes);
  return nullptr;
}

const char* decode_fields(ByteCursor& in, format::IndexEntry& entry) {
  constexpr uint64_t kMax32 = std::numeric_limits<uint32_t>::max();
  const uint64_t seq = in.varint();
  const uint8_t bits = in.u8();
  const uint64_t segment = in.varint();
  const uint64_t offset = in.varint();
  const uint64_t sub_index = in.varint();
  const uint64_t stored_length = in.varint();
  const uint64_t raw_length = in.varint();
  const uint64_t value_checksum = in.u64();
  if (!in.ok()) return kCutShort;
  // 0 is "before everything", so no record has it.
  if (seq == 0 || (bits & kUnusedBits) != 0 || offset > UINT64_MAX / format::kRecordAlignment || sub_index > kMax32 ||
      stored_length > kMax32 || raw_length > kMax32) {
    return "entry field out of range";
  }
  entry.seq = SeqNo(seq);
  entry.type = static_cast<format::RecordType>(bits & kTypeMask);
  entry.codec = static_cast<format::Codec>(bits >> kCodecShift & kCodecMask);
  entry.has_small = (bits & kSmallBit) != 0;
  entry.segment = SegmentId(segment);
  entry.offset = offset * format::kRecordAlignment;
  entry.sub_index = static_cast<uint32_t>(sub_index);
  entry.stored_length = static_cast<uint32_t>(stored_length);
  entry.raw_length = static_cast<uint32_t>(raw_length);
  entry.value_checksum = value_checksum;
  if (!fields_agree(entry)) return "entry fields disagree";
  entry.small = entry.has_small ? in.take(entry.stored_length) : ByteView();
  return in.ok() ? nullptr : kCutShort;
}

}  // namespace

void seal_block(Bytes& block, const BlockPlace& place) {
  // Bound to its place: a block that lies where another one belongs does not verify.
  const uint64_t seed = format::place_seed(place.salt, place.id, place.offset);
  block.append(bytes_of(Le64(format::checksum(block, seed))));
}

bool block_verifies(ByteView block, const BlockPlace& place) {
  if (block.size() < kBlockChecksumSize) return false;
  const ByteView content = block.substr(0, block.size() - kBlockChecksumSize);
  const uint64_t stored = format::load<Le64>(block.substr(content.size()));
  return stored == format::checksum(content, format::place_seed(place.salt, place.id, place.offset));
}

void BlockBuilder::add(ByteView key, const format::IndexEntry& entry) {
  // Every 16th entry has its key whole, so that a search can begin there. Smaller intervals cost bytes, larger ones
  // decoding.
  if (count_++ % kRestartInterval == 0) {
    restarts_.append(bytes_of(Le32(static_cast<uint32_t>(entries_.size()))));
    last_key_.clear();
  }
  format::encode_entry(entries_, last_key_, key, entry);
  last_key_ = key;
}

uint64_t BlockBuilder::size() const { return entries_.size() + restarts_.size() + sizeof(Le32) + kBlockChecksumSize; }

void BlockBuilder::finish(const BlockPlace& place, Bytes& out) {
  // A reader would refuse it otherwise, when it is too late.
  CHECK(!empty() && size() <= kMaxBlockLength);
  Bytes block = std::exchange(entries_, {});
  block.append(restarts_);
  block.append(bytes_of(Le32(static_cast<uint32_t>(restarts_.size() / sizeof(Le32)))));
  seal_block(block, place);
  out.append(block);
  restarts_.clear();
  last_key_.clear();
  count_ = 0;
}

const char* decode_entry(ByteView entries, size_t& at, Bytes& key, format::IndexEntry& entry) {
  ByteCursor in(entries.substr(at));
  if (const char* wrong = decode_key(in, key)) return wrong;
  if (const char* wrong = decode_fields(in, entry)) return wrong;
  at = entries.size() - in.remaining();
  return nullptr;
}

const char* check_block(ByteView block, BlockSummary& summary) {
  const auto parts = split_block(block);
  if (!parts) return "restart count out of range";
  const size_t restarts = parts->restarts.size() / sizeof(Le32);
  size_t next_restart = 0;
  Bytes key;
  format::IndexEntry entry;
  for (size_t at = 0; at < parts->entries.size(); ++summary.entries) {
    // Restarts must be exactly where entries begin, in order: BlockCursor jumps to them without looking.
    if (next_restart < restarts && restart_at(parts->restarts, next_restart) == at) {
      key.clear();
      ++next_restart;
    } else if (at == 0) {
      return "first entry is no restart point";
    }
    if (const char* wrong = decode_entry(parts->entries, at, key, entry)) return wrong;
    if (summary.entries == 0) {
      summary.first_key = key;
      summary.first_seq = entry.seq;
      // Strictly: the same (key, seq) twice would be two records of one number.
    } else if (!entry_before(summary.last_key, summary.last_seq, key, entry.seq)) {
      return "entries out of order";
    }
    summary.last_key = key;
    summary.last_seq = entry.seq;
  }
  if (summary.entries == 0) return "no entries";
  return next_restart == restarts ? nullptr : "restart point inside an entry";
}

BlockCursor::BlockCursor(ByteView block) {
  const auto parts = split_block(block);
  CHECK(parts);
  entries_ = parts->entries;
  restarts_ = parts->restarts;
}

void BlockCursor::go_to(size_t offset) {
  at_ = offset;
  key_.clear();
  next();
}

void BlockCursor::next() {
  valid_ = at_ < entries_.size();
  if (!valid_) return;
  // Entries at restart points share nothing by their own account, so the key before them does not matter.
  // Not input any more: check_block() has walked these very bytes, which live in memory since.
  CHECK(decode_entry(entries_, at_, key_, entry_) == nullptr);
}

bool BlockCursor::restart_before(size_t restart, ByteView target, SeqNo max_seq) const {
  DCHECK(restart < restarts_.size() / sizeof(Le32));
  ByteCursor in(entries_.substr(restart_at(restarts_, restart)));
  CHECK(in.varint() == 0);  // shared
  const ByteView key = in.take(in.varint());
  const SeqNo seq(in.varint());
  return entry_before(key, seq, target, max_seq);
}

void BlockCursor::seek(ByteView target, SeqNo max_seq) {
  // The last restart point before the target, if there is one: what is wanted comes at it or after it.
  size_t low = 0;
  size_t high = restarts_.size() / sizeof(Le32);
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    (restart_before(middle, target, max_seq) ? low : high) = middle;
  }
  CHECK(!restarts_.empty());
  go_to(restart_at(restarts_, low));
  while (valid_ && entry_before(key_, entry_.seq, target, max_seq)) next();
}

}  // namespace cairn::index
