#include "log/segment_reader.h"

#include <gtest/gtest.h>

#include "format/checksum.h"
#include "support/memory_file.h"
#include "support/segment_image.h"

namespace cairn::log {
namespace {

class ReadRecord : public testing::Test {
 protected:
  void SetUp() override {
    log_.put("alpha", Bytes(3000, 'a')).put("beta", "").commit();
    const auto& record = log_.records()[0];
    entry_.seq = record.seq;
    entry_.segment = log_.header().id;
    entry_.offset = record.offset;
    entry_.stored_length = entry_.raw_length = 3000;
    entry_.value_checksum = format::checksum(record.value);
    file_.bytes() = log_.bytes();
  }
  Result<Value> read(ByteView key = "alpha") {
    const std::string name = "7.seg";
    const log::RecordSource source{file_, name, log_.header().salt, log_.header().id, *buffers_, direct_};
    return read_record(source, key, entry_);
  }

  test::SegmentImageBuilder log_;
  test::MemoryFile file_;
  format::IndexEntry entry_;
  std::shared_ptr<io::BufferPool> buffers_ = std::make_shared<io::BufferPool>();
  bool direct_ = false;
};

TEST_F(ReadRecord, GivesTheStoredBytes) { EXPECT_EQ(read()->view(), Bytes(3000, 'a')); }

TEST_F(ReadRecord, GivesTheSameByDirectReads) {
  direct_ = true;
  const auto value = read();
  EXPECT_EQ(value->view(), Bytes(3000, 'a'));
  EXPECT_EQ(value->pin().use_count(), 1) << "no blocks are held";
  EXPECT_EQ(buffers_->idle_bytes(), io::BufferPool::kSmallest);

  entry_.offset += 8;
  EXPECT_EQ(read().error().code, ErrorCode::kCorrupt);
  entry_.offset = uint64_t{1} << 60;
  EXPECT_EQ(read().error().code, ErrorCode::kCorrupt);
}

// Also records that begin and end inside blocks, and the last of a file that ends inside one.
TEST_F(ReadRecord, ReadsLargeValuesIntoRecycledBuffers) {
  for (const size_t size : {io::BufferPool::kSmallest - 100, io::BufferPool::kSmallest, size_t{1} << 20}) {
    test::SegmentImageBuilder log;
    log.put("alpha", Bytes(3001, 'a')).put("large", Bytes(size, 'l'));
    const auto& record = log.records()[1];
    entry_.seq = record.seq;
    entry_.offset = record.offset;
    entry_.stored_length = entry_.raw_length = static_cast<uint32_t>(size);
    entry_.value_checksum = format::checksum(record.value);
    file_.bytes() = log.bytes();
    for (const bool direct : {false, true, false, true}) {
      direct_ = direct;
      const Value value = *read("large");
      EXPECT_EQ(value.view(), Bytes(size, 'l')) << size << " " << direct;
      // At a cache line, for those who look at them; a direct read begins where the block does.
      if (!direct && size >= io::BufferPool::kSmallest) {
        EXPECT_EQ(reinterpret_cast<uintptr_t>(value.view().data()) % 64, 0u) << size;
      }
    }
    file_.bytes()[record.offset + 100] ^= 1;
    EXPECT_EQ(read("large").error().code, ErrorCode::kCorrupt);
  }
}

TEST_F(ReadRecord, EveryFlippedBitIsCorrupt) {
  const auto& record = log_.records()[0];
  for (uint64_t offset = record.offset; offset < record.value_end; ++offset) {
    file_.bytes()[offset] = static_cast<char>(file_.bytes()[offset] ^ (1 << offset % 8));
    const auto got = read();
    ASSERT_FALSE(got) << offset;
    EXPECT_EQ(got.error().code, ErrorCode::kCorrupt);
    EXPECT_TRUE(got.error().message.starts_with("7.seg: record at 4096: ")) << got.error().message;
    file_.bytes()[offset] = log_.bytes()[offset];
  }
}

TEST_F(ReadRecord, EveryDisagreementWithTheIndexIsCorrupt) {
  const auto good = entry_;
  const auto refused = [&](auto change) {
    entry_ = good;
    change(entry_);
    const auto got = read();
    return !got && got.error().code == ErrorCode::kCorrupt;
  };
  EXPECT_TRUE(refused([](auto& e) { e.seq = SeqNo(1); }));
  EXPECT_TRUE(refused([](auto& e) { e.offset += 8; }));
  EXPECT_TRUE(refused([](auto& e) { e.offset = uint64_t{1} << 60; }));
  EXPECT_TRUE(refused([](auto& e) { e.stored_length -= 1; }));
  EXPECT_TRUE(refused([](auto& e) { e.stored_length += 1; }));
  EXPECT_TRUE(refused([](auto& e) { e.stored_length = UINT32_MAX; }));  // and takes no 4 GiB
  EXPECT_TRUE(refused([](auto& e) { e.raw_length += 1; }));
  EXPECT_TRUE(refused([](auto& e) { e.value_checksum ^= 1; }));  // a lost write: older, but sound by itself
  EXPECT_TRUE(refused([](auto& e) { e.type = format::RecordType::kErase; }));
  EXPECT_TRUE(refused([](auto& e) { e.codec = format::Codec::kLz4; }));
  entry_ = good;
  EXPECT_FALSE(read("alphb"));
  EXPECT_FALSE(read("alph"));
}

TEST_F(ReadRecord, ACutFileIsCorruptAndABrokenDeviceIsNot) {
  file_.bytes().resize(5000);
  EXPECT_EQ(read().error().code, ErrorCode::kCorrupt);
  file_.bytes() = log_.bytes();
  file_.break_block(1);
  EXPECT_EQ(read().error().code, ErrorCode::kIo);
}

TEST(DecodeValue, DecompressesOrPassesOn) {
  const Bytes raw(10'000, 'r');
  format::IndexEntry entry;
  entry.raw_length = entry.stored_length = 10'000;
  EXPECT_EQ(decode_value(entry, Value::own(raw))->view(), raw);
  for (const format::Compression how : {format::Compression{format::Codec::kLz4, 0}, {format::Codec::kZstd, 3}}) {
    Bytes stored;
    entry.codec = format::compress(how, raw, stored);
    entry.stored_length = static_cast<uint32_t>(stored.size());
    EXPECT_EQ(decode_value(entry, Value::own(stored))->view(), raw);
  }
}

TEST(DecodeValue, ALengthThatLiesIsCorrupt) {
  Bytes stored;
  format::IndexEntry entry;
  entry.codec = format::compress({format::Codec::kLz4, 0}, Bytes(10'000, 'r'), stored);
  for (const uint32_t wrong : {0u, 9'999u, 10'001u, format::kMaxRawLength + 1, UINT32_MAX}) {
    entry.raw_length = wrong;
    const auto got = decode_value(entry, Value::own(stored));
    ASSERT_FALSE(got) << wrong;
    EXPECT_EQ(got.error().code, ErrorCode::kCorrupt);
  }
  entry.raw_length = 10'000;
  EXPECT_TRUE(decode_value(entry, Value::own(stored), 10'000));
  EXPECT_FALSE(decode_value(entry, Value::own(stored), 9'999));
  entry.codec = format::Codec::kNone;
  EXPECT_FALSE(decode_value(entry, Value::own(stored)));
}

}  // namespace
}  // namespace cairn::log
