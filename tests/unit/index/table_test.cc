#include "index/table.h"

#include <string>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "index/table_block.h"
#include "index/table_index.h"
#include "unit/index/index_testing.h"

namespace cairn::index {
namespace {

using testing::add;
using testing::build_table;
using testing::make_entry;
using testing::MemoryFile;
using testing::Model;
using testing::must_open;
using testing::open_table;
using testing::run_trailer;
using testing::Version;

Bytes key_of(uint64_t i) { return fmt::format("key{:08}", i); }

Model numbered_model(uint64_t keys) {
  Model model;
  for (uint64_t i = 0; i < keys; ++i) add(model, key_of(i * 2), make_entry(SeqNo(i + 1)));
  return model;
}

void expect_walk(Iterator& it, Model::const_iterator from, Model::const_iterator end) {
  for (; from != end; ++from) {
    ASSERT_TRUE(it.valid());
    ASSERT_EQ(it.key(), from->first.key);
    ASSERT_TRUE(testing::same_entry(it.entry(), from->second)) << from->first.seq.value;
    ASSERT_TRUE(it.next());
  }
  EXPECT_FALSE(it.valid());
}

std::vector<std::string> findings(const Table& table) {
  std::vector<std::string> lines;
  const auto verified = table.verify([&lines](const std::string& line) { lines.push_back(line); });
  EXPECT_EQ(verified.has_value(), lines.empty());
  return lines;
}

TEST(Table, AnswersAsAMapDoesForRandomKeysAndVersions) {
  for (const uint64_t seed : {1u, 2u, 3u, 4u, 5u, 6u}) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Model model = testing::random_model(random, 20 << seed, 1 + seed * 3);
    const auto table = must_open(build_table(model));
    for (const auto& [version, made] : model) EXPECT_TRUE(table->may_contain(Table::hash(version.key)));
    for (int i = 0; i < 3000; ++i) {
      const Bytes key =
          i % 2 == 0 ? testing::random_key(random) : std::next(model.begin(), random() % model.size())->first.key;
      const SeqNo max_seq = i % 3 == 0 ? kMaxSeq : std::next(model.begin(), random() % model.size())->first.seq;
      const auto found = table->get(key, max_seq);
      ASSERT_TRUE(found);
      const auto* const expected = testing::model_get(model, key, max_seq);
      ASSERT_EQ(found->has_value(), expected != nullptr);
      ASSERT_TRUE(expected == nullptr || testing::same_entry((*found)->entry, *expected));
    }
    EXPECT_EQ(findings(*table), std::vector<std::string>());
  }
}

TEST(Table, IteratesAndSeeksAsAMapDoes) {
  for (const uint64_t seed : {1u, 2u, 3u}) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    const Model model = testing::random_model(random, 2000, 1 + seed * 3);
    const auto table = must_open(build_table(model));
    const auto it = table->iterate(seed % 2 == 0);
    EXPECT_FALSE(it->valid());
    ASSERT_TRUE(it->seek({}));
    expect_walk(*it, model.begin(), model.end());
    for (int i = 0; i < 500; ++i) {
      const Bytes key = testing::random_key(random);
      const SeqNo max_seq = i % 2 == 0 ? kMaxSeq : std::next(model.begin(), random() % model.size())->first.seq;
      ASSERT_TRUE(it->seek(key, max_seq));
      const auto expected = model.lower_bound(Version{key, max_seq});
      ASSERT_EQ(it->valid(), expected != model.end());
      if (!it->valid()) continue;
      ASSERT_EQ(it->key(), expected->first.key);
      ASSERT_EQ(it->entry().seq, expected->first.seq);
    }
  }
}

TEST(Table, FindsEveryVersionOfAKeyThatFillsSeveralBlocks) {
  Model model;
  for (uint64_t seq = 1; seq <= 1500; ++seq) add(model, "many", make_entry(SeqNo(seq * 2), 40));
  add(model, "man", make_entry(SeqNo(5)));
  add(model, "manz", make_entry(SeqNo(7)));
  const auto table = must_open(build_table(model));
  for (uint64_t seq = 0; seq <= 3001; ++seq) {
    const auto found = table->get("many", SeqNo(seq));
    ASSERT_TRUE(found);
    ASSERT_EQ(found->has_value(), seq >= 2) << seq;
    if (seq >= 2) {
      ASSERT_EQ((*found)->entry.seq.value, seq / 2 * 2);
    }
    const auto it = table->iterate();
    ASSERT_TRUE(it->seek("many", SeqNo(seq)));
    ASSERT_TRUE(it->valid());
    ASSERT_EQ(it->key(), seq >= 2 ? "many" : "manz");
  }
  EXPECT_EQ(findings(*table), std::vector<std::string>());
}

