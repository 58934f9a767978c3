// Merging: footers into a run, runs into one. The mechanics are index/merge.h; here is what is merged and how it is installed.
#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "index/merge.h"
#include "store/maintenance.h"

namespace cairn::store {
namespace {

constexpr size_t kMinFooters = 4;  // fewer are not worth a run
constexpr size_t kMaxFooters = 8;  // merged at once, at most
static_assert(kMinFooters <= kMaxFooters && kMinFooters >= 2);
constexpr uint64_t kMinTableBytes = 64 << 10;  // a table of a run, also in a small store

uint64_t bytes_of(const Run& run) {
  uint64_t sum = 0;
  for (const RunTable& t : run.tables) sum += t.meta.file_size;
  return sum;
}

// Of a run that is being merged at most so much is written again before the file it stands in can go.
uint64_t largest_table(const Run& run) {
  uint64_t most = 0;
  for (const RunTable& t : run.tables) most = std::max(most, Room::charge(t.meta.file_size));
  return most;
}

index::ManifestRun meta_of(const Run& run) {
  index::ManifestRun out;
  for (const RunTable& t : run.tables) out.tables.push_back(t.meta);
  return out;
}

// The tables of `metas` in `from`, with their clips as the metas say.
std::shared_ptr<const Run> select(const index::ManifestRun& metas, const Run& from) {
  auto out = std::make_shared<Run>();
  for (const index::ManifestTable& meta : metas.tables) {
    const auto it =
        std::find_if(from.tables.begin(), from.tables.end(), [&](const RunTable& t) { return t.meta.id == meta.id; });
    CHECK(it != from.tables.end());
    out->tables.push_back({meta, it->table});
  }
  return out;
}

}  // namespace

index::MergeOptions Maintenance::merge_options(bool bottom) {
  index::MergeOptions options;
  options.bottom = bottom;
  options.next_id = [this] { return catalog_->new_table_id(); };
  options.create = [this](TableId id, uint64_t size) { return create_table(id, size); };
  options.random = [this] { return config_.env->random(); };
  // Temporary room is a share of a limit; without one it goes with the segments, of which the reserve is made.
  const uint64_t segment = config_.superblock.segment_size;
  const uint64_t step = config_.room->limited() ? config_.room->maintenance_step() : 2 * segment;
  options.max_step_bytes = std::min(options.max_step_bytes, step);
  const uint64_t table = config_.room->limited() ? options.max_step_bytes / 4 : segment / 4;
  options.max_table_bytes = std::min(options.max_table_bytes, std::max(table, kMinTableBytes));
  return options;
}

// Paid for, and allocated in one piece, before it is written.
Result<std::unique_ptr<io::File>> Maintenance::create_table(TableId id, uint64_t size) {
  const uint64_t charge = Room::charge(size);
  if (!config_.room->take(charge, Room::Use::kMaintain))
    return fail(ErrorCode::kNoSpace, "the store's limit leaves no room for a table");
  // Given back by itself unless the file comes to be: errors need no clean-up of the account.
  RoomClaim claim(config_.room.get(), charge);
  const auto name = index::table_file_name(id);
  const auto create = [&]() -> Result<std::unique_ptr<io::File>> {
    TRY_ASSIGN(auto file, config_.index_directory->open(name, {io::OpenMode::kCreate, false}));
    auto allocated = file->allocate(0, size);
    if (allocated || allocated.error().code == ErrorCode::kUnsupported) return file;
    // Half allocated, it would take room that nobody is charged for.
    TRY(config_.index_directory->unlink(name));
    return fail(allocated.error());
  };
  auto file = create();
  if (!file && file.error().code == ErrorCode::kNoSpace && config_.reserve)
    file = config_.reserve->take_unless_last(*config_.index_directory, {name, size, {}, false});
  if (!file) return file;
  created_tables_.push_back({id, std::move(claim)});
  copied_bytes_ += size;
  return file;
}

// After the manifest was to name them: they are in use, or, as it may name them on disk all the same, to be removed later.
Result<void> Maintenance::settle_created(Result<void> installed) {
  for (CreatedTable& table : created_tables_) {
    if (installed) {
      table.claim.keep();
    } else {
      // Not unlinked now: should the manifest on disk name it after all, the next open would miss it.
      abandoned_tables_.push_back(std::move(table));
    }
  }
  created_tables_.clear();
  return installed;
}

// What a merge wrote that was not installed.
Result<void> Maintenance::unlink_created() {
  while (!created_tables_.empty()) {
    if (auto gone = config_.index_directory->unlink(index::table_file_name(created_tables_.back().id));
        !gone && gone.error().code != ErrorCode::kNotFound)
      return gone;
    created_tables_.pop_back();
  }
  return {};
}

Result<RunTable> Maintenance::open_table(const index::ManifestTable& meta) {
  const auto name = index::table_file_name(meta.id);
  index::Table::Identity identity;
  identity.id = meta.id.value;
  identity.name = std::string(index::kIndexDir) + "/" + name;
  auto open = [files = config_.files->files, dir = config_.index_directory, name] {
    return files->open(*dir, name, {});
  };
  TRY_ASSIGN(auto table, index::Table::open(std::move(open), identity, config_.files->blocks));
  return RunTable{meta, std::move(table)};
}

// Every level more makes each kill and each lookup dearer. Kills come first, and while segments are sealed faster than they
// are done there would be no merge, ever more levels, and ever slower kills.
Result<bool> Maintenance::overdue_step() {
  const auto version = catalog_->current();
  const auto mergeable = std::count_if(version->log.begin(), version->log.end(), [&](const LogLevel& level) {
    return level.segment->meta().file_size != 0 && level.segment->meta().range.last <= merge_through_;
  });
  return mergeable >= static_cast<ptrdiff_t>(kMaxFooters) || version->runs.size() > index::kMaxRuns ? merge_step()
                                                                                                    : false;
}

Result<bool> Maintenance::merge_step() {
  TRY(unlink_created());  // of a merge that failed
  auto version = catalog_->current();
  auto merged = merge_footers(*version);
  // On a full disk only footers: compaction needs them covered. A merge of runs takes more room than it gives.
  if (merged && !*merged && !in_need()) merged = merge_runs(std::move(version));
  if (!merged && merged.error().code == ErrorCode::kNoSpace) {
    // Reclaiming goes on without it. Its inputs stay; there will be another attempt.
    config_.logger->warn("merge_postponed reason=\"{}\"", merged.error().message);
    TRY(unlink_created());
    return false;
  }
  return merged;
}

// The oldest unmerged footers whose kills are in a durable map (after a crash nobody could find out again what they replaced).
Result<bool> Maintenance::merge_footers(const Version& version) {
  std::vector<LogLevel> take;  // oldest first
  uint64_t bytes = 0;          // of footers, at most
  bool full = false;           // more would not fit the room there is for a merge
  for (auto level = version.log.rbegin(); level != version.log.rend() && take.size() < kMaxFooters; ++level) {
    const index::ManifestSegment& meta = level->segment->meta();
    // Oldest first and contiguous: every level then has, for each key, only versions newer than those below it.
    if (meta.file_size == 0 || meta.range.last > merge_through_) break;
    bytes += meta.overhead();
    full = !take.empty() && bytes > config_.room->maintenance_step();
    if (full) break;
    take.push_back(*level);
  }
  if (take.empty() || (take.size() < kMinFooters && !full && !in_need())) return false;
  std::vector<std::unique_ptr<index::Iterator>> inputs;
  for (auto level = take.rbegin(); level != take.rend(); ++level) inputs.push_back(level->iterate(false));
  auto merged = index::merge_iterators(std::move(inputs));
  // With no run below, an erase has nothing left to hide.
  auto options = merge_options(version.runs.empty());
  options.max_step_bytes = UINT64_MAX;  // a few footers are small
  TRY_ASSIGN(const auto output, index::merge_step(*merged, {}, options));
  CHECK(!output.resume);
  // Their names first, then the manifest that names them (hazard 15).
  TRY(config_.index_directory->sync());
  auto run = std::make_shared<Run>();
  for (const auto& meta : output.tables) {
    TRY_ASSIGN(auto table, open_table(meta));
    run->tables.push_back(std::move(table));
  }
  const auto taken = [&](SegmentId id) {
    return std::any_of(take.begin(), take.end(), [&](const LogLevel& l) { return l.segment->id() == id; });
  };
  auto installed = catalog_->apply(
      [&](index::Manifest& m) {
        for (auto& s : m.segments)
          if (taken(s.id)) s.covered = true;
        if (!output.tables.empty()) m.runs.insert(m.runs.begin(), index::ManifestRun{output.tables});
      },
      [&](Version& v) {
        // In one step: readers find each entry in the footer or in the run, and never in neither.
        std::erase_if(v.log, [&](const LogLevel& l) { return taken(l.segment->id()); });
        if (!run->tables.empty()) v.runs.insert(v.runs.begin(), run);
      });
  TRY(settle_created(std::move(installed)));
  // Only now it may be compacted or punched: until here the index named places in it.
  for (const LogLevel& level : take) {
    level.segment->mark_covered();
    config_.room->settle(level.segment->meta().overhead());
  }
  ++merges_;
  return true;
}

// Neighbouring runs become one, 64 MiB at a time: after each step what was written counts, and the inputs begin where it ends. So a
// merge takes room for one step and a table of each input, whatever it merges.
Result<bool> Maintenance::merge_runs(std::shared_ptr<const Version> version) {
  std::vector<uint64_t> sizes;
  for (const auto& run : version->runs) sizes.push_back(bytes_of(*run));
  auto pick = index::pick_merge(sizes);
  if (!pick) return false;
  // Fewer at a time where room is short, or none: a merge that stops half way has taken room and given none back.
  const auto largest = [&](size_t i) { return largest_table(*version->runs[pick->first + i]); };
  uint64_t room = config_.room->left(Room::Use::kMaintain), wanted = merge_options(false).max_step_bytes;
  size_t fit = 0;
  while (fit < pick->count && wanted + largest(fit) <= room) wanted += largest(fit++);
  if (fit < 2) return fail(ErrorCode::kNoSpace, "the store's limit leaves no room to merge tables");
  pick->count = fit;
  const auto options = merge_options(pick->bottom(sizes.size()));
  CHECK(pick->count >= 2 && pick->first + pick->count <= version->runs.size());
  RunsMerge merge;
  merge.first = pick->first;
  merge.inputs.assign(version->runs.begin() + static_cast<ptrdiff_t>(pick->first),
                      version->runs.begin() + static_cast<ptrdiff_t>(pick->first + pick->count));
  version.reset();  // it pins what is merged away
  // What is merged so far counts; the rest is two runs like any others.
  while (merge.resume && !is_stopping()) {
    TRY(merge_runs_once(merge, options));
    TRY(unlink_tables());
  }
  ++merges_;
  return true;
}

// One step of it: when this returns, nothing here holds the tables that it made superfluous.
Result<void> Maintenance::merge_runs_once(RunsMerge& merge, const index::MergeOptions& options) {
  std::vector<std::unique_ptr<index::Iterator>> iterators;
  for (const auto& run : merge.inputs) iterators.push_back(iterate_run(run, false));
  auto merged = index::merge_iterators(std::move(iterators));
  TRY_ASSIGN(const auto step, index::merge_step(*merged, *merge.resume, options));
  TRY(config_.index_directory->sync());
  merge.resume = step.resume;
  auto longer = std::make_shared<Run>(*merge.output);
  for (const auto& meta : step.tables) {
    TRY_ASSIGN(auto table, open_table(meta));
    longer->tables.push_back(std::move(table));
  }
  return install_merge_step(merge, longer);
}

// Replaces [output, inputs...], which stand at `first`, by [longer, what is left of the inputs].
Result<void> Maintenance::install_merge_step(RunsMerge& merge, const std::shared_ptr<const Run>& longer) {
  // What of an input is merged is in `longer`; what is not yet stays behind its clip. Each key is in exactly one of
  // them at any time.
  const size_t first = merge.first;
  const size_t old_count = merge.inputs.size() + (merge.output->tables.empty() ? 0 : 1);
  std::vector<std::shared_ptr<const Run>> left;
  std::vector<RunTable> gone;
  for (const auto& input : merge.inputs) {
    index::ManifestRun rest;
    if (merge.resume) rest = index::clip_run(meta_of(*input), *merge.resume);
    for (const RunTable& t : input->tables)
      if (std::none_of(rest.tables.begin(), rest.tables.end(), [&](const auto& r) { return r.id == t.meta.id; }))
        gone.push_back(t);
    if (!rest.tables.empty()) left.push_back(select(rest, *input));
  }
  std::vector<std::shared_ptr<const Run>> now;
  if (!longer->tables.empty()) now.push_back(longer);
  now.insert(now.end(), left.begin(), left.end());
  auto installed = catalog_->apply(
      [&](index::Manifest& m) {
        CHECK(first + old_count <= m.runs.size());
        const auto at = m.runs.begin() + static_cast<ptrdiff_t>(first);
        const auto rest = m.runs.erase(at, at + static_cast<ptrdiff_t>(old_count));
        std::vector<index::ManifestRun> metas;
        for (const auto& run : now) metas.push_back(meta_of(*run));
        m.runs.insert(rest, metas.begin(), metas.end());
      },
      [&](Version& v) {
        CHECK(first + old_count <= v.runs.size());
        const auto at = v.runs.begin() + static_cast<ptrdiff_t>(first);
        const auto rest = v.runs.erase(at, at + static_cast<ptrdiff_t>(old_count));
        v.runs.insert(rest, now.begin(), now.end());
      });
  TRY(settle_created(std::move(installed)));
  merge.inputs = std::move(left);
  merge.output = longer;
  // Readers of older versions open them by name, so the files go when the last table object does.
  for (const RunTable& t : gone) {
    doomed_tables_.push_back({t.table, t.meta.id, t.meta.file_size});
    unreclaimed_bytes_ += t.meta.file_size;
  }
  return {};
}

}  // namespace cairn::store
