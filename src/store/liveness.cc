#include "store/liveness.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "base/try.h"
#include "format/le.h"
#include "format/varint.h"

namespace cairn::store {
namespace {

// A segment's records replace those of a few older ones, mostly.
constexpr size_t kKnownOrdinals = 4;
constexpr uint8_t kMapVersion = 1;

// Inode 0 is nobody's: the tree leaves these keys alone (format::decode_tree_key() calls them the engine's).
constexpr ByteView kStoreInode("\0\0\0\0\0\0\0\0", 8);

Bytes store_key(char tag) { return Bytes(kStoreInode) + tag; }

// Big endian, so that the map's records lie in the order of segment ids.
void put_be64(Bytes& out, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
}

SegmentLiveness& entry_for(std::map<SegmentId, SegmentLiveness>& segments, const Segment& segment) {
  SegmentLiveness& s = segments[segment.id()];
  // All alive until told otherwise.
  if (s.bits.empty()) {
    s.entries = segment.meta().entries;
    s.bits.resize((s.entries + 63) / 64);
  }
  return s;
}

}  // namespace

bool Liveness::kill(const Segment& segment, uint64_t ordinal, uint64_t record_bytes) {
  MutexLock lock(mu_);
  SegmentLiveness& s = entry_for(segments_, segment);
  if (ordinal >= s.entries) return false;  // its footer and the manifest disagree: damage, which fsck reports
  uint64_t& word = s.bits[ordinal / 64];
  const uint64_t bit = 1ull << (ordinal % 64);
  if (word & bit) return false;
  DCHECK(s.bits.size() == (s.entries + 63) / 64 && s.dead < s.entries);
  word |= bit;
  ++s.dead;
  s.dead_bytes += record_bytes;
  s.changed = true;
  return true;
}

bool Liveness::is_dead(SegmentId id, uint64_t ordinal) const {
  MutexLock lock(mu_);
  const auto it = segments_.find(id);
  // An ordinal out of range is damage: what nobody can prove dead counts as alive.
  if (it == segments_.end() || ordinal >= it->second.entries) return false;
  return it->second.bits[ordinal / 64] >> (ordinal % 64) & 1;
}

RecordTally Liveness::dead(SegmentId id) const {
  MutexLock lock(mu_);
  const auto it = segments_.find(id);
  return it == segments_.end() ? RecordTally() : RecordTally{it->second.dead, it->second.dead_bytes};
}

uint64_t Liveness::live_bytes(const SegmentSet& segments) const {
  MutexLock lock(mu_);
  uint64_t live = 0;
  for (const auto& segment : segments.all()) {
    const auto it = segments_.find(segment->id());
    const uint64_t bytes =
        segment->meta().kind == format::SegmentKind::kExtent ? segment->meta().file_size : segment->meta().record_bytes;
    // Clipped: a bitmap from disk may claim more dead bytes than there are.
    live += bytes - (it == segments_.end() ? 0 : std::min(bytes, it->second.dead_bytes));
  }
  return live;
}

void Liveness::set_erases(SegmentId id, RecordTally erases) {
  MutexLock lock(mu_);
  erases_[id] = erases;
}

RecordTally Liveness::erases(SegmentId id) const {
  MutexLock lock(mu_);
  const auto it = erases_.find(id);
  return it == erases_.end() ? RecordTally() : it->second;
}

void Liveness::forget(SegmentId id) {
  MutexLock lock(mu_);
  erases_.erase(id);
  segments_.erase(id);
}

std::vector<SegmentId> Liveness::take_changed() {
  MutexLock lock(mu_);
  std::vector<SegmentId> out;
  for (auto& [id, s] : segments_)
    if (std::exchange(s.changed, false)) out.push_back(id);
  return out;
}

void Liveness::give_back_changed(const std::vector<SegmentId>& ids) {
  MutexLock lock(mu_);
  for (SegmentId id : ids)
    // One that is gone meanwhile needs no map.
    if (const auto it = segments_.find(id); it != segments_.end()) it->second.changed = true;
}

std::optional<Bytes> Liveness::encode(SegmentId id) const {
  MutexLock lock(mu_);
  const auto it = segments_.find(id);
  if (it == segments_.end()) return std::nullopt;
  const SegmentLiveness& s = it->second;
  Bytes out;
  out.push_back(kMapVersion);
  format::put_varint(out, s.entries);
  format::put_varint(out, s.dead_bytes);
  for (const uint64_t word : s.bits) {
    const format::Le64 le = word;
    out.append(reinterpret_cast<const char*>(&le), sizeof le);
  }
  return out;
}

Result<void> Liveness::load(SegmentId id, uint64_t expected, ByteView value) {
  format::Reader in(value);
  const auto version = in.u8();
  const auto entries = in.varint();
  const auto dead_bytes = in.varint();
  // After the first failure the reader gives nothing, so the last field stands for all. What is left must be exactly
  // the words.
  if (!dead_bytes || *version != kMapVersion || *entries != expected || in.remaining() != (*entries + 63) / 64 * 8)
    return fail(ErrorCode::kCorrupt, "liveness map: malformed bitmap");
  SegmentLiveness loaded;
  loaded.entries = *entries;
  for (size_t i = 0; i < (*entries + 63) / 64; ++i) {
    loaded.bits.push_back(*in.u64());
    loaded.dead += static_cast<uint64_t>(std::popcount(loaded.bits.back()));
  }
  // They would be counted as dead, and belong to nobody.
  if (*entries % 64 != 0 && loaded.bits.back() >> (*entries % 64) != 0)
    return fail(ErrorCode::kCorrupt, "liveness map: bits beyond the last record");
  loaded.dead_bytes = *dead_bytes;
  MutexLock lock(mu_);
  SegmentLiveness& known = segments_[id];
  CHECK(loaded.dead <= loaded.entries);
  // Bits are only ever set, so of two copies the one with more is the newer.
  if (known.bits.empty() || known.dead < loaded.dead) known = std::move(loaded);
  return {};
}

Result<uint64_t> Ordinals::of(const Segment& segment, SeqNo seq) {
  // A log segment has all numbers of its range, unless damage took some.
  const index::ManifestSegment& meta = segment.meta();
  const uint64_t ordinal = seq.value - meta.range.first.value;
  if (meta.kind == format::SegmentKind::kLog && meta.entries == meta.range.last.value - meta.range.first.value + 1)
    return ordinal;
  auto known = std::find_if(known_.begin(), known_.end(), [&](const Known& k) { return k.id == segment.id(); });
  if (known == known_.end()) {
    TRY_ASSIGN(auto footer, segment.footer());
    // Numbers only: the footer is sorted by key.
    Known fresh{segment.id(), {}};
    auto entries = footer->iterate(false);
    TRY(entries->seek({}));
    while (entries->valid()) {
      fresh.sequence.push_back(entries->entry().seq);
      TRY(entries->next());
    }
    std::sort(fresh.sequence.begin(), fresh.sequence.end());
    if (known_.size() == kKnownOrdinals) known_.erase(known_.begin());
    known_.push_back(std::move(fresh));
  } else {
    // To the end: what was used last is dropped last.
    std::rotate(known, known + 1, known_.end());
  }
  const auto& sequence = known_.back().sequence;
  const auto it = std::lower_bound(sequence.begin(), sequence.end(), seq);
  if (it == sequence.end() || *it != seq) return fail(ErrorCode::kNotFound);
  return static_cast<uint64_t>(it - sequence.begin());
}

Bytes liveness_prefix(unsigned copy) {
  CHECK(copy < 2);
  return store_key('M') + static_cast<char>(copy);
}

Bytes liveness_key(unsigned copy, SegmentId id) {
  Bytes key = liveness_prefix(copy);
  put_be64(key, id.value);
  return key;
}

std::optional<SegmentId> parse_liveness_key(ByteView key) {
  static_assert(sizeof(uint64_t) + 2 + sizeof(uint64_t) == 18, "inode 0, tag, copy, id");
  if (key.size() != 18) return std::nullopt;
  uint64_t id = 0;
  for (size_t i = 10; i < 18; ++i) id = id << 8 | static_cast<unsigned char>(key[i]);
  return SegmentId(id);
}

Bytes liveness_header_key() { return store_key('H'); }

bool is_liveness_key(ByteView key) {
  return key.size() > kStoreInode.size() && key.starts_with(kStoreInode) &&
         (key[kStoreInode.size()] == 'H' || key[kStoreInode.size()] == 'M');
}

Bytes encode_liveness_header(const LivenessHeader& header) {
  Bytes out;
  out.push_back(kMapVersion);
  format::put_varint(out, header.through.value);
  format::put_varint(out, header.twice_through.value);
  format::put_varint(out, header.retired.size());
  for (SegmentId id : header.retired) format::put_varint(out, id.value);
  return out;
}

Result<LivenessHeader> decode_liveness_header(ByteView value) {
  format::Reader in(value);
  const auto version = in.u8();
  const auto through = in.varint();
  const auto twice = in.varint();
  const auto retired = in.varint();
  // Each id takes at least a byte: bounds the loop, and what it allocates, by what is there.
  if (!retired || *version != kMapVersion || *twice > *through || *retired > in.remaining())
    return fail(ErrorCode::kCorrupt, "liveness map: malformed header");
  LivenessHeader out{SeqNo(*through), SeqNo(*twice), {}};
  for (uint64_t i = 0; i < *retired; ++i) {
    const auto id = in.varint();
    if (!id) return fail(ErrorCode::kCorrupt, "liveness map: malformed header");
    out.retired.emplace_back(*id);
  }
  if (in.remaining() != 0) return fail(ErrorCode::kCorrupt, "liveness map: malformed header");
  return out;
}

}  // namespace cairn::store