TEST(Table, FiltersOutAlmostAllAbsentKeys) {
  const auto table = must_open(build_table(numbered_model(20000)));
  int wrong = 0;
  for (uint64_t i = 0; i < 20000; ++i) wrong += table->may_contain(Table::hash(key_of(i * 2 + 1))) ? 1 : 0;
  EXPECT_LT(wrong, 400) << "more than 2 % false positives";
}

TEST(Table, KeepsTheBytesOfASmallValueAliveAfterTheTableIsGone) {
  Model model;
  add(model, "k", make_entry(SeqNo(3), 256));
  auto table = must_open(build_table(model));
  auto found = table->get("k", kMaxSeq).value().value();
  table.reset();
  EXPECT_EQ(found.entry.small, model.begin()->second.bytes);
}

TEST(Table, ReadsNothingTwiceWhileTheCacheHoldsIt) {
  const auto file = std::make_shared<MemoryFile>(build_table(numbered_model(5000)));
  const auto table = open_table(file).value();
  for (int round = 0; round < 2; ++round) {
    for (uint64_t i = 0; i < 10000; ++i) ASSERT_TRUE(table->get(key_of(i), kMaxSeq));
    if (round == 0) file->reads = 0;
  }
  EXPECT_EQ(file->reads, 0u);
}

TEST(Table, AWalkThatDoesNotFillTheCacheLeavesItAsItWas) {
  const auto cache = std::make_shared<BlockCache>(8u << 20);
  const auto table = open_table(std::make_shared<MemoryFile>(build_table(numbered_model(5000))), cache).value();
  const auto it = table->iterate(false);
  ASSERT_TRUE(it->seek({}));
  while (it->valid()) ASSERT_TRUE(it->next());
  EXPECT_EQ(cache->bytes(), 0u);
  ASSERT_TRUE(table->get(key_of(0), kMaxSeq));
  EXPECT_GT(cache->bytes(), 0u);
}

TEST(Table, GivesItsCacheRoomBackWhenItCloses) {
  const auto cache = std::make_shared<BlockCache>(8u << 20);
  auto table = open_table(std::make_shared<MemoryFile>(build_table(numbered_model(5000))), cache).value();
  ASSERT_TRUE(table->get(key_of(0), kMaxSeq));
  table.reset();
  EXPECT_EQ(cache->bytes(), 0u);
}

TEST(Table, AnEmptyTableAnswersAbsentAndVerifies) {
  const auto table = must_open(build_table({}));
  EXPECT_FALSE(table->get("k", kMaxSeq).value().has_value());
  EXPECT_FALSE(table->may_contain(Table::hash("k")));
  const auto it = table->iterate();
  ASSERT_TRUE(it->seek({}));
  EXPECT_FALSE(it->valid());
  EXPECT_EQ(findings(*table), std::vector<std::string>());
}

TEST(Table, TrailerSumsUpTheEntries) {
  Model model;
  add(model, "a", make_entry(SeqNo(9)));
  add(model, "b", make_entry(SeqNo(4), 10));
  add(model, "c", make_entry(SeqNo(6), -1, true));
  const auto table = must_open(build_table(model));
  EXPECT_EQ(table->trailer().entries, 3u);
  EXPECT_EQ(table->trailer().erases, 1u);
  EXPECT_EQ(table->trailer().range, (SeqRange{SeqNo(4), SeqNo(9)}));
  uint64_t bytes = 0;
  for (const auto& [version, made] : model) bytes += format::record_size(version.key.size(), made.entry.stored_length);
  EXPECT_EQ(table->trailer().record_bytes, bytes);
}

