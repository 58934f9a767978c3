#include "store/version.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "log/segment_reader.h"

namespace cairn::store {
namespace {

// Opens one table after the other. In each it begins behind the clip: entries before it are in a younger run already.
class RunIterator final : public index::Iterator {
 public:
  RunIterator(std::shared_ptr<const Run> run, bool fill_cache) : run_(std::move(run)), fill_cache_(fill_cache) {}

  Result<void> seek(ByteView target, SeqNo max_seq) override {
    const auto& tables = run_->tables;
    // Tables are disjoint and ascending: only the first that does not end before the target can hold it.
    const auto it = std::lower_bound(tables.begin(), tables.end(), target,
                                     [](const RunTable& t, ByteView key) { return t.meta.last_key < key; });
    at_ = static_cast<size_t>(it - tables.begin());
    if (at_ == tables.size()) {
      current_.reset();
      return {};
    }
    return enter(target, max_seq);
  }
  Result<void> next() override {
    DCHECK(valid());
    TRY(current_->next());
    return skip_exhausted();
  }
  [[nodiscard]] bool valid() const override { return current_ && current_->valid(); }
  [[nodiscard]] ByteView key() const override { return current_->key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return current_->entry(); }

 private:
  Result<void> enter(ByteView target, SeqNo max_seq) {
    CHECK(at_ < run_->tables.size());
    const RunTable& table = run_->tables[at_];
    current_ = table.table->iterate(fill_cache_);
    // From the clip on all versions count, whatever max_seq says about the target.
    if (target < ByteView(table.meta.clip)) {
      TRY(current_->seek(table.meta.clip));
    } else {
      TRY(current_->seek(target, max_seq));
    }
    return skip_exhausted();
  }
  Result<void> skip_exhausted() {
    // A table may end before its last key when the search began behind it.
    while (!current_->valid() && at_ + 1 < run_->tables.size()) {
      ++at_;
      const RunTable& table = run_->tables[at_];
      current_ = table.table->iterate(fill_cache_);
      TRY(current_->seek(table.meta.clip));
    }
    return {};
  }

