// Keys and values of the tree: how inodes, names, chunks and extended attributes lie in the store. FORMAT.md, "Tree".
//
// Every key begins with an inode number, big endian, so that all keys of one file are neighbours, and a kind. Inode 0 is no
// file: under it are lists that belong to the whole tree. A decoder takes any bytes at all and is the only way in. All
// functions are pure and thread-safe; encoders CHECK what decoders refuse, with kCorrupt (or kUnsupported, for a newer
// version) unless something else is said.
#pragma once

#include <compare>
#include <cstdint>

#include "cairn/bytes.h"
#include "cairn/filesystem.h"
#include "cairn/result.h"
#include "format/le.h"

namespace cairn::format {

// ---- Keys ----

// Values are part of the format. Their order is that of an inode's keys: 'A' first, so a scan meets attributes before
// content, and 'E' before 'L'.
enum class KeyKind : char {
  kAttributes = 'A',  // ino 'A'
  kChunk = 'D',       // ino 'D' index(8) n; n = 0: the chunk, n = 1..16: its patches
  kEntry = 'E',       // directory 'E' name
  kListing = 'L',     // directory 'L' cookie(8)
  kBackLink = 'P',    // ino 'P' parent(8) name; only while the inode has two links or more
  kXattr = 'X',       // ino 'X' name
  kOrphan = 'O',      // 0 'O' ino(8): no name leads to it any more, its keys are to be erased
  kSweep = 'W',       // 0 'W' ino(8): its chunks from `sweep_from` on are to be erased
  kUnit = 'N',        // 0 'N' ino(8): cache mode, it has user.cairn.pin or user.cairn.group
  kVisits = 'V',      // 0 'V' page(8): cache mode, which of 4096 inodes were visited since the hand passed
  kHand = 'Y',        // 0 'Y': cache mode, where the hand of eviction stands
};

// One key of the tree, taken apart. `name` points into the key.
struct TreeKey {
  KeyKind kind = KeyKind::kAttributes;
  Ino ino = 0;          // whose key it is; for orphans, sweeps and units: whom it names; 0 for visits and the hand
  uint64_t number = 0;  // chunk: index; listing: cookie; back link: the parent's inode number; visits: the page
  uint8_t patch = 0;    // chunk: 0, or the number of the patch
  ByteView name;        // entry, back link, xattr
};
// kInvalid if it is no key of the tree (the engine keeps keys of its own under inode 0), kCorrupt for a bad name or length.
Result<TreeKey> decode_tree_key(ByteView key);

// Keys and prefixes of scans. Names and numbers are not checked here: check_name() before, decode_tree_key() after
// reading. Big endian, so that bytewise order is numeric: chunks in the order of the file, listings in that of
// creation.
Bytes inode_prefix(Ino ino);  // of all keys of one inode
Bytes kind_prefix(Ino ino, KeyKind kind);
Bytes attributes_key(Ino ino);
Bytes chunk_key(Ino ino, uint64_t index, uint8_t patch = 0);
Bytes entry_key(Ino directory, ByteView name);
Bytes listing_key(Ino directory, uint64_t cookie);
Bytes back_link_key(Ino ino, Ino parent, ByteView name);
Bytes xattr_key(Ino ino, ByteView name);
Bytes orphan_key(Ino ino);
Bytes sweep_key(Ino ino);
Bytes unit_key(Ino ino);
Bytes visits_key(uint64_t page);
Bytes hand_key();

inline constexpr uint64_t kChunkKeySize = 18;  // bytes
inline constexpr uint64_t kListKeySize = 17;   // bytes, of orphans, sweeps, units and visits
inline constexpr uint8_t kMaxPatches = 16;     // of one chunk

// Names are checked before they are stored and after they are read: 1..255 bytes, no '/', no NUL, not "." or "..".
// kInvalid or kNameTooLong.
// Without a message, as they are ordinary answers to a caller.
Result<void> check_name(ByteView name);
// Names of extended attributes: 1..255 bytes, no NUL. kInvalid or kRange (as ext4 has it).
Result<void> check_xattr_name(ByteView name);

// ---- Attributes ----

// Attributes are a small value (at most kMaxInlineValue bytes) for all but long names and symlinks: they travel inside
// the index, and lookup and getattr never touch a segment.
inline constexpr uint8_t kTreeVersion = 1;        // of every value below
inline constexpr uint64_t kNoSweep = UINT64_MAX;  // sweep_from: no chunk is waiting to be erased
inline constexpr uint8_t kPatched = 1;            // flags: chunks of this file may have patches
inline constexpr uint8_t kChunkBitsMin = 12;      // 4 KiB
inline constexpr uint8_t kChunkBitsMax = 30;      // 1 GiB
static_assert(kChunkBitsMin < kChunkBitsMax && kMaxFileSize >> kChunkBitsMin < UINT64_MAX);

// 120 bytes, then the name, then the target of a symlink.
struct AttributesDisk {
  uint8_t version;      //   0  kTreeVersion
  uint8_t chunk_bits;   //   1  regular files: a chunk has 2^chunk_bits bytes; else 0
  Le16 target_length;   //   2  symlinks: 1..4095; else 0
  Le32 mode;            //   4  as st_mode: type and permissions
  Le32 uid;             //   8
  Le32 gid;             //  12
  Le32 links;           //  16  names that lead here (directories: 2 and one for each subdirectory); 0 = orphan
  Le32 xattrs;          //  20  number of 'X' keys
  Le64 size;            //  24  bytes; directories: number of entries
  Le64 stored;          //  32  regular files: sum of the lengths of the 'D' values below sweep_from; else 0
  Le64 rdev;            //  40  device nodes; else 0
  Le64 atime;           //  48  seconds since 1970, two's complement
  Le64 mtime;           //  56
  Le64 ctime;           //  64
  Le64 btime;           //  72
  Le32 atime_ns;        //  80  0..999,999,999
  Le32 mtime_ns;        //  84
  Le32 ctime_ns;        //  88
  Le32 btime_ns;        //  92
  Le64 sweep_from;      //  96  chunks from this index on are to be erased, and lie behind the end; kNoSweep = none
  Le64 parent;          // 104  the directory of the only name; 0 = no or several names. The root is its own parent
  uint8_t name_length;  // 112  of the only name; 0 for the root and where parent is 0
  uint8_t flags;        // 113  kPatched
  uint8_t zero[6];      // 114
};
static_assert(sizeof(AttributesDisk) == 120 && alignof(AttributesDisk) == 1);

// The same as values. Rules between fields are broken_rule() in the .cc, held before writing and after reading.
struct Attributes {
  uint32_t mode = 0, uid = 0, gid = 0;  // mode as st_mode: never without a type
  uint32_t links = 0;                   // 0: an orphan, whose keys go with the next sweep
  // Lets getxattr answer without a look where there are none: the kernel asks for security.capability before each write.
  uint32_t xattrs = 0;
  uint64_t size = 0;  // bytes; directories: entries
  // Bytes. Equal to size: the file has no holes, so a chunk that is missing is damage.
  uint64_t stored = 0;
  uint64_t rdev = 0;
  // Access, modification, change and birth. Any second; nanoseconds below 1e9.
  Time atime, mtime, ctime, btime;
  uint8_t chunk_bits = 0;
  // Truncation is O(1): it writes the size and where the sweeper goes on. Chunks from here on read as holes.
  uint64_t sweep_from = kNoSweep;
  // Set with the first patch, taken back when the file is emptied. Saves the look for patches in all other files.
  bool patched = false;
  // Of the one name, so that a path can be found for messages, and eviction need not search for the entry.
  Ino parent = 0;
  Bytes name;
  Bytes target;