TEST(Table, AFooterBehindASegmentKeepsItsRangeAndMarks) {
  format::TableTrailer trailer;
  trailer.kind = format::TableKind::kFooter;
  trailer.id = 0xa7;
  trailer.salt = 0xfeed;
  trailer.base = 1 << 20;
  trailer.range = {SeqNo(1), SeqNo(5000)};
  trailer.last_mark = CommitNo(12);
  trailer.last_mark_offset = 8192;
  trailer.last_mark_checksum = 99;
  trailer.next_ino = 77;
  Model model;
  for (uint64_t i = 0; i < 600; ++i) add(model, key_of(i), make_entry(SeqNo(i + 2), 20));
  const auto table = must_open(Bytes(1 << 20, 'x') + build_table(model, trailer), trailer);
  EXPECT_EQ(table->trailer().range, trailer.range);
  EXPECT_EQ(table->trailer().last_mark, trailer.last_mark);
  EXPECT_EQ(table->trailer().last_mark_checksum, 99u);
  EXPECT_EQ(table->trailer().next_ino, 77u);
  EXPECT_EQ(table->get(key_of(311), kMaxSeq).value()->entry.seq, SeqNo(313));
  EXPECT_EQ(findings(*table), std::vector<std::string>());
}

TEST(Table, RefusesTheTableOfAnotherFile) {
  const auto file = std::make_shared<MemoryFile>(build_table(numbered_model(10)));
  EXPECT_EQ(open_table(file, nullptr, run_trailer(8)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(open_table(file, nullptr, run_trailer(7, 1)).error().code, ErrorCode::kCorrupt);
}

// --- room ---------------------------------------------------------------------------------------------------------

uint64_t reserved_for(const Model& model) {
  uint64_t sum = format::kTableOverhead;
  for (const auto& [version, made] : model) {
    sum += format::max_entry_size(version.key.size(), made.bytes.size()) + format::kEntryOverhead;
  }
  return sum;
}

// Every field as long as its varint can be.
testing::TestEntry widest_entry(uint64_t i, int small) {
  testing::TestEntry made = make_entry(SeqNo(UINT64_MAX - i), small);
  made.entry.segment = SegmentId(UINT64_MAX - 1);
  made.entry.offset = UINT64_MAX - 7;
  made.entry.sub_index = UINT32_MAX;
  if (small < 0) made.entry.stored_length = made.entry.raw_length = UINT32_MAX;
  return made;
}

// Keys of 1024 bytes that share nothing with the key before, but for every n-th, which shares all but the last byte: if
// a block begins there, the index needs the whole key.
Model long_bound_model(uint64_t keys, uint64_t n) {
  Model model;
  uint64_t head = 1;
  for (uint64_t i = 0; i < keys; ++i) {
    if (i % n != 0) ++head;
    Bytes key(1024, 'm');
    for (int b = 0; b < 4; ++b) key[static_cast<size_t>(b)] = static_cast<char>(head >> (8 * (3 - b)));
    key.back() = i % n == 0 ? 'z' : 'a';
    add(model, key, widest_entry(i, -1));
  }
  return model;
}

TEST(TableSize, NeverExceedsWhatTheLogReserves) {
  const auto check = [](const std::string& what, const Model& model) {
    const Bytes table = build_table(model);
    EXPECT_LE(table.size(), reserved_for(model)) << what;
    EXPECT_EQ(findings(*must_open(table)), std::vector<std::string>()) << what;
  };
  Model model;
  for (uint64_t i = 0; i < 256; ++i) add(model, Bytes(1, static_cast<char>(i)), widest_entry(i, -1));
  check("all 1-byte keys", model);
  model.clear();
  for (uint64_t i = 0; i < 20000; ++i) add(model, Bytes(1, static_cast<char>(i % 256)), widest_entry(i, -1));
  check("1-byte keys, many versions", model);
  model.clear();
  for (uint64_t i = 0; i < 5000; ++i) add(model, key_of(i) + Bytes(1013, 'x'), widest_entry(i, 256));
  check("1024-byte keys with small values", model);
  model.clear();
  for (uint64_t i = 0; i < 5000; ++i) add(model, Bytes(1013, 'x') + key_of(i), widest_entry(i, -1));
  check("1024-byte keys that differ at the end", model);
  for (uint64_t n = 2; n < 24; ++n) check(fmt::format("long bounds, {}", n), long_bound_model(3000, n));
  model.clear();
  add(model, Bytes(1024, 'x'), widest_entry(1, 256));
  check("one entry", model);
}

TEST(TableSize, NeverExceedsWhatTheLogReservesFor300000Entries) {
  Model model;
  for (uint64_t i = 0; i < 300000; ++i) add(model, key_of(i * 7919 % 300007), widest_entry(i, i % 16 == 0 ? 1 : -1));
  const Bytes table = build_table(model);
  EXPECT_LE(table.size(), reserved_for(model));
  const auto opened = must_open(table);
  const auto it = opened->iterate(false);
  ASSERT_TRUE(it->seek({}));
  expect_walk(*it, model.begin(), model.end());
}

TEST(TableSize, EstimateIsCloseToWhatComesOut) {
  for (const uint64_t keys : {1u, 100u, 5000u, 40000u}) {
    TableBuilder builder(run_trailer());
    for (uint64_t i = 0; i < keys; ++i) {
      builder.add(key_of(i), testing::with_small(make_entry(SeqNo(i + 1))));
    }
    const size_t estimate = builder.size_estimate();
    const size_t size = builder.finish().size();
    EXPECT_GE(estimate + 64, size);
    EXPECT_LE(estimate, size + 64);
  }
}

// --- damage -------------------------------------------------------------------------------------------------------

// Every way of asking gives the truth or kCorrupt. Returns whether anything noticed.
bool truth_or_corrupt(const Bytes& bytes, const Model& model) {
  const auto opened = open_table(std::make_shared<MemoryFile>(bytes));
  if (!opened) {
    const ErrorCode code = opened.error().code;
    // A flipped version looks like one of the future.
    EXPECT_TRUE(code == ErrorCode::kCorrupt || code == ErrorCode::kUnsupported) << opened.error().message;
    return true;
  }
  const Table& table = **opened;
  bool noticed = false;
  for (const auto& [version, made] : model) {
    EXPECT_TRUE(table.may_contain(Table::hash(version.key)));
    const auto found = table.get(version.key, version.seq);
    if (!found) {
      EXPECT_EQ(found.error().code, ErrorCode::kCorrupt);
      noticed = true;
      continue;
    }
    EXPECT_TRUE(found->has_value() && testing::same_entry((*found)->entry, made)) << version.key;
  }
  const auto it = table.iterate();
  auto expected = model.begin();
  Result<void> walked = it->seek({});
  for (; walked && it->valid(); walked = it->next(), ++expected) {
    if (expected == model.end() || it->key() != expected->first.key) {
      ADD_FAILURE() << "wrong key";
      return true;
    }
    EXPECT_TRUE(testing::same_entry(it->entry(), expected->second));
  }
  EXPECT_FALSE(it->valid());
  EXPECT_TRUE(!walked || expected == model.end());
  noticed |= !walked;
  const auto verified = table.verify([](const std::string&) {});
  EXPECT_TRUE(verified || verified.error().code == ErrorCode::kCorrupt);
  EXPECT_TRUE(!verified || !noticed);
  return !verified;
}

TEST(TableDamage, EveryFlippedByteIsNoticedAndNeverGivesAWrongAnswer) {
  std::mt19937_64 random(11);
  Model model;
  for (uint64_t seq = 1; seq <= 40; ++seq) {
    add(model, fmt::format("k{}", random() % 30), make_entry(SeqNo(seq), seq % 3 == 0 ? 200 : -1, seq % 7 == 0));
  }
  for (uint64_t seq = 100; seq < 132; ++seq) add(model, Bytes(80, 'v'), make_entry(SeqNo(seq), 256));
  const Bytes good = build_table(model);
  ASSERT_FALSE(truth_or_corrupt(good, model));
  for (size_t at = 0; at < good.size(); ++at) {
    Bytes bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 8));
    ASSERT_TRUE(truth_or_corrupt(bad, model)) << "byte " << at << " of " << good.size();
    if (::testing::Test::HasFailure()) FAIL() << "byte " << at << " of " << good.size();
  }
}

