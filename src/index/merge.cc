#include "index/merge.h"

#include <algorithm>
#include <utility>

#include "base/bloom_probe.h"
#include "base/check.h"
#include "base/try.h"
#include "index/table.h"
#include "index/table_index.h"

namespace cairn::index {
namespace {

// What one more entry can add to a table at most: itself, and a block that begins with it.
uint64_t room_for(ByteView key, const format::IndexEntry& entry) {
  return format::max_entry_size(key.size(), entry.small.size()) + IndexBuilder::cost(key.size()) + kBloomLineBytes;
}

// Cuts a stream of entries with ascending keys into tables and writes them.
class TableWriter {
 public:
  explicit TableWriter(const MergeOptions& options) : options_(options) {}

  Result<void> add(ByteView key, const format::IndexEntry& entry) {
    // Checked before the entry is added: a table never exceeds its size, so a step never exceeds its room.
    if (builder_ && builder_->size_estimate() + room_for(key, entry) > options_.max_table_bytes) TRY(finish());
    if (!builder_) begin(key);
    DCHECK(builder_->entries() == 0 || table_.last_key < key);
    builder_->add(key, entry);
    table_.last_key = key;
    return {};
  }

  // Writes the open table, if there is one.
  Result<void> finish() {
    if (!builder_) return {};
    table_.entries = builder_->entries();
    const Bytes bytes = builder_->finish();
    builder_.reset();
    CHECK(table_.entries != 0);
    table_.file_size = bytes.size();
    // Built in memory and written at once: a table is at most max_table_bytes.
    TRY_ASSIGN(const std::unique_ptr<io::File> file, options_.create(table_.id, bytes.size()));
    TRY(file->pwrite(0, bytes));
    TRY(file->sync());
    TRY(file->close());
    written_ += bytes.size();
    tables_.push_back(std::move(table_));
    return {};
  }

  // Bytes of finished tables and of the open one.
  [[nodiscard]] uint64_t bytes() const { return written_ + (builder_ ? builder_->size_estimate() : 0); }
  std::vector<ManifestTable> take_tables() { return std::move(tables_); }

 private:
  void begin(ByteView key) {
    CHECK(!builder_);
    table_ = ManifestTable{};
    table_.id = options_.next_id();
    table_.first_key = key;
    format::TableTrailer trailer;
    trailer.kind = format::TableKind::kRun;
    trailer.id = table_.id.value;
    // A salt of its own: blocks of an older table in recycled disk blocks do not verify.
    trailer.salt = options_.random();
    builder_.emplace(trailer);
  }

  const MergeOptions& options_;
  std::optional<TableBuilder> builder_;
  ManifestTable table_;  // the open one
  std::vector<ManifestTable> tables_;
  uint64_t written_ = 0;
};

// How many runs the largest group has that ends with run `last`; 0 if there is none.
size_t group_size(std::span<const uint64_t> run_bytes, size_t last) {
  constexpr uint64_t kMost = uint64_t{1} << 50;  // bytes; larger than any run, and sums of it do not overflow
  uint64_t sum = 0;
  uint64_t largest = 0;
  size_t best = 0;
  for (size_t first = last + 1; first-- > 0;) {
    DCHECK(last < run_bytes.size());
    const uint64_t bytes = std::clamp<uint64_t>(run_bytes[first], 1, kMost);
    sum += bytes;
    largest = std::max(largest, bytes);
    const size_t count = last + 1 - first;
    if (count >= kMergeWidth && largest <= sum - largest) best = count;
  }
  return best;
}

}  // namespace

Result<MergeOutput> merge_step(Iterator& merged, ByteView from, const MergeOptions& options) {
  CHECK(options.next_id && options.create && options.random);
  MergeOutput output;
  TableWriter writer(options);
  Bytes key;
  bool first = true;
  TRY(merged.seek(from));
  while (merged.valid()) {
    // Entries come newest first: the first of a key is the one that counts, and those behind it are what it hides.
    const bool older_version = !first && merged.key() == key;
    if (!older_version) {
      if (writer.bytes() >= options.max_step_bytes) {
        // Between two keys only: all versions of a key end in one table.
        output.resume.emplace(merged.key());
        break;
      }
      key = merged.key();
      first = false;
      // An erase hides older versions in levels below. Where there are none it has done its work (hazard 21).
      const bool erase = merged.entry().type == format::RecordType::kErase;
      if (!erase || !options.bottom) TRY(writer.add(key, merged.entry()));
    }
    TRY(merged.next());
  }
  TRY(writer.finish());
  output.tables = writer.take_tables();
  return output;
}

ManifestRun clip_run(ManifestRun run, ByteView clip) {
  // `clip` itself is not merged yet: a table that ends with it stays.
  std::erase_if(run.tables, [clip](const ManifestTable& table) { return table.last_key < clip; });
  if (!run.tables.empty()) {
    ManifestTable& table = run.tables.front();
    if (table.first_key < clip) table.clip = std::max(table.clip, Bytes(clip));
  }
  return run;
}

std::optional<MergePick> pick_merge(std::span<const uint64_t> run_bytes, size_t max_runs) {
  const size_t runs = run_bytes.size();
  // From the oldest: merging there frees most, and the younger ones grow meanwhile.
  for (size_t last = runs; last-- > 0;) {
    const size_t count = group_size(run_bytes, last);
    if (count != 0) return MergePick{last + 1 - count, count};
  }
  CHECK(max_runs >= 1);
  if (runs <= max_runs) return std::nullopt;
  const size_t count = std::min(runs, std::max(kMergeWidth, runs - max_runs + 1));
  CHECK(count >= 2 && count <= runs);
  MergePick best;
  uint64_t best_bytes = UINT64_MAX;
  for (size_t first = 0; first + count <= runs; ++first) {
    uint64_t bytes = 0;
    for (size_t i = first; i < first + count; ++i) bytes += run_bytes[i];
    if (bytes < best_bytes) best = {first, count};
    best_bytes = std::min(best_bytes, bytes);
  }
  return best;
}

}  // namespace cairn::index
