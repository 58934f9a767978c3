// Ordered walks over index entries: memtables, tables, and merges of them.
#pragma once

#include <memory>
#include <vector>

#include "cairn/result.h"
#include "format/table.h"

namespace cairn::index {

// Entries in order (key ascending, then seq descending). Starts invalid: seek first. One thread at a time.
// Errors: seek() and next() return them (a block that cannot be read or fails its checksum); the iterator is invalid
// then.
class Iterator {
 public:
  virtual ~Iterator() = default;
  // To the first entry with (key, seq) not before (target, max_seq): key > target, or key == target and seq <= max_seq.
  virtual Result<void> seek(ByteView target, SeqNo max_seq = kMaxSeq) = 0;
  virtual Result<void> next() = 0;  // needs valid()
  [[nodiscard]] virtual bool valid() const = 0;
  // Views live until the next seek() or next(). Need valid().
  [[nodiscard]] virtual ByteView key() const = 0;
  [[nodiscard]] virtual const format::IndexEntry& entry() const = 0;
};

// The union of `inputs`, in order. The same (key, seq) from several inputs comes once, from the first input that has
// it. Owns the inputs.
std::unique_ptr<Iterator> merge_iterators(std::vector<std::unique_ptr<Iterator>> inputs);

}  // namespace cairn::index
