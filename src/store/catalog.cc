#include "store/catalog.h"

#include <algorithm>

#include "base/check.h"
#include "base/try.h"

namespace cairn::store {
namespace {

// Looking costs an atomic for each; a version is made for every seal, merge and batch of punches.
constexpr size_t kFormerPruned = 16;  // former versions that are kept without a look whether anybody reads them

}  // namespace

Catalog::Catalog(std::shared_ptr<io::Directory> store, std::array<unsigned char, 16> uuid, index::Manifest manifest,
                 std::shared_ptr<const Version> version)
    : store_(std::move(store)),
      uuid_(uuid),
      next_segment_(manifest.next_segment.value),
      next_table_(manifest.next_table.value),
      manifest_(std::move(manifest)),
      version_(std::move(version)) {}

void Catalog::set_spare(index::SpareFile spare) {
  MutexLock lock(manifest_mu_);
  spare_ = std::move(spare);
}

uint64_t Catalog::renew() {
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([](Version&) {});
  return number_;
}

bool Catalog::readers_before(uint64_t number) const {
  MutexLock lock(mu_);
  // Only who began before `number` matters: later readers saw everything that was visible at renew().
  return std::any_of(former_.begin(), former_.end(),
                     [&](const Former& f) { return f.number < number && !f.readers.expired(); });
}

std::shared_ptr<const Version> Catalog::current() const {
  MutexLock lock(mu_);
  return version_;
}

std::pair<std::shared_ptr<const Version>, SeqNo> Catalog::current_at(const std::function<SeqNo()>& visible) const {
  MutexLock lock(mu_);
  // Both under mu_, under which a merge installs its version: between the two it could drop what the older number would
  // have seen.
  return {version_, visible()};
}

// Gives back the version before, to be let go without the lock: with it segments may go, and whoever hears of that takes locks.
std::shared_ptr<const Version> Catalog::replace(const std::function<void(Version&)>& change) {
  auto next = std::make_shared<Version>(*version_);
  change(*next);
  if (former_.size() >= kFormerPruned) std::erase_if(former_, [](const Former& f) { return f.readers.expired(); });
  CHECK(version_ != nullptr);
  former_.push_back({number_++, version_});
  return std::exchange(version_, std::move(next));
}

void Catalog::add_open(LogLevel level) {
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([&](Version& v) { v.log.insert(v.log.begin(), std::move(level)); });
}

void Catalog::drop_open(SegmentId id) {
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([&](Version& v) { std::erase_if(v.log, [&](const LogLevel& l) { return l.segment->id() == id; }); });
}

void Catalog::sealed(LogLevel level, const log::MarkPlace& last_mark, uint64_t next_ino) {
  MutexLock manifest_lock(manifest_mu_);
  const index::ManifestSegment& meta = level.segment->meta();
  CHECK(meta.kind == format::SegmentKind::kLog && meta.file_size > 0 && !meta.range.empty());
  CHECK(manifest_.last_log < meta.id);
  CHECK(manifest_.next_seq <= meta.range.first);
  manifest_.segments.push_back(meta);
  manifest_.last_log = meta.id;
  manifest_.last_mark = last_mark.number;
  manifest_.last_mark_offset = last_mark.offset;
  manifest_.last_mark_checksum = last_mark.checksum;
  manifest_.next_seq = std::max(manifest_.next_seq, meta.range.last.next());
  // Not written: until somebody else writes the manifest, recovery finds this segment by the chain of headers.
  manifest_.next_ino = std::max(manifest_.next_ino, next_ino);
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([&](Version& v) {
    auto segments = v.segments->all();
    segments.push_back(level.segment);
    v.segments = std::make_shared<SegmentSet>(std::move(segments));
    for (LogLevel& l : v.log)
      // The level keeps its memtable for now, so readers change from one to the other without a gap.
      if (l.segment->id() == meta.id) l = level;
  });
}

void Catalog::release_memory(size_t keep) {
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([&](Version& v) {
    size_t with_memory = 0;
    for (LogLevel& l : v.log) {
      // Never of a level without a footer: its entries would be nowhere.
      if (!l.footer || !l.memtable || ++with_memory <= keep) continue;
      l.memtable.reset();
      l.slab.reset();
    }
  });
}

void Catalog::add_extent(std::shared_ptr<const Segment> extent) {
  MutexLock manifest_lock(manifest_mu_);
  manifest_.segments.push_back(extent->meta());
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace([&](Version& v) {
    auto segments = v.segments->all();
    segments.push_back(std::move(extent));
    v.segments = std::make_shared<SegmentSet>(std::move(segments));
  });
}

Result<void> Catalog::apply(const std::function<void(index::Manifest&)>& edit_manifest,
                            const std::function<void(Version&)>& edit_version) {
  MutexLock manifest_lock(manifest_mu_);
  // A copy is edited and written; only if that succeeds it is what the next one starts from. The lock is held across
  // the write, so that manifests reach the disk in the order of their numbers. Readers take mu_ alone, and never wait
  // for it.
  index::Manifest manifest = manifest_;
  edit_manifest(manifest);
  DCHECK(manifest.number == manifest_.number);
  manifest.number += 1;
  manifest.next_segment = SegmentId(next_segment_.load());
  // Ids taken after this are above: what a crash leaves under them is found by its file name, and ids start above that.
  manifest.next_table = TableId(next_table_.load());
  std::sort(manifest.segments.begin(), manifest.segments.end(), [](const auto& a, const auto& b) {
    const bool ea = a.kind == format::SegmentKind::kExtent, eb = b.kind == format::SegmentKind::kExtent;
    if (ea != eb) return eb;
    return ea ? a.id < b.id : a.range.first < b.range.first;
  });
  TRY(index::write_manifest(*store_, manifest, uuid_, spare_));
  // The disk first, then memory: a version that names what no manifest names would lose it with a crash.
  manifest_ = manifest;
  std::shared_ptr<const Version> before;
  MutexLock lock(mu_);
  before = replace(edit_version);
  return {};
}

void Catalog::unlinked(const std::vector<SegmentId>& ids) {
  MutexLock lock(manifest_mu_);
  // In memory only: a manifest that still calls them retired is harmless, as the next open unlinks what is not there.
  std::erase_if(manifest_.retired, [&](SegmentId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); });
}

index::Manifest Catalog::manifest() const {
  MutexLock lock(manifest_mu_);
  return manifest_;
}

}  // namespace cairn::store