  std::shared_ptr<const Run> run_;
  bool fill_cache_;
  size_t at_ = 0;
  std::unique_ptr<index::Iterator> current_;
};

// What of it lies in a value of `size` bytes. One after the other, so that the sum cannot overflow.
ReadRange clip(ReadRange range, uint64_t size) {
  range.offset = std::min(range.offset, size);
  range.length = std::min(range.length, size - range.offset);
  return range;
}

Value clipped(const Value& value, const ReadRange& range) {
  const auto [offset, length, fill_cache] = clip(range, value.size());
  return value.slice(offset, length);
}

bool is_in_part(const ReadRange& range, const FoundEntry& found) {
  return range.offset != 0 || range.length < found.entry.raw_length;
}

// Whether its record can be read with its neighbours: it is where the index says, in a file that is long enough for it.
bool may_be_joined(const Version& version, const Lookup& lookup) {
  const format::IndexEntry& entry = lookup.found.entry;
  if (lookup.found.slab || entry.has_small || entry.type != format::RecordType::kPut) return false;
  const SegmentSet::Ref* segment = version.segments->find(entry.segment);
  if (segment == nullptr) return false;
  const uint64_t size = (*segment)->meta().file_size;
  return entry.offset <= size && format::record_size(lookup.key.size(), entry.stored_length) <= size - entry.offset;
}

// How many from the front, in order of their places, are read by one call.
size_t joined(std::span<const Lookup* const> lookups) {
  constexpr uint64_t kLongest = 4 << 20;  // bytes; a longer read waits no less often for the disk
  constexpr size_t kMost = 256;           // records; the kernel takes 1024 pieces, and there is one between any two
  const format::IndexEntry& first = lookups.front()->found.entry;
  uint64_t end = first.offset;
  size_t count = 0;
  for (const Lookup* lookup : lookups.first(std::min(lookups.size(), kMost))) {
    const format::IndexEntry& entry = lookup->found.entry;
    if (entry.segment != first.segment || entry.offset < end || entry.offset - end > log::kReadGapMax) break;
    end = entry.offset + format::record_size(lookup->key.size(), entry.stored_length);
    if (count != 0 && end - first.offset > kLongest) break;
    ++count;
  }
  return count;
}

Result<std::optional<FoundEntry>> get_in_table(const index::Table& table, ByteView key, SeqNo max_seq) {
  TRY_ASSIGN(auto found, table.get(key, max_seq));
  if (!found) return std::nullopt;
  return FoundEntry{found->entry, found->pin, nullptr};
}

// By its range. What is before the clip was merged, and is found in a level above.
bool covers(const RunTable& table, ByteView key) {
  return key >= ByteView(table.meta.first_key) && key >= ByteView(table.meta.clip);
}

// Without `filtered` blocks are looked at at once.
Result<std::optional<FoundEntry>> find_in_run(const Run& run, ByteView key, uint64_t hash, SeqNo max_seq,
                                              bool filtered) {
  const auto it = std::lower_bound(run.tables.begin(), run.tables.end(), key,
                                   [](const RunTable& t, ByteView k) { return t.meta.last_key < k; });
  if (it == run.tables.end() || !covers(*it, key)) return std::nullopt;
  if (filtered && !it->table->may_contain(hash)) return std::nullopt;
  return get_in_table(*it->table, key, max_seq);
}

// Without looking at its filter.
Result<std::optional<FoundEntry>> get_in_level(const LogLevel& level, ByteView key, SeqNo max_seq) {
  // While there is one it is asked, also of a sealed level: no block has to be read, and a footer says the same.
  if (level.memtable) {
    auto entry = level.memtable->get(key, max_seq);
    if (!entry) return std::nullopt;
    return FoundEntry{*entry, level.memtable, level.slab};
  }
  CHECK(level.footer != nullptr);
  return get_in_table(*level.footer, key, max_seq);
}

}  // namespace

std::unique_ptr<index::Iterator> iterate_run(std::shared_ptr<const Run> run, bool fill_cache) {
  return std::make_unique<RunIterator>(std::move(run), fill_cache);
}

std::unique_ptr<index::Iterator> LogLevel::iterate(bool fill_cache) const {
  CHECK(memtable != nullptr || footer != nullptr);
  return memtable ? memtable->iterate() : footer->iterate(fill_cache);
}

Result<std::optional<FoundEntry>> Version::find(ByteView key, SeqNo max_seq) const {
  // Once for all tables.
  const uint64_t hash = index::Table::hash(key);
  for (const LogLevel& level : log) {
    if (!level.memtable && !level.footer->may_contain(hash)) continue;
    TRY_ASSIGN(auto found, get_in_level(level, key, max_seq));
    if (found) return found;
  }
  for (const auto& run : runs) {
    // Not by its filters in the last one: it holds most keys, and absent ones the filter over all of them has kept away. Its filters
    // are the larger part of all that lookups want in memory; read again and again they cost more than blocks would.
    TRY_ASSIGN(auto found, find_in_run(*run, key, hash, max_seq, run != runs.back()));
    if (found) return found;
  }
  return std::nullopt;
}

OlderEntries::OlderEntries(const Version& version, SegmentId below) {
  for (const LogLevel& level : version.log) {
    // Ids of log segments ascend with time.
    if (level.segment->id() >= below) continue;
    footers_.push_back({&level, level.memtable ? index::Table::Filter() : level.footer->filter()});
  }
  for (const auto& run : version.runs) runs_.push_back({run.get(), 0, {}});
}

Result<std::optional<FoundEntry>> OlderEntries::find(ByteView key) {
  const uint64_t hash = index::Table::hash(key);
  for (const Footer& footer : footers_) {
    if (!footer.filter.may_contain(hash)) continue;
    TRY_ASSIGN(auto found, get_in_level(*footer.level, key, kMaxSeq));
    if (found) return found;
  }
  for (Tables& tables : runs_) {
    TRY_ASSIGN(auto found, find_in(tables, key, hash));
    if (found) return found;
  }
  return std::nullopt;
}

Result<std::optional<FoundEntry>> OlderEntries::find_in(Tables& tables, ByteView key, uint64_t hash) {
  const std::vector<RunTable>& all = tables.run->tables;
  for (; tables.at < all.size() && all[tables.at].meta.last_key < key; ++tables.at) tables.filter.reset();
  if (tables.at == all.size() || !covers(all[tables.at], key)) return std::nullopt;
  const RunTable& table = all[tables.at];
  if (!tables.filter) tables.filter = table.table->filter();
  if (!tables.filter->may_contain(hash)) return std::nullopt;
  return get_in_table(*table.table, key, kMaxSeq);
}

std::unique_ptr<index::Iterator> Version::iterate(bool fill_cache) const {
  std::vector<std::unique_ptr<index::Iterator>> inputs;
  for (const LogLevel& level : log) inputs.push_back(level.iterate(fill_cache));
  for (const auto& run : runs) inputs.push_back(iterate_run(run, fill_cache));
  return index::merge_iterators(std::move(inputs));
}

Result<format::IndexEntry> locate(const Segment& segment, ByteView key, SeqNo seq) {
  TRY_ASSIGN(auto footer, segment.footer());
  TRY_ASSIGN(auto found, footer->get(key, seq));
  if (!found || found->entry.seq != seq)
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}: footer does not list record seq={} that the segment owns", segment.name(), seq.value));
  format::IndexEntry entry = found->entry;
  entry.small = {};  // belongs to the block, and nobody needs it
  entry.has_small = false;
  return entry;
}

