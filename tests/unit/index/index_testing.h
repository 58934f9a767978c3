// What the tests of the index share: a file in memory, entries, tables of entries, and the map they are compared with.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "format/checksum.h"
#include "format/table.h"
#include "index/block_cache.h"
#include "index/iterator.h"
#include "index/table.h"
#include "io/env.h"
#include "support/memory_file.h"

namespace cairn::index::testing {

// Counts its reads; all of them fail with kIo while `unreadable`.
class MemoryFile final : public test::MemoryFile {
 public:
  using test::MemoryFile::MemoryFile;
  Result<size_t> pread(uint64_t offset, std::span<char> buffer) const override {
    ++reads;
    if (unreadable) return fail(ErrorCode::kIo, "test: bad sector");
    return test::MemoryFile::pread(offset, buffer);
  }

  bool unreadable = false;
  mutable uint64_t reads = 0;
};

struct Version {
  Bytes key;
  SeqNo seq;
};
// The order of entries in tables.
struct EntryOrder {
  bool operator()(const Version& a, const Version& b) const { return a.key != b.key ? a.key < b.key : a.seq > b.seq; }
};

// An entry whose every field follows from `seq`, so that a mixed-up answer shows. With a small value of `small_length`
// bytes; without one when it is negative. `small` points into `bytes`.
struct TestEntry {
  format::IndexEntry entry;
  Bytes bytes;
};
using Model = std::map<Version, TestEntry, EntryOrder>;

inline TestEntry make_entry(SeqNo seq, int small_length = -1, bool erase = false) {
  TestEntry made;
  format::IndexEntry& entry = made.entry;
  entry.seq = seq;
  entry.segment = SegmentId(seq.value / 1000 + 1);
  entry.offset = 4096 + seq.value % 1000 * 8;
  if (erase) {
    entry.type = format::RecordType::kErase;
    return made;
  }
  if (small_length < 0) {
    entry.codec = format::Codec::kLz4;
    entry.stored_length = static_cast<uint32_t>(1000 + seq.value % 77);
    entry.raw_length = static_cast<uint32_t>(4000 + seq.value % 77);
    entry.value_checksum = seq.value * 0x9e3779b97f4a7c15u;
    return made;
  }
  for (int i = 0; i < small_length; ++i) made.bytes.push_back(static_cast<char>(seq.value + static_cast<uint64_t>(i)));
  entry.has_small = true;
  entry.stored_length = entry.raw_length = static_cast<uint32_t>(small_length);
  entry.value_checksum = format::checksum(made.bytes);
  return made;
}

inline void add(Model& model, const Bytes& key, TestEntry made) {
  const SeqNo seq = made.entry.seq;
  model.insert_or_assign(Version{key, seq}, std::move(made));
}

inline format::IndexEntry with_small(const TestEntry& made) {
  format::IndexEntry entry = made.entry;
  entry.small = made.bytes;
  return entry;
}

inline bool same_entry(const format::IndexEntry& a, const TestEntry& b) {
  const format::IndexEntry& e = b.entry;
  return a.seq == e.seq && a.type == e.type && a.codec == e.codec && a.has_small == e.has_small &&
         a.segment == e.segment && a.offset == e.offset && a.sub_index == e.sub_index &&
         a.stored_length == e.stored_length && a.raw_length == e.raw_length && a.value_checksum == e.value_checksum &&
         a.small == b.bytes;
}

inline format::TableTrailer run_trailer(uint64_t id = 7, uint64_t salt = 0x5a17) {
  format::TableTrailer trailer;
  trailer.kind = format::TableKind::kRun;
  trailer.id = id;
  trailer.salt = salt;
  return trailer;
}

inline Bytes build_table(const Model& model, const format::TableTrailer& trailer = run_trailer()) {
  TableBuilder builder(trailer);
  for (const auto& [version, made] : model) builder.add(version.key, with_small(made));
  return builder.finish();
}

inline Result<std::shared_ptr<const Table>> open_table(std::shared_ptr<const io::File> file,
                                                       std::shared_ptr<BlockCache> cache = nullptr,
                                                       const format::TableTrailer& expected = run_trailer()) {
  Table::Identity identity;
  identity.kind = expected.kind;
  identity.id = expected.id;
  identity.salt = expected.salt;
  identity.name = "index/test.tab";
  if (cache == nullptr) cache = std::make_shared<BlockCache>(8u << 20);
  return Table::open([file]() -> Result<std::shared_ptr<const io::File>> { return file; }, identity, std::move(cache));
}

inline std::shared_ptr<const Table> must_open(Bytes bytes, const format::TableTrailer& expected = run_trailer()) {
  return open_table(std::make_shared<MemoryFile>(std::move(bytes)), nullptr, expected).value();
}

// The newest version of `key` that is at most max_seq; null if there is none.
inline const TestEntry* model_get(const Model& model, const Bytes& key, SeqNo max_seq) {
  const auto it = model.lower_bound(Version{key, max_seq});
  return it == model.end() || it->first.key != key ? nullptr : &it->second;
}

// Keys as the tree makes them: few prefixes, several kinds, some long and some empty.
inline Bytes random_key(std::mt19937_64& random) {
  const uint64_t shape = random() % 20;
  if (shape == 0) return {};
  if (shape == 1) return Bytes(1 + random() % 1024, static_cast<char>('a' + random() % 3));
  Bytes key(8, '\0');
  key[7] = static_cast<char>(random() % 16);
  key += "ADELX"[random() % 5];
  if (shape < 12) key += std::to_string(random() % 500);
  return key;
}

inline Model random_model(std::mt19937_64& random, size_t entries, size_t versions) {
  Model model;
  uint64_t seq = 1 + random() % 100000;
  while (model.size() < entries) {
    const Bytes key = random_key(random);
    for (size_t n = 1 + random() % versions; n-- > 0;) {
      const uint64_t kind = random() % 4;
      const int small = kind == 0 ? static_cast<int>(random() % 257) : -1;
      add(model, key, make_entry(SeqNo(seq++), small, kind == 1));
    }
  }
  return model;
}

}  // namespace cairn::index::testing
