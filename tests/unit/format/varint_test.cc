#include "format/varint.h"

#include <gtest/gtest.h>

namespace cairn::format {
namespace {

using namespace std::literals;

Bytes encoded(uint64_t value) {
  Bytes out;
  put_varint(out, value);
  return out;
}

TEST(Varint, RoundTripsAtEveryBoundary) {
  for (unsigned shift = 0; shift < 64; ++shift) {
    for (const uint64_t value : {(uint64_t{1} << shift) - 1, uint64_t{1} << shift, (uint64_t{1} << shift) + 1}) {
      const Bytes bytes = encoded(value);
      EXPECT_LE(bytes.size(), 10u);
      Reader reader(bytes);
      EXPECT_EQ(reader.varint(), value);
      EXPECT_EQ(reader.remaining(), 0u);
    }
  }
  EXPECT_EQ(encoded(UINT64_MAX).size(), 10u);
}

TEST(Varint, RefusesALongerFormThanNeeded) {
  EXPECT_FALSE(Reader("\x80\x00"sv).varint());
  EXPECT_FALSE(Reader("\xff\x80\x00"sv).varint());
  EXPECT_TRUE(Reader("\x80\x01"sv).varint());
  EXPECT_EQ(Reader("\x00"sv).varint(), 0u);
}

TEST(Varint, RefusesMoreThan64Bits) {
  EXPECT_EQ(Reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"sv).varint(), UINT64_MAX);
  EXPECT_FALSE(Reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"sv).varint());
  EXPECT_FALSE(Reader("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x81\x00"sv).varint());
}

TEST(Varint, RefusesAnEarlyEnd) {
  for (size_t length = 0; length < 10; ++length) {
    EXPECT_FALSE(Reader(Bytes(length, '\xff')).varint()) << length;
  }
}

TEST(Reader, ReadsFixedNumbersLittleEndian) {
  Reader reader("\x01\x02\x03\x04\x05\x06\x07\x08\x0a\x0b\x0c\x0d\x7f"sv);
  EXPECT_EQ(reader.u64(), 0x0807060504030201u);
  EXPECT_EQ(reader.u32(), 0x0d0c0b0au);
  EXPECT_EQ(reader.u8(), 0x7f);
  EXPECT_FALSE(reader.failed());
}

TEST(Reader, FailsForGoodAfterTheFirstFailure) {
  Reader reader("abc"sv);
  EXPECT_FALSE(reader.u64());
  EXPECT_TRUE(reader.failed());
  EXPECT_FALSE(reader.u8());
  EXPECT_FALSE(reader.take(0));
  EXPECT_FALSE(reader.varint());
}

TEST(Reader, NeverTakesMoreThanThereIs) {
  EXPECT_FALSE(Reader("abc"sv).take(4));
  EXPECT_FALSE(Reader("abc"sv).take(UINT64_MAX));
  EXPECT_EQ(Reader("abc"sv).take(3), "abc"sv);
}

}  // namespace
}  // namespace cairn::format
