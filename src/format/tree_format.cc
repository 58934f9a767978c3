#include "format/tree_format.h"

#include <bit>
#include <cstddef>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/decode.h"

namespace cairn::format {
namespace {

// FORMAT.md, "Tree".
static_assert(offsetof(AttributesDisk, mode) == 4 && offsetof(AttributesDisk, links) == 16);
static_assert(offsetof(AttributesDisk, size) == 24 && offsetof(AttributesDisk, rdev) == 40);
static_assert(offsetof(AttributesDisk, atime) == 48 && offsetof(AttributesDisk, atime_ns) == 80);
static_assert(offsetof(AttributesDisk, sweep_from) == 96 && offsetof(AttributesDisk, parent) == 104);
static_assert(offsetof(AttributesDisk, name_length) == 112 && offsetof(AttributesDisk, flags) == 113);
static_assert(offsetof(PatchDisk, offset) == 4 && offsetof(EntryDisk, cookie) == 16);
static_assert(offsetof(EntryDisk, ino) == offsetof(ListingDisk, ino), "at the same place in both");
static_assert(offsetof(VisitsDisk, bits) == 8 && offsetof(HandDisk, next) == 8);
static_assert(kMaxNameSize <= UINT8_MAX, "AttributesDisk::name_length");
static_assert(kMaxSymlinkSize <= UINT16_MAX, "AttributesDisk::target_length");
static_assert(kMaxFileSize % (uint64_t{1} << kChunkBitsMax) == 0, "the last chunk of the largest file is whole");
static_assert(uint64_t{1} << kChunkBitsMax <= UINT32_MAX, "PatchDisk::offset");

constexpr size_t kInoSize = 8;   // bytes, big endian
constexpr size_t kHeadSize = 9;  // ino and kind
static_assert(kListKeySize == kHeadSize + kInoSize);
static_assert(kChunkKeySize == kHeadSize + sizeof(uint64_t) + 1);
constexpr uint32_t kNanoseconds = 1'000'000'000;
constexpr unsigned kTypeShift = 12;  // st_mode >> 12 is the type

// Le.h has no big endian on purpose: keys are the only place that needs it, as they are compared as bytes.
void append_big_endian(Bytes& out, uint64_t value) {
  value = __builtin_bswap64(value);
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

uint64_t load_big_endian(ByteView bytes) {
  DCHECK(bytes.size() >= sizeof(uint64_t));
  uint64_t value = 0;
  std::memcpy(&value, bytes.data(), sizeof value);
  return __builtin_bswap64(value);
}

// `more`: bytes that the caller will append, so that the key is allocated once.
Bytes numbered_key(Ino ino, KeyKind kind, uint64_t number, size_t more = 0) {
  Bytes key;
  key.reserve(kHeadSize + sizeof number + more);
  append_big_endian(key, ino);
  key.push_back(static_cast<char>(kind));
  append_big_endian(key, number);
  return key;
}

Bytes named_key(Ino ino, KeyKind kind, ByteView name) {
  Bytes key;
  key.reserve(kHeadSize + name.size());
  append_big_endian(key, ino);
  key.push_back(static_cast<char>(kind));
  key.append(name);
  return key;
}

// A type that is not known here could not be shown to the kernel, and S_IFMT has values that no type has.
bool known_type(uint32_t type) {
  switch (type) {
    case S_IFREG:
    case S_IFDIR:
    case S_IFLNK:
    case S_IFCHR:
    case S_IFBLK:
    case S_IFIFO:
    case S_IFSOCK: return true;
    default: return false;
  }
}

tl::unexpected<Error> corrupt(const char* what) { return fail(ErrorCode::kCorrupt, what); }

// Keys under inode 0. The engine has some of its own there (liveness map), which are none of the tree's business:
// kInvalid tells them from damage.
Result<TreeKey> decode_list_key(ByteView key) {
  const auto kind = static_cast<KeyKind>(key[kInoSize]);
  if (kind == KeyKind::kHand) {
    if (key.size() != kHeadSize) return corrupt("key: wrong length");
    return TreeKey{.kind = kind, .ino = 0, .number = 0, .name = {}};
  }
  if (kind != KeyKind::kOrphan && kind != KeyKind::kSweep && kind != KeyKind::kUnit && kind != KeyKind::kVisits) {
    return fail(ErrorCode::kInvalid, "a key of the engine");
  }
  if (key.size() != kListKeySize) return corrupt("key: wrong length");
  const Ino ino = load_big_endian(key.substr(kHeadSize));
  if (kind == KeyKind::kVisits) {
    if (ino >= kVisitPages) return corrupt("key: page out of range");
    return TreeKey{.kind = kind, .ino = 0, .number = ino, .name = {}};
  }
  // Everything that is listed is an inode's, and 0 is nobody's.
  if (ino == 0) return corrupt("key: inode number 0");
  return TreeKey{.kind = kind, .ino = ino, .number = 0, .name = {}};
}

// The first rule that `a` breaks, or null. Held before writing and after reading.
const char* broken_rule(const Attributes& a) {
  if (!known_type(a.mode & S_IFMT) || (a.mode & ~uint32_t{S_IFMT | 07777}) != 0) return "unknown mode";
  // Directories count their subdirectories, of which there may be any number.
  if (!a.is_directory() && a.links > kMaxLinks) return "too many links";
  for (const Time* time : {&a.atime, &a.mtime, &a.ctime, &a.btime}) {
    if (time->nanoseconds >= kNanoseconds) return "nanoseconds out of range";
  }
  // The caller divides by the chunk size, shifts by chunk_bits and multiplies indexes: all that is safe only with
  // these.
  if (a.is_regular()) {
    if (a.chunk_bits < kChunkBitsMin || a.chunk_bits > kChunkBitsMax) return "chunk size out of range";
    if (a.size > kMaxFileSize) return "size out of range";
    if (a.sweep_from != kNoSweep && a.sweep_from > (kMaxFileSize >> a.chunk_bits)) return "sweep out of range";
    // Chunks that wait to be erased must lie behind the end: what a truncation cut off must not come back by a write
    // beyond it.
    if (a.sweep_from != kNoSweep && a.size > a.sweep_from << a.chunk_bits) return "sweep inside the file";
  } else if (a.chunk_bits != 0 || a.stored != 0 || a.sweep_from != kNoSweep || a.patched) {
    return "content of what is no regular file";
  }
  const uint32_t type = a.mode & S_IFMT;
  // Fields that a type does not use are 0, so that a later version may use them, and equal inodes have equal bytes.
  if (a.rdev != 0 && type != S_IFCHR && type != S_IFBLK) return "device number of what is no device";
  if (a.size != 0 && !a.is_regular() && !a.is_directory() && !a.is_symlink()) return "size of what has none";
  if (a.is_symlink() ? a.target.empty() || a.target.size() > kMaxSymlinkSize || a.size != a.target.size()
                     : !a.target.empty()) {
    return "wrong length of a symlink's target";
  }
  // The kernel takes the target as a string: behind a NUL it would see something else than we check.
  if (a.target.find('\0') != Bytes::npos) return "NUL in a symlink's target";
  // The root alone has a parent (itself) and no name.
  if (a.parent == 0 && !a.name.empty()) return "a name without a parent";
  if (!a.name.empty() && !check_name(a.name)) return "bad name";
  return nullptr;
}

// Seconds are two's complement: files from before 1970 exist (tar, SOURCE_DATE_EPOCH).
Time load_time(const Le64& seconds, const Le32& nanoseconds) {
  return {.seconds = std::bit_cast<int64_t>(uint64_t{seconds}), .nanoseconds = nanoseconds};
}

void store_time(const Time& time, Le64& seconds, Le32& nanoseconds) {
  seconds = std::bit_cast<uint64_t>(time.seconds);
  nanoseconds = time.nanoseconds;
}

Attributes fields_of(const AttributesDisk& disk) {
  Attributes a;
  a.mode = disk.mode;
  a.uid = disk.uid;
  a.gid = disk.gid;
  a.links = disk.links;
  a.xattrs = disk.xattrs;
  a.size = disk.size;
  a.stored = disk.stored;
  a.rdev = disk.rdev;
  a.atime = load_time(disk.atime, disk.atime_ns);
  a.mtime = load_time(disk.mtime, disk.mtime_ns);
  a.ctime = load_time(disk.ctime, disk.ctime_ns);
  a.btime = load_time(disk.btime, disk.btime_ns);
  a.chunk_bits = disk.chunk_bits;
  a.sweep_from = disk.sweep_from;
  // Bits that are not known were refused before.
  a.patched = (disk.flags & kPatched) != 0;
  a.parent = disk.parent;
  return a;
}

}  // namespace

Result<TreeKey> decode_tree_key(ByteView key) {
  if (key.size() < kHeadSize) return fail(ErrorCode::kInvalid, "too short for a key of the tree");
  TreeKey out;

  out.ino = load_big_endian(key);
  if (out.ino == 0) return decode_list_key(key);
  out.kind = static_cast<KeyKind>(key[kInoSize]);
  const ByteView rest = key.substr(kHeadSize);
  switch (out.kind) {
    case KeyKind::kAttributes:
      if (!rest.empty()) return corrupt("key: wrong length");
      return out;
    case KeyKind::kChunk:
      if (rest.size() != sizeof(uint64_t) + 1) return corrupt("key: wrong length");
      out.patch = static_cast<uint8_t>(rest.back());
      if (out.patch > kMaxPatches) return corrupt("key: patch number out of range");
      out.number = load_big_endian(rest);
      // With the smallest chunks. What it may be in this file depends on attributes that are not at hand.
      if (out.number > kMaxFileSize >> kChunkBitsMin) return corrupt("key: chunk index out of range");
      return out;
    case KeyKind::kListing:
      if (rest.size() != sizeof(uint64_t)) return corrupt("key: wrong length");
      out.number = load_big_endian(rest);
      // 0 is where a listing starts, before the first entry.
      if (out.number == 0) return corrupt("key: cookie 0");
      return out;
    case KeyKind::kBackLink:
      if (rest.size() < kInoSize) return corrupt("key: wrong length");
      out.number = load_big_endian(rest);
      out.name = rest.substr(kInoSize);
      if (out.number == 0 || !check_name(out.name)) return corrupt("key: bad back link");
      return out;
    case KeyKind::kEntry:
      out.name = rest;
      if (!check_name(rest)) return corrupt("key: bad name");
      return out;
    case KeyKind::kXattr:
      out.name = rest;
      if (!check_xattr_name(rest)) return corrupt("key: bad name of an extended attribute");
      return out;
    // No default: a new kind has to say here where it may stand.
    case KeyKind::kOrphan:
    case KeyKind::kSweep:
    case KeyKind::kUnit:
    case KeyKind::kVisits:
    case KeyKind::kHand: break;  // only under inode 0
  }
  return corrupt("key: unknown kind");
}

Bytes inode_prefix(Ino ino) {
  Bytes key;
  append_big_endian(key, ino);
  return key;
}

Bytes kind_prefix(Ino ino, KeyKind kind) { return named_key(ino, kind, {}); }
Bytes attributes_key(Ino ino) { return named_key(ino, KeyKind::kAttributes, {}); }
Bytes entry_key(Ino directory, ByteView name) { return named_key(directory, KeyKind::kEntry, name); }
Bytes listing_key(Ino directory, uint64_t cookie) { return numbered_key(directory, KeyKind::kListing, cookie); }
Bytes xattr_key(Ino ino, ByteView name) { return named_key(ino, KeyKind::kXattr, name); }
Bytes orphan_key(Ino ino) { return numbered_key(0, KeyKind::kOrphan, ino); }
Bytes sweep_key(Ino ino) { return numbered_key(0, KeyKind::kSweep, ino); }
Bytes unit_key(Ino ino) { return numbered_key(0, KeyKind::kUnit, ino); }
Bytes visits_key(uint64_t page) { return numbered_key(0, KeyKind::kVisits, page); }
Bytes hand_key() { return kind_prefix(0, KeyKind::kHand); }

// n = 0 sorts before the patches: one scan gives the chunk and then what goes over it.
Bytes chunk_key(Ino ino, uint64_t index, uint8_t patch) {
  Bytes key = numbered_key(ino, KeyKind::kChunk, index, 1);
  key.push_back(static_cast<char>(patch));
  return key;
}

// The parent comes before the name, so that all names in one directory are found by a prefix.
Bytes back_link_key(Ino ino, Ino parent, ByteView name) {
  Bytes key = numbered_key(ino, KeyKind::kBackLink, parent, name.size());
  key.append(name);
  return key;
}

Result<void> check_name(ByteView name) {
  // The length first, as the kernel has it: a name that is too long and bad as well is too long.
  if (name.size() > kMaxNameSize) return fail(ErrorCode::kNameTooLong);
  if (name.empty() || name == "." || name == "..") return fail(ErrorCode::kInvalid);
  if (name.find('/') != ByteView::npos || name.find('\0') != ByteView::npos) return fail(ErrorCode::kInvalid);
  return {};
}

Result<void> check_xattr_name(ByteView name) {
  // A slash is allowed: these names never become part of a path.
  if (name.empty() || name.size() > kMaxNameSize) return fail(ErrorCode::kRange);
  if (name.find('\0') != ByteView::npos) return fail(ErrorCode::kInvalid);
  return {};
}

Bytes encode_attributes(const Attributes& a) {
  CHECK(broken_rule(a) == nullptr);
  AttributesDisk disk{};
  disk.version = kTreeVersion;
  disk.chunk_bits = a.chunk_bits;
  // broken_rule() has bounded both lengths.
  disk.target_length = static_cast<uint16_t>(a.target.size());
  disk.mode = a.mode;
  disk.uid = a.uid;
  disk.gid = a.gid;
  disk.links = a.links;
  disk.xattrs = a.xattrs;
  disk.size = a.size;
  disk.stored = a.stored;
  disk.rdev = a.rdev;
  store_time(a.atime, disk.atime, disk.atime_ns);
  store_time(a.mtime, disk.mtime, disk.mtime_ns);
  store_time(a.ctime, disk.ctime, disk.ctime_ns);
  store_time(a.btime, disk.btime, disk.btime_ns);
  disk.sweep_from = a.sweep_from;
  disk.parent = a.parent;
  disk.name_length = static_cast<uint8_t>(a.name.size());
  disk.flags = a.patched ? kPatched : 0;
  Bytes out;
  out.reserve(sizeof disk + a.name.size() + a.target.size());
  out.append(bytes_of(disk)).append(a.name).append(a.target);
  return out;
}

Result<Attributes> decode_attributes(ByteView bytes) {
  if (bytes.size() < sizeof(AttributesDisk)) return corrupt("attributes: too short");
  const auto disk = load<AttributesDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  if (!all_zero(bytes_of(disk.zero)) || disk.flags > kPatched) return corrupt("attributes: unused bits are not zero");
  // An exact sum: the two substr() below cannot reach beyond it.
  if (bytes.size() != sizeof disk + disk.name_length + disk.target_length) return corrupt("attributes: wrong length");
  Attributes a = fields_of(disk);
  a.name = bytes.substr(sizeof disk, disk.name_length);
  a.target = bytes.substr(sizeof disk + disk.name_length);
  if (const char* rule = broken_rule(a)) return fail(ErrorCode::kCorrupt, fmt::format("attributes: {}", rule));
  return a;
}

Bytes encode_patch(const Patch& patch) {
  CHECK(!patch.bytes.empty() && patch.offset <= UINT32_MAX);
  PatchDisk disk{};
  disk.version = kTreeVersion;
  disk.offset = static_cast<uint32_t>(patch.offset);
  Bytes out;
  out.reserve(sizeof disk + patch.bytes.size());
  return out.append(bytes_of(disk)).append(patch.bytes);
}

Result<Patch> decode_patch(ByteView bytes, uint64_t chunk_size) {
  if (bytes.size() <= sizeof(PatchDisk)) return corrupt("patch: too short");
  const auto disk = load<PatchDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  const Patch out{.offset = disk.offset, .bytes = bytes.substr(sizeof disk)};
  if (!all_zero(bytes_of(disk.zero))) return corrupt("patch: unused bytes are not zero");
  // Subtracted, so that a hostile offset cannot overflow the sum. Whether it leaves a gap sees who applies it.
  if (out.offset > chunk_size || out.bytes.size() > chunk_size - out.offset) return corrupt("patch: beyond the chunk");
  return out;
}

Bytes encode_entry(const Entry& entry) {
  CHECK(entry.ino != 0 && entry.cookie != 0 && known_type(entry.type));
  EntryDisk disk{};
  disk.version = kTreeVersion;
  disk.type = static_cast<uint8_t>(entry.type >> kTypeShift);
  disk.ino = entry.ino;
  disk.cookie = entry.cookie;
  return Bytes(bytes_of(disk));
}

Result<Entry> decode_entry(ByteView bytes) {
  if (bytes.size() != sizeof(EntryDisk)) return corrupt("entry: wrong length");
  const auto disk = load<EntryDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  const uint32_t type = uint32_t{disk.type} << kTypeShift;
  if (!all_zero(bytes_of(disk.zero)) || disk.ino == 0 || disk.cookie == 0 || !known_type(type)) {
    return corrupt("entry: a field is out of range");
  }
  return Entry{.ino = disk.ino, .type = type, .cookie = disk.cookie};
}

Bytes encode_listing(const Entry& entry, ByteView name) {
  CHECK(entry.ino != 0 && known_type(entry.type) && check_name(name));
  ListingDisk disk{};
  disk.version = kTreeVersion;
  disk.type = static_cast<uint8_t>(entry.type >> kTypeShift);
  disk.ino = entry.ino;
  Bytes out(bytes_of(disk));
  out.append(name);
  return out;
}

Result<Listing> decode_listing(ByteView bytes) {
  if (bytes.size() < sizeof(ListingDisk)) return corrupt("listing: too short");
  const auto disk = load<ListingDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  const Listing out{.ino = disk.ino, .type = uint32_t{disk.type} << kTypeShift, .name = bytes.substr(sizeof disk)};
  if (!all_zero(bytes_of(disk.zero)) || out.ino == 0 || !known_type(out.type) || !check_name(out.name)) {
    return corrupt("listing: a field is out of range");
  }
  return out;
}

Bytes encode_marker() {
  const MarkerDisk disk{.version = kTreeVersion};
  return Bytes(bytes_of(disk));
}

Result<void> decode_marker(ByteView bytes) {
  if (bytes.size() != sizeof(MarkerDisk)) return corrupt("marker: wrong length");
  return check_version(load<MarkerDisk>(bytes).version, kTreeVersion);
}

Bytes encode_visits(ByteView bits) {
  CHECK(bits.size() == sizeof(VisitsDisk::bits) && !all_zero(bits));
  VisitsDisk disk{};
  disk.version = kTreeVersion;
  std::memcpy(disk.bits, bits.data(), bits.size());
  return Bytes(bytes_of(disk));
}

Result<ByteView> decode_visits(ByteView bytes) {
  if (bytes.size() != sizeof(VisitsDisk)) return corrupt("visits: wrong length");
  const auto disk = load<VisitsDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  // A page without a visit has no key at all, so that hints take no room.
  if (!all_zero(bytes_of(disk.zero)) || all_zero(bytes_of(disk.bits)))
    return corrupt("visits: a field is out of range");
  // Into the caller's bytes, not into the copy.
  return bytes.substr(offsetof(VisitsDisk, bits));
}

Bytes encode_hand(Ino next) {
  HandDisk disk{};
  disk.version = kTreeVersion;
  disk.next = next;
  return Bytes(bytes_of(disk));
}

Result<Ino> decode_hand(ByteView bytes) {
  if (bytes.size() != sizeof(HandDisk)) return corrupt("hand: wrong length");
  const auto disk = load<HandDisk>(bytes);
  TRY(check_version(disk.version, kTreeVersion));
  if (!all_zero(bytes_of(disk.zero))) return corrupt("hand: unused bytes are not zero");
  return uint64_t{disk.next};
}

}  // namespace cairn::format
