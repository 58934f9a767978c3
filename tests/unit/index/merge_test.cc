#include "index/merge.h"

#include <map>
#include <set>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "io/sim_env.h"
#include "unit/index/index_testing.h"

namespace cairn::index {
namespace {

using testing::add;
using testing::make_entry;
using testing::Model;

// A directory of tables, and levels of entries to merge into it.
class Merging {
 public:
  explicit Merging(uint64_t seed = 1) : env(seed), directory(env.open_dir("/").value()) {
    options.next_id = [this] { return TableId(++last_id); };
    options.create = [this](TableId id, uint64_t /*size*/) {
      io::OpenOptions create;
      create.mode = io::OpenMode::kCreate;
      return directory->open(table_file_name(id), create);
    };
    options.random = [this] { return env.random(); };
  }

  static std::unique_ptr<Iterator> input(const std::vector<Model>& levels) {
    std::vector<std::unique_ptr<Iterator>> inputs;
    for (const Model& level : levels) inputs.push_back(std::make_unique<OwningIterator>(level));
    return merge_iterators(std::move(inputs));
  }

  std::shared_ptr<const Table> open(const ManifestTable& table) {
    Table::Identity identity;
    identity.id = table.id.value;
    identity.name = table_file_name(table.id);
    const auto open_file = [this, name = table_file_name(table.id)]() -> Result<std::shared_ptr<const io::File>> {
      auto file = directory->open(name, {});
      if (!file) return fail(std::move(file).error());
      return std::shared_ptr<const io::File>(std::move(*file));
    };
    return Table::open(open_file, identity, cache).value();
  }

  // All entries of the tables, after checks of what every merge promises: what the manifest says is true, tables
  // verify, key ranges are disjoint, no table is too large, no key is twice.
  Model content(const std::vector<ManifestTable>& tables) {
    Model all;
    Bytes last;
    for (size_t i = 0; i < tables.size(); ++i) {
      EXPECT_LE(tables[i].file_size, options.max_table_bytes);
      EXPECT_EQ(tables[i].file_size, env.size("/" + table_file_name(tables[i].id)));
      EXPECT_TRUE(i == 0 || tables[i - 1].last_key < tables[i].first_key);
      EXPECT_TRUE(tables[i].clip.empty());
      const auto table = open(tables[i]);
      EXPECT_TRUE(table->verify([](const std::string& line) { ADD_FAILURE() << line; }));
      const auto it = table->iterate(false);
      EXPECT_TRUE(it->seek({}));
      EXPECT_EQ(it->key(), tables[i].first_key);
      uint64_t entries = 0;
      for (; it->valid(); ++entries) {
        EXPECT_TRUE(all.empty() || last < it->key()) << "a key twice";
        last = it->key();
        add(all, last, {it->entry(), Bytes(it->entry().small)});
        EXPECT_TRUE(it->next());
      }
      EXPECT_EQ(last, tables[i].last_key);
      EXPECT_EQ(entries, tables[i].entries);
    }
    return all;
  }

  io::SimEnv env;
  std::unique_ptr<io::Directory> directory;
  std::shared_ptr<BlockCache> cache = std::make_shared<BlockCache>(1 << 20);
  MergeOptions options;
  uint64_t last_id = 0;

 private:
  class OwningIterator final : public Iterator {
   public:
    explicit OwningIterator(const Model& model)
        : table_(testing::must_open(testing::build_table(model))), it_(table_->iterate(false)) {}
    Result<void> seek(ByteView target, SeqNo max_seq) override { return it_->seek(target, max_seq); }
    Result<void> next() override { return it_->next(); }
    bool valid() const override { return it_->valid(); }
    ByteView key() const override { return it_->key(); }
    const format::IndexEntry& entry() const override { return it_->entry(); }

