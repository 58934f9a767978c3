// Writing and reading tables (format/table.h): footers of segments and the table files of runs.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/mutex.h"
#include "cairn/result.h"
#include "format/table.h"
#include "index/block_cache.h"
#include "index/iterator.h"
#include "io/env.h"

namespace cairn::index {

// Builds one table in memory. Entries are added in order (key ascending, seq descending); CHECKed.
class TableBuilder {
 public:
  // `trailer`: kind, id, salt, base, range, marks and next_ino are taken from it, the rest is filled in by finish().
  explicit TableBuilder(const format::TableTrailer& trailer);
  ~TableBuilder();
  // Copies both. Keys of at most format::kMaxKeyLength bytes.
  void add(ByteView key, const format::IndexEntry& entry);
  [[nodiscard]] size_t size_estimate() const;  // bytes the finished table will have, about
  [[nodiscard]] uint64_t entries() const;
  // The table's bytes, from `base` to the end of the trailer. Kind kRun: the range becomes that of the entries. Call
  // once.
  Bytes finish();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// An open table. Reads the trailer at open; filter and block index on first use; every block is verified and decoded
// through the cache. Nothing is mapped. Thread-safe. An unreadable or damaged block is an error, never "not found".
class Table {
 public:
  // Gives the file's descriptor when it is needed (a bounded cache of them stands behind it).
  using OpenFile = std::function<Result<std::shared_ptr<const io::File>>()>;
  struct Identity {
    format::TableKind kind = format::TableKind::kRun;
    uint64_t id = 0;               // the trailer must agree
    std::optional<uint64_t> salt;  // footers: the segment header's
    std::string name;              // for messages, for example "segments/00000000000000a7.seg"
  };
  // kCorrupt (message names the file and the structure) when the trailer is missing or damaged.
  static Result<std::shared_ptr<const Table>> open(OpenFile open_file, Identity identity,
                                                   std::shared_ptr<BlockCache> cache);
  // `open_file` is called again for every block that the cache has not; it may be called from several threads.
  ~Table();

  // Errors: kCorrupt (which block), kIo. Costs one block if index and filter are in the cache.
  // The newest version of `key` with seq <= max_seq, an erase included. `pin` keeps `small` alive.
  struct Found {
    format::IndexEntry entry;
    std::shared_ptr<const void> pin;
  };
  Result<std::optional<Found>> get(ByteView key, SeqNo max_seq) const;
  // False: `key_hash` (Table::hash) is certainly not a key of this table, and get() need not be asked (it does not look
  // at the filter itself, so that a lookup hashes its key once for all tables). A filter that cannot be read counts as
  // true: get() then finds the truth in the blocks, and verify() reports the filter.
  [[nodiscard]] bool may_contain(uint64_t key_hash) const { return filter().may_contain(key_hash); }
  // The same, for who asks about many keys: the filter, held in memory. Outlives the table.
  class Filter {
   public:
    [[nodiscard]] bool may_contain(uint64_t key_hash) const;

   private:
    friend class Table;
    std::shared_ptr<const Bytes> bits_;  // null: every answer is the same
    bool otherwise_ = true;
  };
  [[nodiscard]] Filter filter() const;
  // What filters are made of. Part of the format.
  static uint64_t hash(ByteView key);
  // The table must outlive the iterator. The iterator of a long walk does not fill the cache (`fill_cache` = false).
  [[nodiscard]] std::unique_ptr<Iterator> iterate(bool fill_cache = true) const;
  [[nodiscard]] const format::TableTrailer& trailer() const;
  // Reads and verifies every block, that entries are in order, that counts agree with the trailer, and that the filter
  // answers yes for every key. `damage` is called with one line per finding, e.g. "block at 8192: checksum mismatch".
  Result<void> verify(const std::function<void(const std::string&)>& damage) const;

 private:
  class Impl;
  explicit Table(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace cairn::index