  // Exactly one of these holds, or none: a device, a FIFO or a socket.
  [[nodiscard]] bool is_directory() const { return (mode & S_IFMT) == S_IFDIR; }
  [[nodiscard]] bool is_regular() const { return (mode & S_IFMT) == S_IFREG; }
  [[nodiscard]] bool is_symlink() const { return (mode & S_IFMT) == S_IFLNK; }
  // Bytes. Regular files only.
  [[nodiscard]] uint64_t chunk_size() const { return uint64_t{1} << chunk_bits; }
};
// CHECKs the rules that decode_attributes() checks.
Bytes encode_attributes(const Attributes& attributes);
// Checks the size, version, zeros, lengths, then every rule between fields.
Result<Attributes> decode_attributes(ByteView bytes);
// Bytes of the value at most, with any name.
inline uint64_t attributes_size_max(uint64_t target_length) {
  return sizeof(AttributesDisk) + kMaxNameSize + target_length;
}

// ---- Chunks ----

// A change of a part of a chunk: 8 bytes, then at least one byte of content that goes to `offset` in the chunk.
struct PatchDisk {
  uint8_t version;  // 0  kTreeVersion
  uint8_t zero[3];  // 1
  Le32 offset;      // 4  bytes, not behind what the chunk and the patches before have
};
static_assert(sizeof(PatchDisk) == 8 && alignof(PatchDisk) == 1);

// What a write or append of a few bytes logs instead of the whole chunk. Applied in the order of their numbers; folded
// at kMaxPatches, or when they are half a chunk.
struct Patch {
  uint64_t offset = 0;
  ByteView bytes;  // into the value
  [[nodiscard]] uint64_t end() const { return offset + bytes.size(); }
};
// Needs content. Whether it ends within the chunk is the caller's to know: the chunk size is not at hand.
Bytes encode_patch(const Patch& patch);
// Also checks that it ends within `chunk_size`.
Result<Patch> decode_patch(ByteView bytes, uint64_t chunk_size);

// ---- Names ----

// The value under 'E'.
struct EntryDisk {
  uint8_t version;  //  0  kTreeVersion
  uint8_t type;     //  1  st_mode >> 12
  uint8_t zero[6];  //  2
  Le64 ino;         //  8  the child
  Le64 cookie;      // 16  of the same entry under 'L'
};
static_assert(sizeof(EntryDisk) == 24 && alignof(EntryDisk) == 1);

// The value under 'L': 16 bytes, then the name (1..255 bytes).
struct ListingDisk {
  uint8_t version;  //  0  kTreeVersion
  uint8_t type;     //  1  st_mode >> 12
  uint8_t zero[6];  //  2
  Le64 ino;         //  8  the child
};
static_assert(sizeof(ListingDisk) == 16 && alignof(ListingDisk) == 1);

// What a name is, in both of its keys. Entry and listing are written and erased in one batch.
struct Entry {
  Ino ino = 0;
  uint32_t type = 0;    // S_IFMT bits
  uint64_t cookie = 0;  // a directory's cookies are distinct, 1 or more
  friend bool operator==(const Entry&, const Entry&) = default;
};
// Needs an inode number, a cookie and a known type.
Bytes encode_entry(const Entry& entry);
Result<Entry> decode_entry(ByteView bytes);

// One row of a directory listing. With the type in it a readdir needs no attributes.
struct Listing {
  Ino ino = 0;
  uint32_t type = 0;  // S_IFMT bits
  ByteView name;      // into the value
};
// As encode_entry(), and a name that check_name() takes. The name is checked again when it is read: it reaches the
// kernel.
Bytes encode_listing(const Entry& entry, ByteView name);
Result<Listing> decode_listing(ByteView bytes);

// The value of back links, orphans, sweeps and units: what they say is in the key.
struct MarkerDisk {
  uint8_t version;  // 0  kTreeVersion
};
static_assert(sizeof(MarkerDisk) == 1);
// A version and nothing else, so that something can be added.
Bytes encode_marker();
Result<void> decode_marker(ByteView bytes);

// ---- Eviction (cache mode) ----

// A hint: damage to it costs the order of eviction, never a file. So it is read leniently: what does not decode counts
// as missing.
inline constexpr uint64_t kVisitsBits = 4096;  // inode numbers of one page
inline constexpr uint64_t kVisitPages = (UINT64_MAX / kVisitsBits) + 1;
static_assert(kVisitsBits % 8 == 0 && (kVisitsBits & (kVisitsBits - 1)) == 0, "whole bytes");

// The value under 'V'.
struct VisitsDisk {
  uint8_t version;                // 0  kTreeVersion
  uint8_t zero[7];                // 1
  uint8_t bits[kVisitsBits / 8];  // 8  inode page * 4096 + n: bit n % 8 of byte n / 8; at least one is set
};
static_assert(sizeof(VisitsDisk) == 520 && alignof(VisitsDisk) == 1);
// Needs kVisitsBits / 8 bytes, not all zero.
Bytes encode_visits(ByteView bits);
// The bits, in `bytes`.
Result<ByteView> decode_visits(ByteView bytes);

// The value under 'Y'.
struct HandDisk {
  uint8_t version;  // 0  kTreeVersion
  uint8_t zero[7];  // 1
  Le64 next;        // 8  the inode number to be looked at next
};
static_assert(sizeof(HandDisk) == 16 && alignof(HandDisk) == 1);
// Any number is valid: the hand goes on from the first candidate that is not before it.
Bytes encode_hand(Ino next);
Result<Ino> decode_hand(ByteView bytes);

}  // namespace cairn::format
