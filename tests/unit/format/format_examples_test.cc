// The hex examples of src/format/FORMAT.md are what the encoders write: whoever changes the bytes changes the document.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "format/checksum.h"
#include "format/decode.h"
#include "format/segment.h"
#include "format/table.h"
#include "format/varint.h"
#include "support/segment_image.h"

namespace cairn::format {
namespace {

std::filesystem::path format_md() {
  const char* tests = std::getenv("CAIRNFS_TESTS");  // set by Meson
  const auto folder = tests != nullptr ? std::filesystem::path(tests)
                                       : std::filesystem::path(__FILE__).parent_path().parent_path().parent_path();
  return folder.parent_path() / "src" / "format" / "FORMAT.md";
}

// As `hexdump -C -s OFFSET` prints it, with `*` for repeated lines.
Bytes hexdump(ByteView bytes, uint64_t offset) {
  Bytes out, before;
  bool starred = false;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    const ByteView line = bytes.substr(at, 16);
    if (at > 0 && line == before && line.size() == 16) {
      if (!starred) out += "*\n";
      starred = true;
      continue;
    }
    starred = false;
    before = line;
    Bytes hex, text;
    for (size_t i = 0; i < 16; ++i) {
      if (i == 8) hex += ' ';
      hex += i < line.size() ? fmt::format("{:02x} ", static_cast<unsigned char>(line[i])) : "   ";
      if (i < line.size()) text += line[i] >= 0x20 && line[i] < 0x7f ? line[i] : '.';
    }
    out += fmt::format("{:08x}  {} |{}|\n", offset + at, hex, text);
  }
  return out + fmt::format("{:08x}\n", offset + bytes.size());
}

void expect_documented(const Bytes& example) {
  static const Bytes document = [] {
    std::ifstream in(format_md(), std::ios::binary);
    return Bytes(std::istreambuf_iterator<char>(in), {});
  }();
  ASSERT_FALSE(document.empty()) << format_md();
  EXPECT_NE(document.find(example), Bytes::npos) << "FORMAT.md does not show:\n" << example;
}

// The segment of the examples: two records of one batch, and the mark that commits them.
test::SegmentImageBuilder example_segment() {
  test::SegmentImageBuilder segment;
  segment.batch({{"greeting", "hello"}, {"old", "", true}}).commit();
  return segment;
}

TEST(FormatMd, ShowsASuperblock) {
  expect_documented(hexdump(bytes_of(encode_superblock(test::small_superblock())), 0));
}

TEST(FormatMd, ShowsASegmentHeader) {
  expect_documented(hexdump(ByteView(example_segment().bytes()).substr(0, 512), 0));
}

TEST(FormatMd, ShowsACommit) { expect_documented(hexdump(ByteView(example_segment().bytes()).substr(4096), 4096)); }

TEST(FormatMd, ShowsAnExtentPointer) {
  expect_documented(
      hexdump(bytes_of(encode_extent_pointer({SegmentId(9), 1'000'000, 0x5a17'0000'0000'0009, 131072})), 0));
}

TEST(FormatMd, ShowsATableTrailer) {
  const auto segment = example_segment();
  TableTrailer trailer;
  trailer.kind = TableKind::kFooter;
  trailer.id = 7;
  trailer.salt = segment.header().salt;
  trailer.base = segment.end();
  trailer.filter_offset = trailer.base + 120;
  trailer.filter_length = 72;
  trailer.index_offset = trailer.base + 192;
  trailer.index_length = 40;
  trailer.entries = 2;
  trailer.erases = 1;
  trailer.range = {SeqNo(1000), SeqNo(1001)};
  trailer.record_bytes = 104;
  trailer.last_mark = segment.commits()[0].mark.number;
  trailer.last_mark_offset = segment.commits()[0].mark_offset;
  trailer.last_mark_checksum = segment.commits()[0].mark_checksum;
  trailer.next_ino = 500;
  const uint64_t offset = trailer.index_offset + trailer.index_length;
  expect_documented(hexdump(bytes_of(encode_table_trailer(trailer, offset)), offset));
}

TEST(FormatMd, ShowsATableEntry) {
  IndexEntry entry;
  entry.seq = SeqNo(1000);
  entry.segment = SegmentId(7);
  entry.offset = 4096;
  entry.stored_length = entry.raw_length = 5;
  entry.value_checksum = checksum("hello");
  entry.has_small = true;
  entry.small = "hello";
  Bytes out;
  encode_entry(out, "great", "greeting", entry);
  expect_documented(hexdump(out, 0));
}

TEST(FormatMd, ShowsChecksumsAndVarints) {
  for (const ByteView text : {ByteView(""), ByteView("a"), ByteView("abc")}) {
    expect_documented(fmt::format("| `\"{}\"` | 0 | `{:016x}` |", text, checksum(text)));
  }
  expect_documented(fmt::format("| `\"abc\"` | 1 | `{:016x}` |", checksum("abc", 1)));
  expect_documented(fmt::format("| 1000 zero bytes | 7 | `{:016x}` |", checksum(Bytes(1000, '\0'), 7)));
  expect_documented(
      fmt::format("`place_seed(0x5a17000000000007, 7, 4096)` = `{:016x}`", place_seed(0x5a17'0000'0000'0007, 7, 4096)));
  Bytes varint;
  put_varint(varint, 300);
  EXPECT_EQ(varint, "\xac\x02");
  expect_documented("300 is `ac 02`");
}

}  // namespace
}  // namespace cairn::format
