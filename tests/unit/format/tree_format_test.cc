// Keys and values of the tree: what is refused, and that FORMAT.md shows the bytes.
#include "format/tree_format.h"

#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/decode.h"

namespace cairn::format {
namespace {

Attributes file_attributes() {
  Attributes a;
  a.mode = S_IFREG | 0644;
  a.uid = 1000;
  a.gid = 100;
  a.links = 1;
  a.size = a.stored = 5000;
  a.atime = a.mtime = a.ctime = a.btime = {.seconds = 1'700'000'000, .nanoseconds = 5};
  a.chunk_bits = 17;
  a.parent = kRootIno;
  a.name = "hello";
  return a;
}

ErrorCode decoded(const Bytes& bytes) {
  const auto a = decode_attributes(bytes);
  EXPECT_FALSE(a);
  return a ? ErrorCode::kExists : a.error().code;
}

// The bytes of file_attributes() with one thing changed, which no encoder would write.
Bytes changed(const std::function<void(AttributesDisk&)>& change) {
  Bytes bytes = encode_attributes(file_attributes());
  auto disk = load<AttributesDisk>(bytes);
  change(disk);
  return bytes.replace(0, sizeof disk, bytes_of(disk));
}

TEST(TreeFormat, AttributesComeBackAsTheyWere) {
  Attributes a = file_attributes();
  a.mtime = {.seconds = -1, .nanoseconds = 999'999'999};
  a.sweep_from = 7;
  a.xattrs = 3;
  const auto b = decode_attributes(encode_attributes(a));
  ASSERT_TRUE(b);
  EXPECT_EQ(encode_attributes(*b), encode_attributes(a));
  EXPECT_EQ(b->mtime.seconds, -1);
  EXPECT_EQ(b->name, "hello");
  EXPECT_LE(encode_attributes(a).size(), 256u);  // fits an index entry
}

TEST(TreeFormat, OnlyADirectoryMayHaveMoreThan65000Links) {
  Attributes a = file_attributes();
  a.mode = S_IFDIR | 0755;
  a.chunk_bits = 0;
  a.stored = 0;
  a.links = 1'000'002;
  const auto b = decode_attributes(encode_attributes(a));
  ASSERT_TRUE(b) << b.error().message;
  EXPECT_EQ(b->links, 1'000'002u);
  EXPECT_EQ(decoded(changed([](AttributesDisk& d) { d.links = 65'001; })), ErrorCode::kCorrupt);
}

TEST(TreeFormat, AttributesThatMakeNoSenseAreRefused) {
  const std::function<void(AttributesDisk&)> changes[] = {
      [](AttributesDisk& d) { d.version = 0; },
      [](AttributesDisk& d) { d.chunk_bits = 0; },
      [](AttributesDisk& d) { d.chunk_bits = 64; },
      [](AttributesDisk& d) { d.mode = 0644; },
      [](AttributesDisk& d) { d.mode = S_IFDIR | 0755; },  // with chunks
      [](AttributesDisk& d) { d.mode = 1u << 20 | S_IFREG; },
      [](AttributesDisk& d) { d.links = 65001; },
      [](AttributesDisk& d) { d.size = kMaxFileSize + 1; },
      [](AttributesDisk& d) { d.mtime_ns = 1'000'000'000; },
      [](AttributesDisk& d) { d.sweep_from = 0; },               // inside the file
      [](AttributesDisk& d) { d.sweep_from = UINT64_MAX - 1; },  // would overflow
      [](AttributesDisk& d) { d.parent = 0; },                   // with a name
      [](AttributesDisk& d) { d.name_length = 4; },
      [](AttributesDisk& d) { d.target_length = 1; },
      [](AttributesDisk& d) { d.zero[5] = 1; },
      [](AttributesDisk& d) { d.flags = 2; },
      [](AttributesDisk& d) { d.rdev = 1; },
      [](AttributesDisk& d) {  // a pipe with a size
        d.mode = S_IFIFO;
        d.chunk_bits = 0;
        d.stored = 0;
      },
  };
  for (const auto& change : changes) {
    EXPECT_EQ(decoded(changed(change)), ErrorCode::kCorrupt) << &change - changes;
  }
  EXPECT_EQ(decoded(changed([](AttributesDisk& d) { d.version = 2; })), ErrorCode::kUnsupported);
  EXPECT_EQ(decoded(encode_attributes(file_attributes()) + "x"), ErrorCode::kCorrupt);
  EXPECT_EQ(decoded(Bytes(sizeof(AttributesDisk) - 1, '\1')), ErrorCode::kCorrupt);
}

TEST(TreeFormat, NamesFromTheDiskAreCheckedAsThoseOfUsers) {
  const std::string longest(255, 'n');
  EXPECT_TRUE(check_name(longest));
  EXPECT_EQ(check_name(longest + "n").error().code, ErrorCode::kNameTooLong);
  const Entry entry{.ino = 5, .type = S_IFREG, .cookie = 6};
  Bytes listing = encode_listing(entry, "ab");
  EXPECT_TRUE(decode_listing(listing));
  for (const ByteView bad : {ByteView(""), ByteView("."), ByteView(".."), ByteView("a/"), ByteView("a\0", 2)}) {
    EXPECT_FALSE(check_name(bad));
    EXPECT_FALSE(decode_listing(Bytes(listing).replace(16, 2, bad)));
    EXPECT_FALSE(decode_tree_key(entry_key(1, bad)));
    EXPECT_FALSE(decode_tree_key(back_link_key(5, 1, bad)));
  }
}

TEST(TreeFormat, KeysSortByInodeThenKindThenNumber) {
  const Bytes sorted[] = {orphan_key(9),       sweep_key(1),        attributes_key(1),   entry_key(1, "b"),
                          listing_key(1, 2),   listing_key(1, 256), attributes_key(255), chunk_key(255, 1),
                          chunk_key(255, 256), attributes_key(256)};
  for (size_t i = 1; i < std::size(sorted); ++i) EXPECT_LT(sorted[i - 1], sorted[i]) << i;
}

TEST(TreeFormat, KeysOfTheEngineAreNoneOfTheTree) {
  EXPECT_EQ(decode_tree_key(inode_prefix(0) + "H").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decode_tree_key("short").error().code, ErrorCode::kInvalid);
  EXPECT_EQ(decode_tree_key(chunk_key(5, 1, kMaxPatches))->patch, kMaxPatches);
  EXPECT_EQ(decode_tree_key(chunk_key(5, 1, kMaxPatches + 1)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decode_tree_key(chunk_key(5, UINT64_MAX)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decode_tree_key(listing_key(5, 0)).error().code, ErrorCode::kCorrupt);
  EXPECT_EQ(decode_tree_key(inode_prefix(5) + "Z").error().code, ErrorCode::kCorrupt);
}

TEST(TreeFormat, PatchesStayWithinTheirChunk) {
  const Bytes patch = encode_patch({.offset = 4000, .bytes = "0123456789"});
  EXPECT_EQ(decode_patch(patch, 4096)->end(), 4010u);
  EXPECT_TRUE(decode_patch(patch, 4010));
  EXPECT_FALSE(decode_patch(patch, 4009));
  EXPECT_FALSE(decode_patch(patch, 100));
  EXPECT_FALSE(decode_patch(ByteView(patch).substr(0, sizeof(PatchDisk)), 4096));  // without a byte
  EXPECT_FALSE(decode_patch(Bytes(patch).replace(1, 1, "x"), 4096));
}

// ---- FORMAT.md ----

Bytes hexdump(ByteView bytes) {
  Bytes out;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    Bytes hex, text;
    for (size_t i = at; i < at + 16; ++i) {
      if (i == at + 8) hex += ' ';
      hex += i < bytes.size() ? fmt::format("{:02x} ", static_cast<unsigned char>(bytes[i])) : "   ";
      if (i < bytes.size()) text += bytes[i] >= 0x20 && bytes[i] < 0x7f ? bytes[i] : '.';
    }
    out += fmt::format("{:08x}  {} |{}|\n", at, hex, text);
  }
  return out;
}

TEST(TreeFormat, FormatMdShowsTheBytesOfAFile) {
  const char* tests = std::getenv("CAIRNFS_TESTS");  // set by Meson
  const auto folder = tests != nullptr ? std::filesystem::path(tests)
                                       : std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  std::ifstream in(folder.parent_path() / "src" / "format" / "FORMAT.md", std::ios::binary);
  const Bytes document(std::istreambuf_iterator<char>(in), {});
  const Entry entry{.ino = 1024, .type = S_IFREG, .cookie = 1024};
  for (const Bytes& example :
       {hexdump(attributes_key(1024)), hexdump(encode_attributes(file_attributes())), hexdump(entry_key(1, "hello")),
        hexdump(encode_entry(entry)), hexdump(listing_key(1, 1024)), hexdump(encode_listing(entry, "hello")),
        hexdump(chunk_key(1024, 0)), hexdump(encode_patch({.offset = 5000, .bytes = "more"}))}) {
    EXPECT_NE(document.find(example), Bytes::npos) << "FORMAT.md does not show:\n" << example;
  }
}

}  // namespace
}  // namespace cairn::format
