#include "tree/tree_check.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "store/check_store.h"

namespace cairn::tree {
namespace {

// Of what an entry and its listing both say. Sums of these do not depend on the order, which differs: by name here, by
// cookie there.
uint64_t entry_hash(const format::Entry& entry, ByteView name) {
  Bytes bytes = format::encode_entry(entry);
  return format::checksum(bytes.append(name));
}

}  // namespace

uint64_t place_hash(Ino parent, ByteView name) { return format::checksum(name, parent); }
static_assert(sizeof(CheckedInode) <= 48, "fsck_tree.h says about 50 bytes for each inode");

Result<TreeReport> check_tree(const Store& store, const std::function<void(FsckFinding)>& find) {
  return TreeCheck(store, find).run();
}

Result<TreeReport> TreeCheck::run() {
  TRY(read_inodes());
  // Needs all inodes; check_links() needs the names; check_lists() takes off the lists what was found.
  TRY(read_names());
  check_ways();
  for (const CheckedInode& i : inodes_) check_links(i);
  check_lists();
  return report_;
}

void TreeCheck::report(std::string structure, std::string message, std::vector<std::string> affected) {
  FsckFinding finding;
  finding.pass = 4;
  finding.structure = std::move(structure);
  finding.message = store::escaped(message);
  finding.affected = std::move(affected);
  find_(std::move(finding));
}

void TreeCheck::report_inode(std::string structure, std::string message, Ino ino) {
  report(std::move(structure), fmt::format("inode {}: {}", ino, message), paths_of(store_, ino));
}

void TreeCheck::report_unreadable(const char* what, ByteView key, const Error& error) {
  report(what, fmt::format("{}: {}", to_string(error.code), error.message), affected_paths(store_, key));
}

Result<void> TreeCheck::read_inodes() {
  Cursor cursor = store_.scan({});
  Group group;
  for (; cursor.valid(); cursor.next()) {
    const auto key = format::decode_tree_key(cursor.key());
    if (!key && key.error().code == ErrorCode::kInvalid) continue;  // the engine's
    if (!key) {
      report("key", key.error().message, {});
      continue;
    }
    if (key->kind == format::KeyKind::kOrphan || key->kind == format::KeyKind::kSweep ||
        key->kind == format::KeyKind::kUnit) {
      read_list_key(*key);
      continue;
    }
    if (key->kind == format::KeyKind::kVisits || key->kind == format::KeyKind::kHand) {
      read_eviction_state(*key, cursor);
      continue;
    }
    // Keys are in order, so the inode before is complete.
    if (key->ino != group.ino) {
      finish(group);
      group = Group();
      group.ino = key->ino;
    }
    read_key(group, *key, cursor);
  }
  finish(group);
  const auto status = cursor.status();
  if (status) return {};
  // The index ends early: what was read is compared all the same, and the report says that there may be more.
  if (status.error().code != ErrorCode::kCorrupt) return status;
  report("index", status.error().message, {});
  return {};
}

void TreeCheck::read_list_key(const format::TreeKey& key) {
  if (key.kind == format::KeyKind::kUnit) {
    units_.insert(key.ino);
  } else {
    (key.kind == format::KeyKind::kOrphan ? orphans_ : sweeps_).insert(key.ino);
  }
}

// What is lost with it is an order, no file: the next save puts it right.
void TreeCheck::read_eviction_state(const format::TreeKey& key, const Cursor& cursor) {
  const auto check = [&]() -> Result<void> {
    TRY_ASSIGN(const Value value, cursor.value());
    if (key.kind == format::KeyKind::kHand) {
      TRY(format::decode_hand(value.view()));
    } else {
      TRY(format::decode_visits(value.view()));
    }
    return {};
  };
  if (const auto good = check(); !good) report_unreadable("eviction state", cursor.key(), good.error());
}

void TreeCheck::read_key(Group& group, const format::TreeKey& key, const Cursor& cursor) {
  ++group.keys;
  switch (key.kind) {
    case format::KeyKind::kAttributes: return read_attributes(group, cursor);
    case format::KeyKind::kChunk: return read_chunk(group, key, cursor);
    case format::KeyKind::kEntry:
    case format::KeyKind::kListing: return read_name(group, key, cursor);
    // Whether they lead to a name is asked from the other side, in check_entry().
    case format::KeyKind::kBackLink: ++group.back_links; return;
    case format::KeyKind::kXattr: {
      ++group.xattrs;
      const auto size = cursor.value_size();
      if (!size) return report_unreadable("extended attribute", cursor.key(), size.error());
      if (*size > kMaxXattrSize)
        report_inode("extended attribute", fmt::format("{} bytes are too many", *size), group.ino);
      return;
    }
    case format::KeyKind::kOrphan:
    case format::KeyKind::kSweep:
    case format::KeyKind::kUnit:
    case format::KeyKind::kVisits:
    case format::KeyKind::kHand: return;  // not under an inode
  }
}

void TreeCheck::read_attributes(Group& group, const Cursor& cursor) {
  const auto value = cursor.value();
  auto attributes = value ? format::decode_attributes(value->view()) : Result<format::Attributes>(fail(value.error()));
  if (!attributes) {
    group.bad_attributes = true;
    // Names that lead here are right: the inode is there, only damaged.
    unreadable_.insert(group.ino);
    return report_unreadable("attributes", cursor.key(), attributes.error());
  }
  group.has_attributes = true;
  group.attributes = std::move(*attributes);
}

void TreeCheck::read_chunk(Group& group, const format::TreeKey& key, const Cursor& cursor) {
  const format::Attributes& a = group.attributes;
  if (key.number != group.chunk) finish_chunk(group);
  // Without attributes nobody knows what a chunk should be; of an orphan it will be erased.
  if (!group.has_attributes || a.links == 0) return;
  if (!a.is_regular()) return report_inode("chunk", "content of what is no regular file", group.ino);
  if (key.number >= a.sweep_from) return;  // to be erased
  if (key.patch != 0) return read_patch(group, key, cursor);
  const auto size = cursor.value_size();
  if (!size) {
    group.bad_value = true;
    return report_unreadable("chunk", cursor.key(), size.error());
  }
  group.chunk = key.number;
  group.chunk_length = *size;
}

void TreeCheck::read_patch(Group& group, const format::TreeKey& key, const Cursor& cursor) {
  const auto value = cursor.value();
  const auto patch = value ? format::decode_patch(value->view(), group.attributes.chunk_size())
                           : Result<format::Patch>(fail(value.error()));
  if (!patch) {
    group.bad_value = true;
    return report_unreadable("patch", cursor.key(), patch.error());
  }
  // Patches follow their chunk and are numbered without gaps: a reader stops at the first that is missing.
  const bool in_order = key.number == group.chunk && key.patch == group.patches + 1;
  if (!group.attributes.patched || !in_order || patch->offset > group.chunk_length) {
    group.bad_value = true;
    return report_inode("patch", fmt::format("patch {} of chunk {} belongs to nothing", key.patch, key.number),
                        group.ino);
  }
  group.patches = key.patch;
  group.chunk_length = std::max(group.chunk_length, patch->end());
}

// All keys of one chunk have gone by.
void TreeCheck::finish_chunk(Group& group) {
  const uint64_t index = std::exchange(group.chunk, UINT64_MAX);
  const uint64_t length = std::exchange(group.chunk_length, 0);
  group.patches = 0;
  if (index == UINT64_MAX) return;
  const format::Attributes& a = group.attributes;
  DCHECK(a.chunk_bits <= format::kChunkBitsMax);
  group.stored += length;
  // Shifted back below: an index from a hostile key may shift out.
  const uint64_t start = index << a.chunk_bits;
  if (start >= a.size || start >> a.chunk_bits != index) {
    report_inode("chunk", fmt::format("chunk {} lies behind the end ({} bytes)", index, a.size), group.ino);
  } else if (length > a.chunk_size() || length > a.size - start) {
    report_inode("chunk", fmt::format("chunk {} has {} bytes, more than belong there", index, length), group.ino);
  }
}

void TreeCheck::read_name(Group& group, const format::TreeKey& key, const Cursor& cursor) {
  const bool is_entry = key.kind == format::KeyKind::kEntry;
  ++(is_entry ? group.entries : group.listings);
  const auto bad = [&](const Error& error) {
    group.bad_value = true;
    report_unreadable(is_entry ? "entry" : "listing", cursor.key(), error);
  };
  const auto value = cursor.value();
  if (!value) return bad(value.error());
  if (is_entry) {
    const auto entry = format::decode_entry(value->view());
    if (!entry) return bad(entry.error());
    group.entry_sum += entry_hash(*entry, key.name);
  } else {
    const auto listing = format::decode_listing(value->view());
    if (!listing) return bad(listing.error());
    const format::Entry entry{.ino = listing->ino, .type = listing->type, .cookie = key.number};
    group.listing_sum += entry_hash(entry, listing->name);
  }
}

void TreeCheck::finish(Group& group) {
  finish_chunk(group);
  if (group.ino == 0 || group.bad_attributes) return;
  if (!group.has_attributes) {
    return report_inode("inode", fmt::format("{} keys, but no attributes", group.keys), group.ino);
  }
  const format::Attributes& a = group.attributes;
  inodes_.push_back({.ino = group.ino,
                     .parent = a.parent,
                     .place = place_hash(a.parent, a.name),
                     .links = a.links,
                     .type = a.mode & S_IFMT});
  count(a);
  if (a.links == 0) return;  // whatever it has will be erased
  if (!a.is_directory() && group.entries + group.listings != 0) {
    report_inode("inode", "entries in what is no directory", group.ino);
  }
  if (a.is_regular()) finish_file(group);
  if (a.is_directory()) finish_directory(group);
  if (a.xattrs != group.xattrs) {
    report_inode("inode", fmt::format("{} extended attributes, not {}", group.xattrs, a.xattrs), group.ino);
  }
  finish_links(group);
}

void TreeCheck::finish_file(const Group& group) {
  const format::Attributes& a = group.attributes;
  if (!group.bad_value && group.stored != a.stored) {
    report_inode("inode", fmt::format("its chunks have {} bytes together, not {}", group.stored, a.stored), group.ino);
  }
  // Keys under inode 0 come first, so the lists are complete here.
  const bool listed = sweeps_.erase(group.ino) != 0;
  if (listed != (a.sweep_from != format::kNoSweep)) {
    report_inode("inode", listed ? "listed for a sweep that it does not need" : "not listed for its sweep", group.ino);
  }
}

void TreeCheck::finish_directory(const Group& group) {
  // Counts and sums are short by what could not be read, which is reported already.
  if (group.bad_value) return;
  if (group.entries != group.attributes.size) {
    report_inode("inode", fmt::format("a directory with {} entries, not {}", group.entries, group.attributes.size),
                 group.ino);
  }
  if (group.entries != group.listings || group.entry_sum != group.listing_sum) compare_listing(group.ino);
}

// Entries and listings of a directory differ somewhere: here it is looked for.
void TreeCheck::compare_listing(Ino directory) {
  for (Cursor c = store_.scan(format::kind_prefix(directory, format::KeyKind::kEntry)); c.valid(); c.next()) {
    const auto key = format::decode_tree_key(c.key());
    const auto value = c.value();
    const auto entry = value ? format::decode_entry(value->view()) : Result<format::Entry>(fail(value.error()));
    if (!key || !entry) continue;
    // Byte for byte: what a listing shows must be the entry.
    const auto other = store_.get(format::listing_key(directory, entry->cookie));
    if (other && other->view() == format::encode_listing(*entry, key->name)) continue;
    report("entry", "a name that no listing shows", affected_paths(store_, c.key()));
  }
  for (Cursor c = store_.scan(format::kind_prefix(directory, format::KeyKind::kListing)); c.valid(); c.next()) {
    const auto key = format::decode_tree_key(c.key());
    const auto value = c.value();
    const auto listing = value ? format::decode_listing(value->view()) : Result<format::Listing>(fail(value.error()));
    if (!key || !listing) continue;
    const auto other = store_.get(format::entry_key(directory, listing->name));
    const format::Entry entry{.ino = listing->ino, .type = listing->type, .cookie = key->number};
    if (other && other->view() == format::encode_entry(entry)) continue;
    report("listing", "a listing shows a name that is not there",
           affected_paths(store_, format::entry_key(directory, listing->name)));
  }
}

void TreeCheck::finish_links(const Group& group) {
  const format::Attributes& a = group.attributes;
  const bool many = !a.is_directory() && a.links > 1;
  if (many != (a.parent == 0)) report_inode("inode", "it says wrongly whether it has one name or several", group.ino);
  if (group.back_links != (many ? a.links : 0)) {
    report_inode("inode", fmt::format("{} back links for {} names", group.back_links, a.links), group.ino);
  }
  if (a.name.empty() != (many || group.ino == kRootIno)) report_inode("inode", "it does not know its name", group.ino);
}

void TreeCheck::count(const format::Attributes& a) {
  if (a.links == 0) {
    ++report_.orphans;
    return;
  }
  ++report_.inodes;
  if (a.is_directory()) {
    ++report_.directories;
  } else if (a.is_regular()) {
    ++report_.files;
    report_.content_bytes += a.size;
  } else if (a.is_symlink()) {
    ++report_.symlinks;
  } else {
    ++report_.others;
  }
}

}  // namespace cairn::tree