Result<Value> ValueReader::stored(const Version& version, ByteView key, const FoundEntry& found) {
  const format::IndexEntry& entry = found.entry;
  if (found.slab) {
    // An entry from disk may name any segment, the open one too: only what lies in the slab is taken from it.
    const uint64_t size = format::record_size(key.size(), entry.stored_length);
    if (entry.offset > found.slab->size() || size > found.slab->size() - entry.offset)
      return fail(ErrorCode::kCorrupt, fmt::format("record seq={} does not lie in its segment", entry.seq.value));
    DCHECK(found.entry.offset % format::kRecordAlignment == 0);
    const char* record = found.slab->data() + entry.offset;
    return Value({record + format::kRecordHeaderSize + key.size(), entry.stored_length}, found.slab);
  }
  if (const auto* segment = version.segments->find(entry.segment)) return (*segment)->read(key, entry);
  // The place is a hint: the segment was compacted. The owner of the sequence number has the record now.
  const auto* owner = version.segments->owner(entry.seq);
  if (!owner)
    return fail(ErrorCode::kCorrupt, fmt::format("record seq={}: segment {} is missing and no other owns the number",
                                                 entry.seq.value, format::segment_file_name(entry.segment)));
  TRY_ASSIGN(auto moved, locate(**owner, key, entry.seq));
  return (*owner)->read(key, moved);
}

Result<Value> ValueReader::whole(const Version& version, ByteView key, const FoundEntry& found, bool fill_cache) {
  if (found.entry.has_small) return Value(found.entry.small, found.pin);
  // Verified when it came in.
  if (auto cached = chunks_.find(found.entry.seq)) return *cached;
  TRY_ASSIGN(auto bytes, stored(version, key, found));
  TRY_ASSIGN(auto value, log::decode_value(found.entry, std::move(bytes)));
  // A value that lies uncompressed in a slab is as good as cached.
  const bool worth_it = !found.slab || found.entry.codec != format::Codec::kNone;
  if (fill_cache && worth_it) chunks_.insert(found.entry.seq, value);
  return value;
}

