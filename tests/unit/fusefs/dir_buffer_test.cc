#include "fusefs/dir_buffer.h"

#include <cstring>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/stat.h>

namespace cairn::fusefs {
namespace {

constexpr bool kPlain = false;
constexpr bool kPlus = true;

struct Parsed {
  uint64_t node = 0;  // of the entry's attributes; 0 in plain listings
  uint64_t ino = 0;
  uint64_t offset = 0;
  uint32_t type = 0;
  std::string name;
};

// The kernel's layout: struct fuse_direntplus is struct fuse_entry_out (128 bytes, node id first) and struct fuse_dirent.
std::vector<Parsed> parse(const std::string& bytes, bool plus) {
  std::vector<Parsed> entries;
  for (size_t at = 0; at < bytes.size();) {
    Parsed entry;
    if (plus) {
      std::memcpy(&entry.node, bytes.data() + at, 8);
      at += 128;
    }
    uint32_t name_size = 0;
    std::memcpy(&entry.ino, bytes.data() + at, 8);
    std::memcpy(&entry.offset, bytes.data() + at + 8, 8);
    std::memcpy(&name_size, bytes.data() + at + 16, 4);
    std::memcpy(&entry.type, bytes.data() + at + 20, 4);
    entry.name = bytes.substr(at + 24, name_size);
    at += (24 + name_size + 7) / 8 * 8;
    entries.push_back(std::move(entry));
  }
  return entries;
}

DirEntry entry(const std::string& name, Ino ino, uint64_t cookie) {
  return {.name = name, .ino = ino, .type = S_IFREG, .cookie = cookie};
}

Attr attr(Ino ino) {
  Attr attr;
  attr.ino = ino;
  attr.mode = S_IFREG | 0644;
  return attr;
}

TEST(DirBuffer, PassesCookiesOnAsTheyAre) {
  DirBuffer buffer(nullptr, 4096, kPlain);
  ASSERT_TRUE(buffer.add(entry("a", 5000, (1ull << 62) + 7), nullptr));
  const auto entries = parse(buffer.bytes(), kPlain);
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].offset, (1ull << 62) + 7);
  EXPECT_EQ(entries[0].ino, 5000u);
  EXPECT_EQ(entries[0].type, static_cast<uint32_t>(S_IFREG >> 12));
}

TEST(DirBuffer, CountsALookupForExactlyTheEntriesThatFit) {
  DirBuffer buffer(nullptr, 1000, kPlus);
  Ino ino = 2000;
  for (Attr attributes = attr(ino); buffer.add(entry("name-" + std::to_string(ino), ino, ino), &attributes);
       attributes = attr(++ino)) {
  }
  const auto entries = parse(buffer.bytes(), kPlus);
  ASSERT_EQ(entries.size(), buffer.looked_up().size());
  ASSERT_GT(entries.size(), 2u);
  for (size_t i = 0; i < entries.size(); ++i) EXPECT_EQ(entries[i].node, buffer.looked_up()[i]);
  EXPECT_LE(buffer.bytes().size(), 1000u);
}

TEST(DirBuffer, DotsAreNoLookups) {
  DirBuffer buffer(nullptr, 4096, kPlus);
  ASSERT_TRUE(buffer.add_without_lookup(".", 77, S_IFDIR, kOffsetAfterDot));
  const auto entries = parse(buffer.bytes(), kPlus);
  EXPECT_EQ(entries[0].node, 0u);
  EXPECT_EQ(entries[0].ino, 77u);
  EXPECT_TRUE(buffer.looked_up().empty());
}

TEST(DirBuffer, AnEntryWithoutAttributesIsListedAndNotCounted) {
  DirBuffer buffer(nullptr, 4096, kPlus);
  const Attr unknown;
  ASSERT_TRUE(buffer.add(entry("damaged", 3000, 3000), &unknown));
  const auto entries = parse(buffer.bytes(), kPlus);
  EXPECT_EQ(entries[0].name, "damaged");
  EXPECT_EQ(entries[0].node, 0u);
  EXPECT_EQ(entries[0].ino, 3000u);
  EXPECT_TRUE(buffer.looked_up().empty());
}

TEST(DirBuffer, ANameOfFullLengthFitsTheSmallestBufferOfTheKernel) {
  DirBuffer buffer(nullptr, 4096, kPlus);
  const Attr attributes = attr(9);
  EXPECT_TRUE(buffer.add(entry(std::string(kMaxNameSize, 'n'), 9, 9), &attributes));
}

}  // namespace
}  // namespace cairn::fusefs