TEST(TableDamage, ABlockOfTheSameTableAtAnotherPlaceIsNoticed) {
  const Model model = numbered_model(2000);
  Bytes bytes = build_table(model);
  std::copy_n(bytes.begin(), 8192, bytes.begin() + 20000);
  EXPECT_TRUE(truth_or_corrupt(bytes, model));
}

TEST(TableDamage, ABlockOfAnotherTableAtTheSamePlaceIsNoticed) {
  const Model model = numbered_model(2000);
  Bytes bytes = build_table(model);
  const Bytes other = build_table(model, run_trailer(7, 0x5a18));
  std::copy_n(other.begin(), 20000, bytes.begin());
  EXPECT_TRUE(truth_or_corrupt(bytes, model));
}

TEST(TableDamage, EveryTruncationIsNoticed) {
  const Model model = numbered_model(300);
  const Bytes good = build_table(model);
  for (size_t size = 0; size < good.size(); size += 1 + size / 100) {
    EXPECT_FALSE(open_table(std::make_shared<MemoryFile>(good.substr(0, size)))) << size;
  }
}

TEST(TableDamage, AnUnreadableBlockIsAnErrorAndNeverAbsence) {
  const Model model = numbered_model(3000);
  const auto file = std::make_shared<MemoryFile>(build_table(model));
  const auto table = open_table(file).value();
  file->unreadable = true;
  EXPECT_TRUE(table->may_contain(Table::hash(key_of(0))));
  EXPECT_EQ(table->get(key_of(0), kMaxSeq).error().code, ErrorCode::kIo);
  EXPECT_EQ(table->iterate()->seek({}).error().code, ErrorCode::kIo);
  EXPECT_EQ(table->verify([](const std::string&) {}).error().code, ErrorCode::kIo);
  file->unreadable = false;
  EXPECT_TRUE(table->get(key_of(0), kMaxSeq).value().has_value()) << "an error must not be remembered as an answer";
}