   private:
    std::shared_ptr<const Table> table_;
    std::unique_ptr<Iterator> it_;
  };
};

// The newest version of each key; erases only if `erases`.
Model newest(const Model& all, bool erases) {
  Model kept;
  for (auto it = all.begin(); it != all.end(); it = all.lower_bound({it->first.key, SeqNo(0)})) {
    if (erases || it->second.entry.type != format::RecordType::kErase) kept.insert(*it);
    if (it->first.seq == SeqNo(0)) break;
  }
  return kept;
}

void expect_same(const Model& a, const Model& b) {
  ASSERT_EQ(a.size(), b.size());
  for (auto x = a.begin(), y = b.begin(); x != a.end(); ++x, ++y) {
    ASSERT_EQ(x->first.key, y->first.key);
    ASSERT_TRUE(testing::same_entry(testing::with_small(x->second), y->second));
  }
}

// One model, spread over levels.
std::vector<Model> spread(const Model& all, size_t levels, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::vector<Model> parts(levels);
  for (const auto& item : all) parts[random() % levels].insert(item);
  return parts;
}

TEST(Merge, KeepsTheNewestVersionOfEachKey) {
  for (const bool bottom : {false, true}) {
    for (const uint64_t seed : {1u, 2u, 3u}) {
      std::mt19937_64 random(seed);
      const Model all = testing::random_model(random, 3000, 6);
      Merging merging;
      merging.options.bottom = bottom;
      merging.options.max_table_bytes = 8000;
      const auto output = merge_step(*Merging::input(spread(all, 5, seed)), {}, merging.options).value();
      EXPECT_FALSE(output.resume);
      EXPECT_GT(output.tables.size(), 3u);
      expect_same(merging.content(output.tables), newest(all, !bottom));
    }
  }
}

TEST(Merge, DropsErasesOnlyAtTheBottom) {
  Model level;
  add(level, "a", make_entry(SeqNo(2), -1, true));
  add(level, "b", make_entry(SeqNo(3)));
  for (const bool bottom : {false, true}) {
    Merging merging;
    merging.options.bottom = bottom;
    const auto output = merge_step(*Merging::input({level}), {}, merging.options).value();
    EXPECT_EQ(merging.content(output.tables).size(), bottom ? 1u : 2u);
  }
}

TEST(Merge, AnEraseAtTheBottomHidesTheVersionsItErased) {
  Model newer;
  Model older;
  add(newer, "a", make_entry(SeqNo(9), -1, true));
  add(older, "a", make_entry(SeqNo(2)));
  Merging merging;
  merging.options.bottom = true;
  const auto output = merge_step(*Merging::input({newer, older}), {}, merging.options).value();
  EXPECT_TRUE(output.tables.empty()) << "the older version must not come back";
  EXPECT_TRUE(merging.env.list("/").empty());
}

TEST(Merge, NoKeyIsInTwoTablesThoughItsVersionsFillMoreThanOne) {
  Model all;
  uint64_t seq = 1;
  for (int key = 0; key < 40; ++key) {
    for (int version = 0; version < 300; ++version)
      add(all, fmt::format("key{:02}", key), make_entry(SeqNo(seq++), 250));
  }
  for (uint64_t table_bytes = 2000; table_bytes < 9000; table_bytes += 777) {
    Merging merging;
    merging.options.max_table_bytes = table_bytes;
    const auto output = merge_step(*Merging::input(spread(all, 3, 1)), {}, merging.options).value();
    EXPECT_GT(output.tables.size(), 1u);
    expect_same(merging.content(output.tables), newest(all, true));
  }
}

TEST(Merge, TablesAreAtMost8MiBAndAlmostThat) {
  Model all;
  for (uint64_t i = 0; i < 120000; ++i) add(all, fmt::format("{:016}", i), make_entry(SeqNo(i + 1), 200));
  // Versions of one key on both sides of where the border falls.
  for (uint64_t i = 28000; i < 34000; ++i) add(all, fmt::format("{:016}", i), make_entry(SeqNo(i + 200000), 200));
  Merging merging;
  const auto output = merge_step(*Merging::input(spread(all, 2, 1)), {}, merging.options).value();
  ASSERT_GE(output.tables.size(), 3u);
  for (size_t i = 0; i + 1 < output.tables.size(); ++i) EXPECT_GT(output.tables[i].file_size, kMaxTableBytes - 4096);
  expect_same(merging.content(output.tables), newest(all, true));
}

TEST(Merge, StepsGoOnWhereTheLastOneEnded) {
  std::mt19937_64 random(3);
  const Model all = testing::random_model(random, 5000, 5);
  const auto levels = spread(all, 4, 3);
  Merging merging;
  merging.options.max_table_bytes = 8000;
  merging.options.max_step_bytes = 16000;
  std::vector<ManifestTable> tables;
  std::optional<Bytes> from = Bytes();
  size_t steps = 0;
  for (; from; ++steps) {
    const auto output = merge_step(*Merging::input(levels), *from, merging.options).value();
    uint64_t bytes = 0;
    for (const ManifestTable& table : output.tables) bytes += table.file_size;
    EXPECT_LE(bytes, 16000u + 8000);
    if (output.resume) {
      EXPECT_LT(output.tables.back().last_key, *output.resume);
    }
    tables.insert(tables.end(), output.tables.begin(), output.tables.end());
    from = output.resume;
  }
  EXPECT_GE(steps, 3u);
  expect_same(merging.content(tables), newest(all, true));
}

TEST(Merge, OutputIsSyncedBeforeItIsReported) {
  Model level;
  for (uint64_t i = 0; i < 500; ++i) add(level, fmt::format("{:05}", i), make_entry(SeqNo(i + 1)));
  Merging merging;
  merging.options.max_table_bytes = 8000;
  const auto output = merge_step(*Merging::input({level}), {}, merging.options).value();
  ASSERT_TRUE(merging.directory->sync());
  io::SimEnv after = merging.env.crash(io::kAllLost);
  for (const ManifestTable& table : output.tables) {
    EXPECT_EQ(after.size("/" + table_file_name(table.id)), table.file_size);
  }
  merging.env = std::move(after);
  merging.directory = merging.env.open_dir("/").value();
  expect_same(merging.content(output.tables), level);
}

TEST(Merge, AFailureOfAnyCallIsReported) {
  Model level;
  for (uint64_t i = 0; i < 500; ++i) add(level, fmt::format("{:05}", i), make_entry(SeqNo(i + 1)));
  for (size_t k = 0;; ++k) {
    Merging merging;
    merging.options.max_table_bytes = 8000;
    merging.env.set_crash_point(k);
    const auto output = merge_step(*Merging::input({level}), {}, merging.options);
    if (output) {
      EXPECT_GE(k, 6u) << "at least two tables, each created, written and synced";
      break;
    }
    EXPECT_EQ(output.error().code, ErrorCode::kIo);
  }
}

TEST(Merge, DamageInAnInputStopsIt) {
  Model level;
  for (uint64_t i = 0; i < 2000; ++i) add(level, fmt::format("{:05}", i), make_entry(SeqNo(i + 1)));
  Bytes bytes = testing::build_table(level);
  bytes[20000] = static_cast<char>(bytes[20000] ^ 1);
  const auto table = testing::must_open(bytes);
  Merging merging;
  EXPECT_EQ(merge_step(*table->iterate(false), {}, merging.options).error().code, ErrorCode::kCorrupt);
}

// --- clipping --------------------------------------------------------------------------------------------------------

TEST(ClipRun, LeavesWhatLiesBehindTheClip) {
  const ManifestRun run{
      {{TableId(1), 1, 1, "a", "c", ""}, {TableId(2), 1, 1, "d", "f", ""}, {TableId(3), 1, 1, "g", "h", ""}}};
  EXPECT_EQ(clip_run(run, "a"), run);
  ManifestRun clipped{{run.tables[1], run.tables[2]}};
  EXPECT_EQ(clip_run(run, "d"), clipped) << "the whole second table counts: no clip";
  clipped.tables[0].clip = "e";
  EXPECT_EQ(clip_run(run, "e"), clipped);
  EXPECT_EQ(clip_run(clipped, "dd"), clipped) << "a clip never moves back";
  clipped.tables[0].clip = "f";
  EXPECT_EQ(clip_run(run, "f"), clipped) << "the last key still counts";
  EXPECT_EQ(clip_run(run, "fa"), (ManifestRun{{run.tables[2]}}));
  EXPECT_TRUE(clip_run(run, "i").tables.empty());
}

// --- policy ----------------------------------------------------------------------------------------------------------

std::optional<MergePick> pick(std::vector<uint64_t> sizes, size_t max_runs = kMaxRuns) {
  return pick_merge(sizes, max_runs);
}

TEST(PickMerge, TakesNothingBeforeFourAreThere) {
  EXPECT_EQ(pick({}), std::nullopt);
  EXPECT_EQ(pick({5}), std::nullopt);
  EXPECT_EQ(pick({5, 5, 5}), std::nullopt);
}

TEST(PickMerge, TakesNoRunThatIsLargerThanAllTheOthersTogether) {
  EXPECT_EQ(pick({5, 5, 5, 5}), (MergePick{0, 4}));
  EXPECT_EQ(pick({1, 2, 3, 6}), (MergePick{0, 4}));
  EXPECT_EQ(pick({1, 2, 3, 7}), std::nullopt);
  EXPECT_EQ(pick({7, 1, 2, 3}), std::nullopt);
  EXPECT_EQ(pick({1, 10, 100, 1000, 10000}), std::nullopt);
  EXPECT_EQ(pick({10, 10, 10, 10, 10, 100}), (MergePick{0, 5}));
}

TEST(PickMerge, TakesSmallRunsThatAreStuckBetweenLargeOnes) {
  EXPECT_EQ(pick({900, 1, 800, 2, 700, 100000}), (MergePick{0, 5}));
}

TEST(PickMerge, PrefersTheOldestGroup) {
  EXPECT_EQ(pick({1, 1, 1, 1, 10, 10, 10, 10}), (MergePick{0, 8}));
  EXPECT_EQ(pick({1000, 1, 1, 1, 10, 10, 10, 10}), (MergePick{1, 7}));
  EXPECT_EQ(pick({1, 1, 1, 1, 1000, 10, 10, 10, 10}), (MergePick{5, 4}));
  EXPECT_TRUE(pick({1, 1, 1, 1, 10, 10, 10, 10})->bottom(8));
  EXPECT_FALSE(pick({1, 1, 1, 1, 100})->bottom(5));
}

TEST(PickMerge, TooManyRunsForceTheCheapestNeighbours) {
  std::vector<uint64_t> sizes;  // each older one ten times as large, or so
  for (uint64_t i = 0, bytes = 7; i < 13; ++i, bytes *= 10) sizes.push_back(bytes);
  EXPECT_EQ(pick(sizes, 13), std::nullopt);
  EXPECT_EQ(pick(sizes, 12), (MergePick{0, 4}));
  sizes[0] = 1000000000;
  EXPECT_EQ(pick(sizes, 12), (MergePick{1, 4})) << "the newest is large this time";
  EXPECT_EQ(pick(sizes, 8)->count, 6u) << "afterwards no more than max_runs are left";
  EXPECT_EQ(pick({1, 100}, 1), (MergePick{0, 2}));
}

TEST(PickMerge, SizesOfAnyKindAreSafe) {
  EXPECT_EQ(pick({0, 0, 0, 0}), (MergePick{0, 4}));
  EXPECT_EQ(pick({UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}), (MergePick{0, 4}));
  EXPECT_EQ(pick({UINT64_MAX, 0, 5, 1}), std::nullopt);
}

TEST(PickMerge, KeepsRunsFewAndWriteAmplificationLogarithmic) {
  std::vector<uint64_t> runs;
  uint64_t written = 0;
  constexpr uint64_t kFlushes = 4096;
  for (uint64_t i = 0; i < kFlushes; ++i) {
    runs.insert(runs.begin(), 100 + i % 37);
    while (const auto next = pick_merge(runs)) {
      uint64_t sum = 0;
      for (size_t r = next->first; r < next->first + next->count; ++r) sum += runs[r];
      written += sum;
      runs.erase(runs.begin() + static_cast<std::ptrdiff_t>(next->first),
                 runs.begin() + static_cast<std::ptrdiff_t>(next->first + next->count));
      runs.insert(runs.begin() + static_cast<std::ptrdiff_t>(next->first), sum);
    }
    ASSERT_LE(runs.size(), kMaxRuns);
  }
  EXPECT_LT(written, kFlushes * 118 * 8) << "each entry is written again about log4(4096) = 6 times";
}

}  // namespace
}  // namespace cairn::index
