// Blocks, block indexes and whole tables of any bytes: every length is checked, and what is accepted can be walked.
#include <fmt/format.h>

#include "format/checksum.h"
#include "format/decode.h"
#include "fuzz/fuzz.h"
#include "index/table.h"
#include "index/table_block.h"
#include "index/table_index.h"
#include "support/memory_file.h"

namespace cairn::index {
namespace {

constexpr uint64_t kSalt = 0x5a17;
constexpr uint64_t kId = 7;
constexpr uint64_t kBlocksEnd = 50000;  // of the block indexes in the corpus

format::IndexEntry entry_of(uint64_t seq, const Bytes& small) {
  format::IndexEntry entry;
  entry.seq = SeqNo(seq);
  entry.segment = SegmentId(seq / 10 + 1);
  entry.offset = seq * 8;
  if (seq % 5 == 0) {
    entry.type = format::RecordType::kErase;
  } else if (seq % 3 == 0) {
    entry.codec = format::Codec::kZstd;
    entry.stored_length = 3000;
    entry.raw_length = 9000;
    entry.value_checksum = seq * 0x9e3779b97f4a7c15u;
  } else {
    entry.has_small = true;
    entry.small = small;
    entry.stored_length = entry.raw_length = static_cast<uint32_t>(small.size());
    entry.value_checksum = format::checksum(small);
  }
  return entry;
}

Bytes block_of(uint64_t entries, uint64_t versions) {
  BlockBuilder builder;
  for (uint64_t i = 0; i < entries; ++i) {
    builder.add(fmt::format("key{:03}", i / versions), entry_of(1000 - i, Bytes(i % 100, 'v')));
  }
  Bytes out;
  builder.finish({kSalt, kId, 0}, out);
  out.resize(out.size() - kBlockChecksumSize);
  return out;
}

fuzz::Corpus block_corpus() { return {block_of(1, 1), block_of(40, 1), block_of(70, 5), block_of(17, 17)}; }

void run_block(ByteView bytes) {
  BlockSummary summary;
  if (check_block(bytes, summary) != nullptr) return;
  BlockCursor cursor(bytes);
  BlockCursor seeker(bytes);
  uint64_t entries = 0;
  Bytes last_key;
  SeqNo last_seq;
  for (cursor.seek_first(); cursor.valid(); cursor.next(), ++entries) {
    FUZZ_EXPECT(cursor.key().size() <= format::kMaxKeyLength);
    FUZZ_EXPECT(entries == 0 || entry_before(last_key, last_seq, cursor.key(), cursor.entry().seq));
    last_key = cursor.key();
    last_seq = cursor.entry().seq;
    seeker.seek(last_key, last_seq);
    FUZZ_EXPECT(seeker.valid() && seeker.key() == last_key && seeker.entry().seq == last_seq);
  }
  FUZZ_EXPECT(entries == summary.entries && last_key == summary.last_key && last_seq == summary.last_seq);
}

fuzz::Corpus index_corpus() {
  fuzz::Corpus corpus;
  for (const uint64_t blocks : {0u, 1u, 30u}) {
    IndexBuilder builder;
    uint64_t offset = 0;
    for (uint64_t i = 0; i < blocks; ++i) {
      const uint64_t length = i + 1 == blocks ? kBlocksEnd - offset : kBlocksEnd / blocks;
      const Bytes bound = i == 0 ? Bytes() : fmt::format("bound{:03}", i / 4 * 4);
      builder.add({bound, i % 4 != 0 && i > 4, offset, length});
      offset += length;
    }
    Bytes out;
    builder.finish({kSalt, kId, kBlocksEnd}, out);
    out.resize(out.size() - kBlockChecksumSize);
    corpus.push_back(out);
  }
  return corpus;
}

void run_index(ByteView bytes) {
  if (check_filter(bytes) == nullptr) {
    for (uint64_t hash = 1; hash != 0; hash <<= 1) static_cast<void>(filter_may_contain(bytes, hash * 31));
  }
  if (check_index(bytes, 0, kBlocksEnd) != nullptr && check_index(bytes, 0, 0) != nullptr) return;
  const BlockIndex index(bytes);
  uint64_t end = 0;
  for (size_t i = 0; i < index.blocks(); ++i) {
    const BlockHandle handle = index.at(i);
    FUZZ_EXPECT(handle.offset == end);
    end += handle.length;
    const size_t found = index.find(handle.bound);
    FUZZ_EXPECT(handle.continues ? found < i : found == i);
    FUZZ_EXPECT(index.at(found).bound <= handle.bound);
  }
}

Bytes table_of(uint64_t keys, uint64_t versions) {
  format::TableTrailer trailer;
  trailer.id = kId;
  trailer.salt = kSalt;
  TableBuilder builder(trailer);
  for (uint64_t i = 0; i < keys * versions; ++i) {
    builder.add(fmt::format("key{:05}", i / versions), entry_of(100000 - i, Bytes(i % 250, 'v')));
  }
  return builder.finish();
}

fuzz::Corpus table_corpus() { return {table_of(0, 1), table_of(3, 1), table_of(300, 1), table_of(4, 100)}; }

void reseal(Bytes& bytes, uint64_t offset, uint64_t length) {
  if (length < kBlockChecksumSize || offset > bytes.size() || length > bytes.size() - offset) return;
  Bytes block = bytes.substr(offset, length - kBlockChecksumSize);
  seal_block(block, {kSalt, kId, offset});
  bytes.replace(offset, length, block);
}

// All checksums made right again, from the trailer inwards: as a hostile writer would.
Bytes repaired(ByteView original) {
  Bytes bytes(original);
  if (bytes.size() < format::kTableTrailerSize) return bytes;
  const uint64_t trailer_offset = bytes.size() - format::kTableTrailerSize;
  auto disk = format::load<format::TableTrailerDisk>(ByteView(bytes).substr(trailer_offset));
  disk.magic = format::kTableMagic;
  disk.version = format::kFormatVersion;
  disk.id = kId;
  disk.salt = kSalt;
  disk.checksum = format::checksum(format::bytes_of(disk).substr(0, offsetof(format::TableTrailerDisk, checksum)),
                                   format::place_seed(kSalt, kId, trailer_offset));
  bytes.replace(trailer_offset, sizeof disk, format::bytes_of(disk));
  reseal(bytes, disk.filter_offset, disk.filter_length);
  reseal(bytes, disk.index_offset, disk.index_length);
  const auto trailer = format::decode_table_trailer(ByteView(bytes).substr(trailer_offset), bytes.size());
  if (!trailer || trailer->index_length < kBlockChecksumSize) return bytes;
  const Bytes index_bytes = bytes.substr(trailer->index_offset, trailer->index_length - kBlockChecksumSize);
  if (check_index(index_bytes, trailer->base, trailer->filter_offset) != nullptr) return bytes;
  const BlockIndex index(index_bytes);
  for (size_t i = 0; i < index.blocks(); ++i) reseal(bytes, index.at(i).offset, index.at(i).length);
  return bytes;
}

void run_opened(const Table& table) {
  const bool verified = table.verify([](const std::string&) {}).has_value();
  const auto it = table.iterate();
  Result<void> walked = it->seek({});
  uint64_t entries = 0;
  Bytes last_key;
  SeqNo last_seq;
  for (; walked && it->valid(); walked = it->next(), ++entries) {
    FUZZ_EXPECT(entries == 0 || entry_before(last_key, last_seq, it->key(), it->entry().seq));
    last_key = it->key();
    last_seq = it->entry().seq;
    if (!verified) continue;
    FUZZ_EXPECT(table.may_contain(Table::hash(last_key)));
    const auto found = table.get(last_key, last_seq);
    FUZZ_EXPECT(found && *found && (*found)->entry.seq == last_seq);
  }
  FUZZ_EXPECT(!verified || (walked && entries == table.trailer().entries));
  for (const char* key : {"", "key00002", "key00150", "zzz"}) static_cast<void>(table.get(key, SeqNo(99900)));
}

void run_table(ByteView bytes) {
  for (const Bytes& content : {Bytes(bytes), repaired(bytes)}) {
    const auto file = std::make_shared<const test::MemoryFile>(content);
    Table::Identity identity;
    identity.id = kId;
    identity.name = "fuzz.tab";
    const auto table = Table::open([file]() -> Result<std::shared_ptr<const io::File>> { return file; }, identity,
                                   std::make_shared<BlockCache>(1 << 20));
    if (table) run_opened(**table);
  }
}

}  // namespace
}  // namespace cairn::index

#ifndef CAIRN_LIBFUZZER
FUZZ_TARGET(TableBlock, cairn::index::block_corpus, cairn::index::run_block);
FUZZ_TARGET(TableIndex, cairn::index::index_corpus, cairn::index::run_index);
#endif
FUZZ_TARGET(Table, cairn::index::table_corpus, cairn::index::run_table);
