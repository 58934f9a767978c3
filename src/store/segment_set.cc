#include "store/segment_set.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "store/room.h"

namespace cairn::store {

Segment::Segment(index::ManifestSegment meta, std::shared_ptr<const SegmentFiles> files)
    : meta_(meta),
      files_(std::move(files)),
      file_name_(format::segment_file_name(meta.id)),
      name_(std::string(format::kSegmentsDir) + "/" + file_name_),
      covered_(meta.covered) {}

Segment::~Segment() {
  // Called without the lock: it takes others.
  std::function<void(SegmentId)> released;
  {
    MutexLock lock(mu_);
    released = std::move(released_);
  }
  if (released) released(id());
}

Result<std::shared_ptr<const io::File>> Segment::file() const {
  return files_->files->open(*files_->directory, file_name_, {io::OpenMode::kRead, false});
}

Result<std::shared_ptr<const index::Table>> Segment::footer() const {
  MutexLock lock(mu_);
  // Opened under the lock, so that two readers do not open it twice; errors are not remembered.
  if (footer_) return footer_;
  index::Table::Identity identity;
  identity.kind = format::TableKind::kFooter;
  identity.id = meta_.id.value;
  identity.salt = meta_.salt;
  identity.name = name_;
  // The table may outlive this object (an iterator holds it), so it keeps what it needs by itself.
  auto open_file = [files = files_, name = file_name_] {
    return files->files->open(*files->directory, name, {io::OpenMode::kRead, false});
  };
  TRY_ASSIGN(footer_, index::Table::open(std::move(open_file), std::move(identity), files_->blocks));
  return footer_;
}

Result<Value> Segment::read(ByteView key, const format::IndexEntry& entry) const {
  const bool direct = files_->direct_reads;
  TRY_ASSIGN(auto handle, files_->files->open(*files_->directory, file_name_, {io::OpenMode::kRead, direct}));
  return log::read_record({*handle, name_, meta_.salt, meta_.id, *files_->buffers, direct}, key, entry);
}

std::vector<std::optional<Value>> Segment::read_together(std::span<const log::RecordRequest> requests) const {
  const bool direct = files_->direct_reads;
  const auto handle = files_->files->open(*files_->directory, file_name_, {io::OpenMode::kRead, direct});
  if (!handle) return std::vector<std::optional<Value>>(requests.size());
  return log::read_records({**handle, name_, meta_.salt, meta_.id, *files_->buffers, direct}, requests);
}

Result<void> Segment::find_punched() const {
  auto opened = files_->directory->open(file_name_, {});
  if (!opened) {
    const ErrorCode why = opened.error().code;
    if (why == ErrorCode::kNotFound || why == ErrorCode::kInvalid) return {};  // reading it is an error
    return fail(opened.error());
  }
  TRY_ASSIGN(const auto stat, (*opened)->stat());
  // Never less than before: what was given back to the disk was given back to the limit as well.
  punched_ = std::max(punched(), meta_.file_size - std::min(meta_.file_size, stat.allocated));
  return {};
}

uint64_t Segment::charge() const {
  // Read by the room's accounts when the segment goes: the same sum must come out as when it was last changed.
  const uint64_t whole = Room::charge(meta_.file_size);
  return whole - std::min(whole, punched());
}

void Segment::retire(std::function<void(SegmentId)> released) const {
  MutexLock lock(mu_);
  released_ = std::move(released);
}

SegmentSet::SegmentSet(std::vector<Ref> segments) : by_range_(std::move(segments)) {
  const auto is_owner = [](const Ref& s) { return s->meta().kind != format::SegmentKind::kExtent; };
  auto extents = std::stable_partition(by_range_.begin(), by_range_.end(), is_owner);
  owners_ = static_cast<size_t>(extents - by_range_.begin());
  std::sort(by_range_.begin(), extents,
            [](const Ref& a, const Ref& b) { return a->meta().range.first < b->meta().range.first; });
  std::sort(extents, by_range_.end(), [](const Ref& a, const Ref& b) { return a->id() < b->id(); });
  by_id_.reserve(by_range_.size());
  for (size_t i = 0; i < by_range_.size(); ++i) by_id_.emplace(by_range_[i]->id(), i);
  CHECK(by_id_.size() == by_range_.size());
  for (size_t i = 1; i < owners_; ++i) {
    DCHECK(by_range_[i - 1]->meta().range.last < by_range_[i]->meta().range.first);
  }
}

const SegmentSet::Ref* SegmentSet::find(SegmentId id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &by_range_[it->second];
}

const SegmentSet::Ref* SegmentSet::owner(SeqNo seq) const {
  // The last whose range begins at or before the number; gaps belong to nobody (records there are lost, or were all
  // dead).
  const auto end = by_range_.begin() + static_cast<ptrdiff_t>(owners_);
  auto it =
      std::upper_bound(by_range_.begin(), end, seq, [](SeqNo s, const Ref& r) { return s < r->meta().range.first; });
  if (it == by_range_.begin()) return nullptr;
  --it;
  return (*it)->meta().range.contains(seq) ? &*it : nullptr;
}

}  // namespace cairn::store
