// WriteBatch, and turning one into records.
#include <algorithm>
#include <memory>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "cairn/store.h"
#include "format/checksum.h"
#include "format/table.h"
#include "io/os_error.h"
#include "log/segment_reader.h"
#include "store/store_impl.h"

namespace cairn {
namespace {

constexpr uint32_t kExtentPieceSize = 1u << 20;  // bytes; what one ranged read of an extent verifies at least
constexpr size_t kLookedUp = 16 << 10;  // bytes of a value beside which looking up what it replaces costs nothing
constexpr size_t kBatchBlock = 512;     // bytes: the names and attributes of one change of the tree
constexpr size_t kBatchChanges = 6;     // records of one
static_assert(kExtentPieceSize >= format::kMinPieceSize && kExtentPieceSize <= format::kMaxRawLength);

}  // namespace

uint64_t log_cost(uint64_t key_size, uint64_t value_size) {
  // An upper bound for any outcome of compression: a value that does not shrink is stored as it is.
  const uint64_t small = std::min<uint64_t>(value_size, format::kMaxInlineValue);
  return format::record_size(key_size, value_size) + format::max_entry_size(key_size, small) + format::kEntryOverhead;
}

WriteBatch::WriteBatch(WriteBatch&& other) noexcept { *this = std::move(other); }

WriteBatch& WriteBatch::operator=(WriteBatch&& other) noexcept {
  changes_ = std::exchange(other.changes_, {});
  cost_ = std::exchange(other.cost_, 0);
  blocks_ = std::exchange(other.blocks_, {});
  free_ = std::exchange(other.free_, nullptr);
  left_ = std::exchange(other.left_, 0);
  return *this;
}

ByteView WriteBatch::copy(ByteView bytes) {
  if (bytes.size() > left_) {
    const size_t size = std::max(bytes.size(), kBatchBlock);
    blocks_.push_back(std::make_unique_for_overwrite<char[]>(size));
    free_ = blocks_.back().get();
    left_ = size;
  }
  char* const at = free_;
  std::copy(bytes.begin(), bytes.end(), at);
  free_ += bytes.size();
  left_ -= bytes.size();
  return {at, bytes.size()};
}

void WriteBatch::add(ByteView key, ByteView value, bool is_erase) {
  if (changes_.empty()) changes_.reserve(kBatchChanges);
  changes_.push_back({.key = copy(key), .value = value, .is_erase = is_erase});
  cost_ += cairn::log_cost(key.size(), value.size());
}

void WriteBatch::put(ByteView key, ByteView value) { add(key, copy(value), false); }

void WriteBatch::put_ref(ByteView key, ByteView value) { add(key, value, false); }

void WriteBatch::erase(ByteView key) { add(key, {}, true); }

void WriteBatch::clear() { *this = WriteBatch(); }

Result<std::vector<store::PreparedChange>> Store::Impl::prepare(const WriteBatch& batch) {
  std::vector<store::PreparedChange> out(batch.changes().size());
  for (size_t i = 0; i < out.size(); ++i) {
    const WriteBatch::Change& change = batch.changes()[i];
    store::PreparedChange& p = out[i];
    if (change.key.empty() || change.key.size() > kMaxKeySize)
      return fail(ErrorCode::kInvalid,
                  fmt::format("key of {} bytes: allowed are 1 to {}", change.key.size(), kMaxKeySize));
    if (store::is_liveness_key(change.key)) return fail(ErrorCode::kInvalid, "this key is the store's own");
    if (change.value.size() > kMaxValueSize)
      return fail(ErrorCode::kTooLarge,
                  fmt::format("value of {} bytes: at most {}", change.value.size(), kMaxValueSize));
    p.key = change.key;
    if (change.is_erase) {
      p.type = format::RecordType::kErase;
    } else if (change.value.size() > largest_record_value()) {
      TRY(write_extent(change, p));
    } else {
      p.raw_length = static_cast<uint32_t>(change.value.size());
      p.stored = change.value;
      // What fits an index entry is stored as it is: both copies are then the same bytes.
      if (change.value.size() > format::kMaxInlineValue)
        p.codec = format::compress(superblock.compression, change.value, p.storage);
      if (p.codec != format::Codec::kNone) p.stored = p.storage;
    }
    // Of the stored bytes, before any lock is taken: under the lock there is only copying (hazard 37).
    p.value_checksum = format::checksum(p.stored);
  }
  return out;
}

// An estimate: it only says how much room is on its way. So an index that cannot be read counts as nothing here; reads report it.
store::Doomed Store::Impl::replaced_by(const store::PreparedChange& change) const {
  const bool erase = change.type == format::RecordType::kErase;
  // Looking costs a lookup for each write; it pays for erases, which are small, and for large values, where it is lost
  // in the noise.
  if (!erase && (superblock.limit == 0 || change.stored.size() < kLookedUp)) return {};
  if (filter && !filter->may_contain(index::Table::hash(change.key))) return {};
  // Without a limit nobody adds up: all that is asked is whether anything dies, and the filter knows that well enough.
  if (superblock.limit == 0) return {format::record_size(change.key.size(), 0), 0};
  const auto found = catalog->current()->find(change.key, kMaxSeq);
  if (!found || !*found || (*found)->entry.type == format::RecordType::kErase) return {};
  const uint64_t bytes = format::record_size(change.key.size(), (*found)->entry.stored_length);
  return {bytes, (*found)->entry.seq <= log->durable() ? bytes : 0};
}

// The value goes to a segment of its own, synced; the record that will be written holds only where it is.
Result<void> Store::Impl::write_extent(const WriteBatch::Change& change, store::PreparedChange& out) {
  format::SegmentHeader header;
  header.kind = format::SegmentKind::kExtent;
  header.id = catalog->new_segment_id();
  header.salt = env->random();
  header.superblock = superblock;
  header.superblock.limit = room->limit();
  const auto name = format::segment_file_name(header.id);
  const auto new_name = format::new_segment_file_name(header.id);
  io::Directory& segments = *files->directory;
  const uint64_t pieces = (change.value.size() + kExtentPieceSize - 1) / kExtentPieceSize;
  const uint64_t charge =
      store::Room::charge(format::extent_piece_offset(change.key.size(), kExtentPieceSize, pieces) + io::kBlockSize);
  if (!room->take(charge, store::Room::Use::kGrow))
    return fail(ErrorCode::kNoSpace, "the store's limit leaves no room for a large value");
  store::RoomClaim claim(room.get(), charge);
  auto created = segments.open(new_name, {io::OpenMode::kCreate, false});
  if (!created) return fail(io::own_file_error(std::move(created).error()));
  const std::unique_ptr<io::File> file = std::move(*created);
  // Content synced, renamed, directory synced; the record that names it follows. A crash before that leaves a file that
  // no record names, which recovery removes (hazard 15).
  auto written = log::write_extent(*file, header, change.key, change.value, kExtentPieceSize, superblock.compression);
  io::FileStat stat;
  if (written) {
    auto measured = file->stat();
    if (measured) stat = *measured;
    if (!measured) written = fail(std::move(measured).error());
  }
  if (written) written = file->close();
  if (written) written = segments.rename(new_name, name);
  if (written) written = segments.sync();
  if (!written) {
    for (const auto& left : {new_name, name}) {
      if (auto gone = segments.unlink(left); !gone && gone.error().code != ErrorCode::kNotFound)
        logger->warn("extent_left_behind file={}", left);
    }
    return written;
  }
  index::ManifestSegment meta;
  meta.id = header.id;
  meta.kind = header.kind;
  meta.salt = header.salt;
  meta.file_size = stat.size;
  out.extent = std::make_shared<store::Segment>(meta, files);
  // Compression leaves holes, which the file system did not allocate.
  DCHECK(stat.size > 0 && stat.size % io::kBlockSize == 0);
  claim.shrink_to(out.extent->charge());
  // Until a record names it, it goes with the change: an operation that fails leaves nothing behind.
  out.extent->retire([files = files, logger = logger, room = room, charge = claim.keep()](SegmentId id) {
    const auto unused = format::segment_file_name(id);
    files->files->forget(unused);
    if (auto gone = files->directory->unlink(unused); gone) {
      room->give_back(charge);
    } else {
      logger->warn("extent_left_behind file={}", unused);
    }
  });
  const auto pointer = format::encode_extent_pointer({header.id, change.value.size(), header.salt, kExtentPieceSize});
  out.type = format::RecordType::kExtent;
  out.storage.assign(reinterpret_cast<const char*>(&pointer), sizeof pointer);
  out.stored = out.storage;
  out.raw_length = sizeof pointer;
  return {};
}

void Store::Impl::write_prepared(std::vector<store::PreparedChange>& changes, uint64_t cost) {
  for (const store::PreparedChange& c : changes) {
    if (!c.extent) continue;
    // Before the record can be seen: a reader who finds the pointer finds the segment.
    catalog->add_extent(c.extent);
    c.extent->retire(nullptr);  // it is needed now
  }
  log->write(changes, cost);
}

}  // namespace cairn
