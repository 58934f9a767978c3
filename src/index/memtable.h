// The index of what is in one slab: a skip list in an arena (as in LevelDB). O(log entries) to insert and find.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "format/table.h"
#include "index/iterator.h"

namespace cairn::index {

// Keys and small values are copied in. Any number of readers run beside one writer at a time without locks (writers are
// serialised inside). Entries are never removed; memory is freed with the memtable.
class Memtable {
 public:
  Memtable();
  ~Memtable();
  Memtable(const Memtable&) = delete;
  Memtable& operator=(const Memtable&) = delete;

  // The most that an entry takes, in bytes of memory.
  [[nodiscard]] static size_t memory_of(size_t key_length, size_t small_length);
  // Whoever may not fail in insert() reserves memory_of() all that it is going to insert, and releases as much afterwards.
  // Between the two those inserts throw nothing. reserve() may throw bad_alloc, and has then changed nothing.
  void reserve(size_t bytes);
  void release(size_t bytes);

  // A (key, seq) that is there already is not inserted again. Visible to readers when it returns. May throw bad_alloc,
  // and has then changed nothing.
  void insert(ByteView key, const format::IndexEntry& entry);
  // The newest version of `key` with seq <= max_seq, an erase included. `small` points into the arena.
  [[nodiscard]] std::optional<format::IndexEntry> get(ByteView key, SeqNo max_seq) const;
  // The memtable must outlive the iterator. Entries inserted meanwhile may or may not be seen.
  [[nodiscard]] std::unique_ptr<Iterator> iterate() const;
  [[nodiscard]] size_t entries() const;
  // What it takes: keys, small values and links, in blocks of 256 KiB.
  [[nodiscard]] size_t memory() const;  // bytes of the arena

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::index
