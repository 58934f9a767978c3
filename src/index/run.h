// Reading a run: tables with disjoint key ranges, one level of the index.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "cairn/result.h"
#include "index/iterator.h"
#include "index/manifest.h"
#include "index/table.h"

namespace cairn::index {

// The open tables of one ManifestRun. Entries below a table's clip do not exist here. Immutable; thread-safe.
// Errors: those of Table; a block that cannot be read is never "not found".
class Run {
 public:
  struct Part {
    std::shared_ptr<const Table> table;
    ManifestTable described;  // as the manifest does
  };
  // Needs the order that ManifestRun promises, and at least one part.
  explicit Run(std::vector<Part> parts);

  // The newest version of `key` with seq <= max_seq, an erase included. `key_hash` is Table::hash(key).
  Result<std::optional<Table::Found>> get(ByteView key, uint64_t key_hash, SeqNo max_seq) const;
  // The run must outlive the iterator. `fill_cache` as in Table::iterate().
  [[nodiscard]] std::unique_ptr<Iterator> iterate(bool fill_cache = true) const;
  [[nodiscard]] const std::vector<Part>& parts() const { return parts_; }
  [[nodiscard]] uint64_t bytes() const;  // sum of the tables' file sizes, for pick_merge()

 private:
  std::vector<Part> parts_;
};

}  // namespace cairn::index
