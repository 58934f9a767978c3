// Loads and verifies the blocks of one table. Internal: what Table, its iterators and its verification stand on.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "index/table.h"
#include "index/table_block.h"
#include "index/table_index.h"

namespace cairn::index {

using Block = std::shared_ptr<const Bytes>;  // content of a verified block, its checksum cut off

// Chosen by who walks: lookups fill, merges and scans of everything only use, verification wants the disk's word.
enum class Caching : uint8_t {
  kFill,    // take it from the cache, keep it there
  kUse,     // take it from the cache, but leave no trace of a long walk there
  kBypass,  // from the file, for verify()
};

// Every block it gives has been checked completely: whoever walks it may CHECK that it decodes. Thread-safe.
// Errors: kCorrupt with the file, the structure and its offset; what opening or reading the file says.
class TableReader {
 public:
  TableReader(Table::OpenFile open_file, Table::Identity identity, std::shared_ptr<BlockCache> cache,
              const format::TableTrailer& trailer);
  ~TableReader();
  TableReader(const TableReader&) = delete;
  TableReader& operator=(const TableReader&) = delete;

  [[nodiscard]] const format::TableTrailer& trailer() const { return trailer_; }
  // Each loads, verifies and decodes one block. A block stays valid as long as it is held.
  Result<Block> index(Caching caching) const;
  Result<Block> filter(Caching caching) const;  // needs a table with a filter
  Result<Block> entries(const BlockIndex& index, size_t number, Caching caching) const;
  // An error that names the file, the structure and where it is.
  [[nodiscard]] Error corrupt(const char* structure, uint64_t offset, const char* what) const;

 private:
  // `check` decodes the whole content and says what is wrong with it, or null. Called before the block enters the
  // cache.
  template <class Check>
  Result<Block> load(const char* structure, uint64_t offset, uint64_t length, Caching caching, Check&& check) const;

  // Nothing here changes after construction: hence thread-safe.
  const Table::OpenFile open_file_;
  const Table::Identity identity_;
  const std::shared_ptr<BlockCache> cache_;
  const uint64_t owner_;  // our name in the cache
  const format::TableTrailer trailer_;
};

// Past the cache: what is in memory may be good while the disk is not. O(file size); holds one block at a time.
// Table::verify().
Result<void> verify_table(const TableReader& table, const std::function<void(const std::string&)>& damage);

}  // namespace cairn::index
