// Keys and values of the tree from any bytes: what is accepted is written back as the same bytes.
#include "format/tree_format.h"
#include "fuzz/fuzz.h"

namespace cairn::format {
namespace {

Attributes attributes_of(uint32_t mode) {
  Attributes a;
  a.mode = mode;
  a.uid = 1000;
  a.links = 1;
  a.mtime = {.seconds = 1'700'000'000, .nanoseconds = 999'999'999};
  a.parent = 7;
  a.name = "name";
  if (a.is_regular()) a.chunk_bits = 17;
  if (a.is_symlink()) {
    a.target = "some/where";
    a.size = a.target.size();
  }
  return a;
}

fuzz::Corpus values() {
  Attributes cut = attributes_of(S_IFREG | 0644);
  cut.size = cut.stored = 5000;
  cut.sweep_from = 1;
  const Entry entry{.ino = 1024, .type = S_IFREG, .cookie = 1025};
  return {encode_attributes(attributes_of(S_IFREG | 0644)),
          encode_attributes(attributes_of(S_IFDIR | 0755)),
          encode_attributes(attributes_of(S_IFLNK | 0777)),
          encode_attributes(attributes_of(S_IFCHR | 0600)),
          encode_attributes(cut),
          encode_entry(entry),
          encode_listing(entry, "name"),
          encode_marker(),
          encode_visits(Bytes(kVisitsBits / 8, '\x11')),
          encode_hand(1024),
          encode_patch({.offset = 100, .bytes = "patch"})};
}

void decode_values(ByteView bytes) {
  if (const auto a = decode_attributes(bytes)) FUZZ_EXPECT(encode_attributes(*a) == bytes);
  if (const auto e = decode_entry(bytes)) FUZZ_EXPECT(encode_entry(*e) == bytes);
  if (const auto l = decode_listing(bytes)) {
    FUZZ_EXPECT(encode_listing({.ino = l->ino, .type = l->type, .cookie = 1}, l->name) == bytes);
  }
  if (const auto p = decode_patch(bytes, 4096)) FUZZ_EXPECT(encode_patch(*p) == bytes && p->end() <= 4096);
  if (const auto v = decode_visits(bytes)) FUZZ_EXPECT(encode_visits(*v) == bytes);
  if (const auto h = decode_hand(bytes)) FUZZ_EXPECT(encode_hand(*h) == bytes);
  if (decode_marker(bytes)) FUZZ_EXPECT(bytes == encode_marker());
}

fuzz::Corpus keys() {
  return {attributes_key(1),
          chunk_key(1024, 3),
          chunk_key(1024, 3, 16),
          entry_key(1, "name"),
          listing_key(1, 1025),
          orphan_key(1024),
          back_link_key(5, 1, "name"),
          sweep_key(1024),
          xattr_key(9, "user.name"),
          visits_key(77),
          unit_key(1024),
          hand_key(),
          inode_prefix(0) + "H"};
}

Bytes encode(const TreeKey& key) {
  switch (key.kind) {
    case KeyKind::kAttributes: return attributes_key(key.ino);
    case KeyKind::kChunk: return chunk_key(key.ino, key.number, key.patch);
    case KeyKind::kEntry: return entry_key(key.ino, key.name);
    case KeyKind::kListing: return listing_key(key.ino, key.number);
    case KeyKind::kBackLink: return back_link_key(key.ino, key.number, key.name);
    case KeyKind::kXattr: return xattr_key(key.ino, key.name);
    case KeyKind::kOrphan: return orphan_key(key.ino);
    case KeyKind::kSweep: return sweep_key(key.ino);
    case KeyKind::kUnit: return unit_key(key.ino);
    case KeyKind::kVisits: return visits_key(key.number);
    case KeyKind::kHand: return hand_key();
  }
  return {};
}

void decode_key(ByteView bytes) {
  const auto key = decode_tree_key(bytes);
  if (!key) return;
  FUZZ_EXPECT((key->ino == 0) == (key->kind == KeyKind::kVisits || key->kind == KeyKind::kHand));
  FUZZ_EXPECT(encode(*key) == bytes);
}

}  // namespace
}  // namespace cairn::format

FUZZ_TARGET(TreeValues, cairn::format::values, cairn::format::decode_values);
#ifndef CAIRN_LIBFUZZER
FUZZ_TARGET(TreeKeys, cairn::format::keys, cairn::format::decode_key);
#endif
