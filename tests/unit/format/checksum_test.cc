#include "format/checksum.h"

#include <set>

#include <gtest/gtest.h>

#include "format/decode.h"

namespace cairn::format {
namespace {

TEST(Checksum, IsXxh3OfTheBytes) {
  // Published values of XXH3_64bits: these must not change with a library or a compiler.
  EXPECT_EQ(checksum(""), 0x2d06800538d394c2u);
  EXPECT_EQ(checksum("a"), 0xe6c632b61e964e1fu);
  EXPECT_EQ(checksum("abc"), 0x78af5f94892f3950u);
}

TEST(Checksum, DependsOnTheSeed) { EXPECT_NE(checksum("abc"), checksum("abc", 1)); }

TEST(PlaceSeed, DiffersWithEachPartOfThePlace) {
  const std::set<uint64_t> seeds = {place_seed(1, 2, 3), place_seed(2, 2, 3), place_seed(1, 3, 3), place_seed(1, 2, 4),
                                    place_seed(2, 1, 3)};
  EXPECT_EQ(seeds.size(), 5u);
}

TEST(AllZero, SeesASingleBitAnywhere) {
  for (size_t size = 0; size < 70; ++size) {
    Bytes bytes(size, '\0');
    EXPECT_TRUE(all_zero(bytes));
    for (size_t at = 0; at < size; ++at) {
      bytes[at] = 1;
      EXPECT_FALSE(all_zero(bytes)) << size << " " << at;
      bytes[at] = 0;
    }
  }
}

}  // namespace
}  // namespace cairn::format
