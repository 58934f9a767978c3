#include "fusefs/size.h"

#include <gtest/gtest.h>

namespace cairn::fusefs {
namespace {

TEST(Size, SuffixesAreBinary) {
  EXPECT_EQ(*parse_size("4096"), 4096u);
  EXPECT_EQ(*parse_size("64K"), 64u << 10);
  EXPECT_EQ(*parse_size("64k"), 64u << 10);
  EXPECT_EQ(*parse_size("1.5G"), 3ull << 29);
  EXPECT_EQ(*parse_size("2T"), 2ull << 40);
  EXPECT_EQ(*parse_size("2TiB"), 2ull << 40);
  EXPECT_EQ(*parse_size("3MB"), 3ull << 20);
  EXPECT_EQ(*parse_size("7B"), 7u);
  EXPECT_EQ(*parse_size("0"), 0u);
}

TEST(Size, PlainBytesAreExactBeyondWhatADoubleHolds) {
  EXPECT_EQ(*parse_size("9007199254740993"), 9007199254740993ull);
}

TEST(Size, AnythingElseIsRefusedAndRepeatedInTheMessage) {
  for (const char* text : {"", "K", "-1", "+1", " 1", "1 K", "1Q", "1KK", "1KiBs", "0x10", "1e9", "nan", "inf", "1,5G",
                           "1.5.5", "99999999T", "9E9", "1.5", "0.3K"}) {
    const auto size = parse_size(text);
    ASSERT_FALSE(size) << text;
    EXPECT_EQ(size.error().code, ErrorCode::kInvalid);
    EXPECT_NE(size.error().message.find(text), std::string::npos) << size.error().message;
    EXPECT_EQ(size.error().message.find('\n'), std::string::npos);
  }
}

TEST(Size, FormattingRoundsToWhatPeopleRead) {
  EXPECT_EQ(format_size(0), "0 B");
  EXPECT_EQ(format_size(1023), "1023 B");
  EXPECT_EQ(format_size(1536), "1.5 KiB");
  EXPECT_EQ(format_size(12ull << 20), "12 MiB");
  EXPECT_EQ(format_size(UINT64_MAX), "16 EiB");
}

}  // namespace
}  // namespace cairn::fusefs