// A table of two blocks that hold versions of one key, with right checksums all over, as only a hostile writer makes
// it.
Bytes two_blocks_of_one_key(uint64_t last_of_first, uint64_t first_of_second) {
  format::TableTrailer trailer = run_trailer();
  Bytes out;
  IndexBuilder index;
  uint64_t offset = 0;
  for (const uint64_t seq : {last_of_first, first_of_second}) {
    BlockBuilder block;
    block.add("key", make_entry(SeqNo(seq)).entry);
    offset = out.size();
    block.finish({trailer.salt, trailer.id, offset}, out);
    index.add({offset == 0 ? "" : "key", offset != 0, offset, out.size() - offset});
  }
  trailer.filter_offset = out.size();
  build_filter({Table::hash("key")}, {trailer.salt, trailer.id, out.size()}, out);
  trailer.filter_length = out.size() - trailer.filter_offset;
  trailer.index_offset = out.size();
  index.finish({trailer.salt, trailer.id, out.size()}, out);
  trailer.index_length = out.size() - trailer.index_offset;
  trailer.entries = 2;
  trailer.range = {SeqNo(std::min(last_of_first, first_of_second)), SeqNo(std::max(last_of_first, first_of_second))};
  trailer.record_bytes = format::record_size(3, make_entry(SeqNo(last_of_first)).entry.stored_length) +
                         format::record_size(3, make_entry(SeqNo(first_of_second)).entry.stored_length);
  const auto disk = format::encode_table_trailer(trailer, out.size());
  return out.append(reinterpret_cast<const char*>(&disk), sizeof disk);
}

TEST(TableDamage, VersionsOutOfOrderAcrossABlockBorderAreCorruption) {
  for (const uint64_t second : {8u, 9u, 10u}) {
    const auto table = must_open(two_blocks_of_one_key(9, second));
    const auto it = table->iterate();
    ASSERT_TRUE(it->seek({}));
    const auto next = it->next();
    ASSERT_EQ(next.has_value(), second < 9) << second;
    EXPECT_EQ(it->valid(), second < 9);
    EXPECT_EQ(findings(*table).empty(), second < 9);
  }
}

TEST(TableDamage, VerifyNamesEachDamagedBlockAndGoesOn) {
  Bytes bytes = build_table(numbered_model(3000));
  bytes[10] = static_cast<char>(bytes[10] ^ 1);
  bytes[30000] = static_cast<char>(bytes[30000] ^ 1);
  const auto lines = findings(*must_open(bytes));
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], "index/test.tab: table block at 0: checksum mismatch");
}

TEST(TableDamage, VerifyReadsTheFileAndNotTheCache) {
  const auto file = std::make_shared<MemoryFile>(build_table(numbered_model(3000)));
  const auto table = open_table(file).value();
  for (uint64_t i = 0; i < 3000; ++i) ASSERT_TRUE(table->get(key_of(i), kMaxSeq));
  file->bytes()[10] = static_cast<char>(file->bytes()[10] ^ 1);
  EXPECT_EQ(findings(*table).size(), 1u);
}

}  // namespace
}  // namespace cairn::index
