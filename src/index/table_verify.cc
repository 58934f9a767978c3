#include <algorithm>
#include <optional>
#include <utility>

#include "base/check.h"
#include "format/checksum.h"
#include "index/table_reader.h"

namespace cairn::index {
namespace {

// One walk over everything in a table, past the cache. Goes on behind a block that is damaged: whoever reads the report
// wants all of it, and the first error alone decides what run() returns.
class Verifier {
 public:
  Verifier(const TableReader& table, const std::function<void(const std::string&)>& damage)
      : table_(table), trailer_(table.trailer()), damage_(damage) {}

  Result<void> run() {
    Result<Block> index_block = table_.index(Caching::kBypass);
    if (!index_block) {
      // Without the block index nobody knows where blocks begin.
      report(std::move(index_block).error());
      return fail(*first_);
    }
    if (trailer_.filter_length != 0) {
      if (Result<Block> filter = table_.filter(Caching::kBypass)) {
        filter_ = std::move(*filter);
      } else {
        report(std::move(filter).error());
      }
    }
    const BlockIndex index(**index_block);
    // A filter that cannot be read costs lookups, not data: the blocks are checked all the same.
    for (size_t i = 0; i < index.blocks(); ++i) check(index, i);
    // With a block missing the counts cannot agree, and saying so would be a second finding about the same damage.
    if (complete_) check_counts();
    return first_ ? Result<void>(fail(*first_)) : Result<void>{};
  }

 private:
  void report(Error error) {
    damage_(error.message);
    if (!first_) first_ = std::move(error);
  }

  void check(const BlockIndex& index, size_t number) {
    const BlockHandle handle = index.at(number);
    const Result<Block> block = table_.entries(index, number, Caching::kBypass);
    if (!block) {
      complete_ = false;
      return report(block.error());
    }
    BlockCursor cursor(**block);
    cursor.seek_first();
    if (handle.continues && last_seq_ && *last_seq_ <= cursor.entry().seq) {
      report(table_.corrupt("block", handle.offset, "versions of a key out of order"));
    }
    for (; cursor.valid(); cursor.next()) check(handle, cursor.key(), cursor.entry());
  }

  void check(const BlockHandle& handle, ByteView key, const format::IndexEntry& entry) {
    if (filter_ && !filter_may_contain(*filter_, Table::hash(key))) {
      report(table_.corrupt("filter", trailer_.filter_offset, "denies a key of the table"));
      filter_.reset();  // one finding is enough
    }
    // The block's own checksum has held, so this was written wrong: by a bug, or on purpose.
    if (entry.has_small && format::checksum(entry.small) != entry.value_checksum) {
      report(table_.corrupt("block", handle.offset, "a small value does not match its checksum"));
    }
    ++entries_;
    if (entry.type == format::RecordType::kErase) ++erases_;
    record_bytes_ += format::record_size(key.size(), entry.stored_length);
    seen_.first = std::min(entries_ == 1 ? entry.seq : seen_.first, entry.seq);
    seen_.last = std::max(seen_.last, entry.seq);
    last_seq_ = entry.seq;
  }

  void check_counts() {
    // A footer's range is what its segment owns, which may be more than what is left in it.
    DCHECK(erases_ <= entries_);
    const bool range_agrees =
        entries_ == 0 || (trailer_.kind == format::TableKind::kRun
                              ? seen_ == trailer_.range
                              : trailer_.range.contains(seen_.first) && trailer_.range.contains(seen_.last));
    if (entries_ != trailer_.entries || erases_ != trailer_.erases || record_bytes_ != trailer_.record_bytes ||
        !range_agrees) {
      report(table_.corrupt("trailer", trailer_.index_offset + trailer_.index_length,
                            "its counts do not agree with the entries"));
    }
  }

  const TableReader& table_;
  const format::TableTrailer& trailer_;
  const std::function<void(const std::string&)>& damage_;
  std::optional<Error> first_;
  Block filter_;
  bool complete_ = true;  // every block could be read
  uint64_t entries_ = 0;
  uint64_t erases_ = 0;
  uint64_t record_bytes_ = 0;
  SeqRange seen_;
  std::optional<SeqNo> last_seq_;  // of the entry before
};

}  // namespace

Result<void> verify_table(const TableReader& table, const std::function<void(const std::string&)>& damage) {
  return Verifier(table, damage).run();
}

}  // namespace cairn::index
