// Entry blocks of a table: prefix-compressed entries with restart points. FORMAT.md, "Table blocks". Internal.
#pragma once

#include <cstdint>

#include "cairn/bytes.h"
#include "format/table.h"

namespace cairn::index {

// 8 KiB holds some 200 entries of small files: one read from disk, and one checksum, for a lookup.
inline constexpr uint64_t kBlockTarget = 8192;          // bytes of entries after which a block is closed
inline constexpr uint64_t kMaxBlockLength = 128 << 10;  // bytes, checksum included; a reader refuses more
inline constexpr uint64_t kRestartInterval = 16;        // entries
inline constexpr uint64_t kBlockChecksumSize = 8;       // bytes, at the end of every block of any kind
static_assert(kMaxBlockLength > 8 * kBlockTarget, "blocks of long keys close late, see TableBuilder");

// Where a block lies; binds its checksum.
struct BlockPlace {
  uint64_t salt = 0;
  uint64_t id = 0;      // of the segment or table
  uint64_t offset = 0;  // of the block in its file
};
// Appends the checksum of what is in `block` so far.
void seal_block(Bytes& block, const BlockPlace& place);
// Whether `block`, checksum included, is what was sealed at that place.
[[nodiscard]] bool block_verifies(ByteView block, const BlockPlace& place);

// Both take any bytes; neither looks at what is in the block.

// Entries in order, as they will lie on disk. The order is the caller's to keep (TableBuilder CHECKs it). Reused for
// one block after the other. For one thread.
class BlockBuilder {
 public:
  void add(ByteView key, const format::IndexEntry& entry);
  [[nodiscard]] bool empty() const { return restarts_.empty(); }
  // Without restarts and checksum: what kBlockTarget is compared with.
  [[nodiscard]] uint64_t entry_bytes() const { return entries_.size(); }
  [[nodiscard]] uint64_t size() const;  // bytes of the sealed block
  // Appends the sealed block to `out` and starts over.
  void finish(const BlockPlace& place, Bytes& out);

 private:
  // All empty between blocks.
  Bytes entries_;
  Bytes restarts_;
  Bytes last_key_;
  uint64_t count_ = 0;
};

// What check_block() learns on its walk.
struct BlockSummary {
  Bytes first_key, last_key;
  SeqNo first_seq, last_seq;  // of the first and the last entry
  uint64_t entries = 0;
};
// Decodes a whole block, checksum already verified and cut off, and says what is wrong with it, or null: every length
// inside the block, every field in its range, entries strictly in order, restarts where they should be.
const char* check_block(ByteView block, BlockSummary& summary);

// Decodes the entry at `at` of `entries` and moves `at` behind it. `key` is the key before it (empty at a restart) and
// becomes its own. Returns what is wrong, or null.
const char* decode_entry(ByteView entries, size_t& at, Bytes& key, format::IndexEntry& entry);

// A walk over one block that check_block() has accepted (CHECKed as it goes). The bytes must stay where they are. For
// one thread. seek() is O(log restarts) and decodes at most 16 entries more; next() decodes one.
class BlockCursor {
 public:
  BlockCursor() = default;  // not valid
  explicit BlockCursor(ByteView block);
  void seek_first() { go_to(0); }
  // To the first entry that is not before (target, max_seq), or past the end.
  void seek(ByteView target, SeqNo max_seq);
  void next();
  [[nodiscard]] bool valid() const { return valid_; }
  [[nodiscard]] ByteView key() const { return key_; }
  [[nodiscard]] const format::IndexEntry& entry() const { return entry_; }

 private:
  // To the entry that begins there, which must be a restart.
  void go_to(size_t offset);
  [[nodiscard]] bool restart_before(size_t restart, ByteView target, SeqNo max_seq) const;

  ByteView entries_;
  ByteView restarts_;
  size_t at_ = 0;  // of the next entry
  bool valid_ = false;
  Bytes key_;
  format::IndexEntry entry_;
};

// (key, seq) stands before (other, other_seq): key ascending, then newest first.
inline bool entry_before(ByteView key, SeqNo seq, ByteView other, SeqNo other_seq) {
  const int order = key.compare(other);
  return order != 0 ? order < 0 : seq > other_seq;
}

}  // namespace cairn::index
