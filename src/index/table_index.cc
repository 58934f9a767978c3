#include "index/table_index.h"

#include <algorithm>

#include "base/bloom_probe.h"
#include "base/check.h"
#include "format/decode.h"
#include "format/le.h"
#include "format/varint.h"
#include "index/byte_cursor.h"

namespace cairn::index {
namespace {

using format::bytes_of;
using format::Le32;

static_assert((format::kMaxKeyLength << 1) < (1 << 14), "IndexBuilder::cost(): a head of two bytes");
static_assert(kMaxBlockLength < (1 << 21), "IndexBuilder::cost(): a length of three bytes");

uint64_t filter_lines(uint64_t keys) { return (keys * kBloomBitsPerKey + kBloomLineBits - 1) / kBloomLineBits; }

// The handle at the front of `in`; `in` is not ok() if there is none.
BlockHandle decode_handle(ByteCursor& in) {
  // The lowest bit of the length says `continues`. take() clips nothing: a length that is too long fails.
  const uint64_t head = in.varint();
  const ByteView bound = in.take(head >> 1);
  const uint64_t offset = in.varint();
  const uint64_t length = in.varint();
  return {bound, (head & 1) != 0, offset, length};
}

}  // namespace

ByteView shortest_bound(ByteView last, ByteView first) {
  const auto differs = std::mismatch(last.begin(), last.end(), first.begin(), first.end());
  // Else `first` would be a prefix of `last`, and so not behind it.
  CHECK(differs.second != first.end());
  return first.substr(0, static_cast<size_t>(differs.second - first.begin()) + 1);
}

void IndexBuilder::add(const BlockHandle& handle) {
  CHECK(handles_.size() <= UINT32_MAX && handle.length <= kMaxBlockLength);
  offsets_.append(bytes_of(Le32(static_cast<uint32_t>(handles_.size()))));
  format::put_varint(handles_, handle.bound.size() << 1 | (handle.continues ? 1 : 0));
  handles_.append(handle.bound);
  format::put_varint(handles_, handle.offset);
  format::put_varint(handles_, handle.length);
}

uint64_t IndexBuilder::size() const { return handles_.size() + offsets_.size() + sizeof(Le32) + kBlockChecksumSize; }

void IndexBuilder::finish(const BlockPlace& place, Bytes& out) {
  Bytes block = handles_;
  block.append(offsets_);
  block.append(bytes_of(Le32(static_cast<uint32_t>(offsets_.size() / sizeof(Le32)))));
  seal_block(block, place);
  out.append(block);
}

const char* check_index(ByteView index, uint64_t begin, uint64_t end) {
  if (index.size() < sizeof(Le32)) return "cut short";
  const uint64_t count = format::load<Le32>(index.substr(index.size() - sizeof(Le32)));
  index.remove_suffix(sizeof(Le32));
  // As in split_block(): nothing is multiplied or allocated before it is known to fit.
  if (count > index.size() / sizeof(Le32)) return "block count out of range";
  const ByteView handles = index.substr(0, index.size() - count * sizeof(Le32));
  const ByteView offsets = index.substr(handles.size());
  ByteCursor in(handles);
  BlockHandle previous;
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t offset = format::load<Le32>(offsets.substr(i * sizeof(Le32)));
    if (offset != handles.size() - in.remaining()) return "offset of a block's entry is wrong";
    const BlockHandle handle = decode_handle(in);
    if (!in.ok()) return "a block's entry is cut short";
    if (handle.bound.size() > format::kMaxKeyLength) return "bound too long";
    // What find() relies on for its binary search.
    const bool in_order = i == 0
                              ? handle.bound.empty() && !handle.continues
                              : previous.bound < handle.bound || (handle.continues && previous.bound == handle.bound);
    if (!in_order) return "bounds out of order";
    if (handle.length <= kBlockChecksumSize || handle.length > kMaxBlockLength) return "block length out of range";
    // Without gaps and overlaps, from the first block to the filter: no block can be read twice or left out.
    if (handle.offset != begin || handle.length > end - begin) return "blocks do not lie one behind the other";
    begin += handle.length;
    previous = handle;
  }
  if (in.remaining() != 0) return "bytes that nothing names";
  return begin == end ? nullptr : "blocks do not lie one behind the other";
}

BlockIndex::BlockIndex(ByteView index) {
  DCHECK(index.size() >= sizeof(Le32));
  blocks_ = format::load<Le32>(index.substr(index.size() - sizeof(Le32)));
  DCHECK(blocks_ <= index.size() / sizeof(Le32));
  index.remove_suffix(sizeof(Le32));
  handles_ = index.substr(0, index.size() - blocks_ * sizeof(Le32));
  offsets_ = index.substr(handles_.size());
}

BlockHandle BlockIndex::at(size_t i) const {
  // check_index() has decoded each of them.
  CHECK(i < blocks_);
  ByteCursor in(handles_.substr(format::load<Le32>(offsets_.substr(i * sizeof(Le32)))));
  const BlockHandle handle = decode_handle(in);
  CHECK(in.ok());
  return handle;
}

size_t BlockIndex::find(ByteView target) const {
  // The last block whose bound does not lie behind the target. If it goes on with versions of the target's own key, the
  // first of them are in a block before.
  CHECK(blocks_ > 0);
  size_t low = 0;
  size_t high = blocks_;
  while (high - low > 1) {
    const size_t middle = low + (high - low) / 2;
    const BlockHandle handle = at(middle);
    const int order = handle.bound.compare(target);
    (order < 0 || (order == 0 && !handle.continues) ? low : high) = middle;
  }
  return low;
}

uint64_t filter_size(uint64_t keys) {
  return keys == 0 ? 0 : filter_lines(keys) * kBloomLineBytes + kBlockChecksumSize;
}

void build_filter(const std::vector<uint64_t>& hashes, const BlockPlace& place, Bytes& out) {
  if (hashes.empty()) return;
  const uint64_t lines = filter_lines(hashes.size());
  DCHECK(lines > 0 && lines <= uint64_t{1} << 32);
  Bytes filter(lines * kBloomLineBytes, '\0');
  for (const uint64_t hash : hashes) {
    char* const line = filter.data() + bloom_line(hash, lines) * kBloomLineBytes;
    bloom_bits(hash, [line](uint32_t bit) { line[bit / 8] = static_cast<char>(line[bit / 8] | 1 << bit % 8); });
  }
  seal_block(filter, place);
  out.append(filter);
}

const char* check_filter(ByteView filter) {
  return filter.empty() || filter.size() % kBloomLineBytes != 0 ? "length is no multiple of a line" : nullptr;
}

bool filter_may_contain(ByteView filter, uint64_t hash) {
  DCHECK(check_filter(filter) == nullptr);
  const uint64_t lines = filter.size() / kBloomLineBytes;
  const char* const line = filter.data() + bloom_line(hash, lines) * kBloomLineBytes;
  bool all = true;
  bloom_bits(hash, [line, &all](uint32_t bit) { all = all && (line[bit / 8] >> bit % 8 & 1) != 0; });
  return all;
}

}  // namespace cairn::index
