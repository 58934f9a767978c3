#include "store/check_index.h"

#include <optional>
#include <string_view>
#include <utility>

#include <fmt/format.h>

#include "base/log.h"
#include "base/try.h"
#include "store/check_store.h"
#include "store/layout.h"
#include "store/recover.h"

namespace cairn::store {
namespace {

using Finding = std::function<void(const std::string&)>;

// What all functions of the pass share. The references outlive it.
struct Walk {
  const Version& version;
  const Liveness& liveness;
  const LivenessHeader& header;
  Finding finding;
  Ordinals ordinals{};
};

Result<bool> is_dead(Walk& w, const format::IndexEntry& entry) {
  // An open segment, or one that is missing, owns nothing here: its records count as alive.
  const auto* owner = w.version.segments->owner(entry.seq);
  if (!owner) return false;
  auto ordinal = w.ordinals.of(**owner, entry.seq);
  // Damage took the record's entry; passes 1 and 2 have said so.
  if (!ordinal && ordinal.error().code == ErrorCode::kNotFound) return false;
  if (!ordinal) return fail(ordinal.error());
  return w.liveness.is_dead((*owner)->id(), *ordinal);
}

// All versions of one key in the segments, newest first, against what the index says of it.
Result<void> compare(Walk& w, ByteView key, const std::vector<format::IndexEntry>& records,
                     const std::optional<format::IndexEntry>& indexed) {
  const format::IndexEntry* newest = nullptr;  // not dead
  SeqNo killer;                                // the newest record seen so far
  // Newest first. Beyond the map's reach nothing has to be marked yet; erases never are, as they are garbage by their
  // number.
  for (const format::IndexEntry& r : records) {
    TRY_ASSIGN(const bool dead, is_dead(w, r));
    const bool erase = r.type == format::RecordType::kErase;
    if (!erase && !dead && killer != SeqNo() && killer <= w.header.through)
      w.finding(fmt::format("record seq={} of key {} is replaced by seq={} but not marked dead", r.seq.value,
                            escaped(key), killer.value));
    if (!newest && !dead) newest = &r;
    if (killer == SeqNo()) killer = r.seq;
  }
  // An erase that the index has dropped and one that it still has are the same answer.
  const bool want = newest && newest->type != format::RecordType::kErase;
  const bool have = indexed && indexed->type != format::RecordType::kErase;
  if (want && !indexed) {
    w.finding(fmt::format("key {}: record seq={} is not in the index", escaped(key), newest->seq.value));
  } else if (have && !want) {
    w.finding(fmt::format("key {}: the index names seq={}, which is gone or dead", escaped(key), indexed->seq.value));
  } else if (want && have && indexed->seq != newest->seq) {
    w.finding(fmt::format("key {}: the index names seq={}, the newest record is seq={}", escaped(key),
                          indexed->seq.value, newest->seq.value));
  } else if (want && have &&
             (indexed->value_checksum != newest->value_checksum || indexed->raw_length != newest->raw_length)) {
    w.finding(fmt::format("key {}: the index disagrees with record seq={}", escaped(key), newest->seq.value));
  }
  return {};
}

format::IndexEntry without_small(const format::IndexEntry& entry) {
  format::IndexEntry out = entry;
  out.small = {};
  return out;
}

Result<void> walk(Walk& w) {
  std::vector<std::unique_ptr<index::Iterator>> inputs;
  std::vector<std::shared_ptr<const index::Table>> held;
  for (const LogLevel& level : w.version.log) inputs.push_back(level.iterate(false));
  for (const auto& segment : w.version.segments->all()) {
    if (segment->meta().kind == format::SegmentKind::kExtent || !segment->covered()) continue;  // that is a level
    auto footer = segment->footer();
    if (!footer && footer.error().code == ErrorCode::kIo) return fail(footer.error());
    if (!footer) return fail(ErrorCode::kCorrupt, footer.error().message);
    // The iterators do not keep their tables alive.
    held.push_back(*footer);
    inputs.push_back((*footer)->iterate(false));
  }
  auto records = index::merge_iterators(std::move(inputs));
  auto indexed = w.version.iterate(false);
  TRY(records->seek({}));
  TRY(indexed->seek({}));
  while (records->valid() || indexed->valid()) {
    // Side by side, as in a merge: a key may be missing on either side.
    const bool from_records = records->valid() && (!indexed->valid() || records->key() <= indexed->key());
    const Bytes key(from_records ? records->key() : indexed->key());
    std::vector<format::IndexEntry> versions;
    while (records->valid() && records->key() == key) {
      versions.push_back(without_small(records->entry()));
      TRY(records->next());
    }
    std::optional<format::IndexEntry> first;
    while (indexed->valid() && indexed->key() == key) {
      if (!first) first = without_small(indexed->entry());
      TRY(indexed->next());
    }
    DCHECK(first || !versions.empty());
    TRY(compare(w, key, versions, first));
  }
  return {};
}

}  // namespace

Result<void> find_lost_keys(const Version& version, SeqRange lost, const std::function<void(ByteView key)>& found) {
  constexpr std::string_view kOwnPrefix("\0\0\0\0\0\0\0\0", 8);  // of inode 0
  auto entries = version.iterate(false);
  TRY(entries->seek({}));
  Bytes last;
  while (entries->valid()) {
    const Bytes key(entries->key());
    const format::IndexEntry& entry = entries->entry();
    // Newest first: older versions of a key are of no interest.
    if (key != last && lost.contains(entry.seq) && !entry.has_small && entry.type != format::RecordType::kErase &&
        !key.starts_with(kOwnPrefix))
      found(key);
    last = key;
    TRY(entries->next());
  }
  return {};
}

Result<Recovered> recover_for_check(io::Directory& directory, const std::string& path,
                                    const format::Superblock& superblock,
                                    const std::shared_ptr<const SegmentFiles>& files) {
  TRY_ASSIGN(auto opened, directory.open_dir(index::kIndexDir));
  const std::shared_ptr<io::Directory> index_directory = std::move(opened);
  const auto logger = null_logger();
  const RecoverContext context{path, &directory, files, index_directory, superblock, true, logger.get()};
  return recover(context);
}

Result<void> check_index(io::Directory& directory, const std::string& path, const format::Superblock& superblock,
                         const std::shared_ptr<const SegmentFiles>& files, const Finding& finding) {
  TRY_ASSIGN(const auto recovered, recover_for_check(directory, path, superblock, files));
  // Nothing is cached: the disk is asked.
  ValueReader values(files, 0);
  Liveness liveness;
  TRY_ASSIGN(const auto header, load_liveness(*recovered.version, values, liveness, finding));
  Walk w{.version = *recovered.version, .liveness = liveness, .header = header, .finding = finding};
  // A map from the future would call dead what is yet to be written.
  if (header.through >= recovered.manifest.next_seq)
    finding("the liveness map covers sequence numbers that were never given out");
  TRY(walk(w));
  return {};
}

}  // namespace cairn::store