Result<Value> ValueReader::extent(const Version& version, ByteView key, const format::ExtentPointer& pointer,
                                  ReadRange range) {
  const auto* segment = version.segments->find(pointer.segment);
  if (!segment)
    return fail(ErrorCode::kCorrupt,
                fmt::format("extent segment {} is missing", format::segment_file_name(pointer.segment)));
  TRY_ASSIGN(auto file, (*segment)->file());
  const log::RecordSource source{*file, (*segment)->name(), pointer.salt, pointer.segment, *files_->buffers};
  return log::read_extent(source, pointer, key, range.offset, range.length);
}

std::vector<std::optional<Value>> ValueReader::together(const Segment& segment,
                                                        std::span<const Lookup* const> lookups) {
  std::vector<log::RecordRequest> requests;
  requests.reserve(lookups.size());
  for (const Lookup* lookup : lookups) requests.push_back({lookup->key, &lookup->found.entry});
  auto values = segment.read_together(requests);
  for (size_t i = 0; i < lookups.size(); ++i) {
    if (!values[i]) continue;
    const auto& [key, found, range] = *lookups[i];
    auto value = log::decode_value(found.entry, std::move(*values[i]));
    values[i].reset();
    if (!value) continue;
    if (range.fill_cache || is_in_part(range, found)) chunks_.insert(found.entry.seq, *value);
    values[i] = clipped(*value, range);
  }
  return values;
}

std::vector<Result<Value>> ValueReader::read_all(const Version& version, std::span<const Lookup> lookups) {
  std::vector<Result<Value>> out(lookups.size());
  std::vector<const Lookup*> on_disk;
  for (const Lookup& lookup : lookups) {
    Result<Value>& value = out[static_cast<size_t>(&lookup - lookups.data())];
    if (!may_be_joined(version, lookup)) {
      value = read(version, lookup.key, lookup.found, lookup.range);
    } else if (auto cached = chunks_.find(lookup.found.entry.seq)) {
      value = clipped(*cached, lookup.range);
    } else {
      on_disk.push_back(&lookup);
    }
  }
  std::sort(on_disk.begin(), on_disk.end(), [](const Lookup* a, const Lookup* b) {
    const auto place = [](const Lookup* l) { return std::pair(l->found.entry.segment, l->found.entry.offset); };
    return place(a) < place(b);
  });
  for (std::span<const Lookup*> rest = on_disk; !rest.empty();) {
    const auto run = rest.first(joined(rest));
    rest = rest.subspan(run.size());
    std::vector<std::optional<Value>> values(run.size());
    if (run.size() > 1) values = together(**version.segments->find(run.front()->found.entry.segment), run);
    for (size_t i = 0; i < run.size(); ++i) {
      // Alone it is tried again, looked for elsewhere if it has moved, and named and counted if it is damaged.
      const Lookup& lookup = *run[i];
      out[static_cast<size_t>(&lookup - lookups.data())] =
          values[i] ? std::move(*values[i]) : read(version, lookup.key, lookup.found, lookup.range);
    }
  }
  return out;
}

Result<Value> ValueReader::read(const Version& version, ByteView key, const FoundEntry& found, ReadRange range) {
  auto result = [&]() -> Result<Value> {
    TRY_ASSIGN(auto value, whole(version, key, found, range.fill_cache || is_in_part(range, found)));
    if (found.entry.type == format::RecordType::kExtent) {
      TRY_ASSIGN(auto pointer, format::decode_extent_pointer(value.view()));
      return extent(version, key, pointer, clip(range, pointer.length));
    }
    return clipped(value, range);
  }();
  // Counted here, where every read comes through: what a user sees as EIO.
  if (!result && result.error().code == ErrorCode::kCorrupt) ++corrupt_reads_;
  return result;
}

Result<uint64_t> ValueReader::size(const Version& version, ByteView key, const FoundEntry& found) {
  if (found.entry.type != format::RecordType::kExtent) return found.entry.raw_length;
  TRY_ASSIGN(auto value, whole(version, key, found, true));
  TRY_ASSIGN(auto pointer, format::decode_extent_pointer(value.view()));
  return pointer.length;
}

}  // namespace cairn::store
