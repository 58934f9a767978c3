// The block index and the filter of a table. FORMAT.md, "Table blocks". Internal.
#pragma once

#include <cstdint>
#include <vector>

#include "cairn/bytes.h"
#include "index/table_block.h"

namespace cairn::index {

// One entry block, as the block index names it. `bound` stands between the blocks: it is greater than every key of the
// blocks before, and not greater than the block's first key. When the block goes on with more versions of the key that
// the block before ends with (`continues`), it is that key, whole.
struct BlockHandle {
  ByteView bound;  // empty for the first block
  bool continues = false;
  uint64_t offset = 0;  // in the file
  uint64_t length = 0;  // bytes, checksum included
};

// The shortest prefix of `first` that is greater than `last`. Needs last < first.
ByteView shortest_bound(ByteView last, ByteView first);

// The handles of a table's blocks, in order. For one thread.
class IndexBuilder {
 public:
  void add(const BlockHandle& handle);
  // Bytes that add() will take at most for a bound of this length.
  static uint64_t cost(uint64_t bound_length) { return bound_length + 2 + 10 + 3 + 4; }
  [[nodiscard]] uint64_t size() const;  // bytes of the sealed block
  // Appends the sealed block to `out`.
  void finish(const BlockPlace& place, Bytes& out);

 private:
  // offsets_[i] is where handle i begins in handles_, so that find() can bisect.
  Bytes handles_;
  Bytes offsets_;
};

// Checks a whole block index, checksum already verified and cut off: bounds in order, and the blocks lie one behind the
// other from `begin` to `end`. Returns what is wrong, or null.
const char* check_index(ByteView index, uint64_t begin, uint64_t end);

// A block index that check_index() has accepted. The bytes must stay where they are.
class BlockIndex {
 public:
  explicit BlockIndex(ByteView index);
  [[nodiscard]] size_t blocks() const { return blocks_; }
  [[nodiscard]] BlockHandle at(size_t i) const;
  // The block in which the first entry with a key >= `target` lies, or at whose end it would. Needs blocks() > 0.
  [[nodiscard]] size_t find(ByteView target) const;

 private:
  ByteView handles_;
  ByteView offsets_;
  size_t blocks_ = 0;
};

// A Bloom filter of cache lines over the hashes of distinct keys (Table::hash), sealed; appended to `out`.
void build_filter(const std::vector<uint64_t>& hashes, const BlockPlace& place, Bytes& out);
uint64_t filter_size(uint64_t keys);  // bytes of the sealed filter block
const char* check_filter(ByteView filter);
// False: certainly none of the keys. `filter` is one that check_filter() has accepted.
[[nodiscard]] bool filter_may_contain(ByteView filter, uint64_t hash);

}  // namespace cairn::index
