// Reading: get, cursors, snapshots.
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "store/liveness.h"
#include "store/store_impl.h"

namespace cairn {

using store::FoundEntry;

namespace {

Result<Value> get_from(const store::Version& version, SeqNo max_seq, store::ValueReader& values, ByteView key,
                       ReadRange range) {
  TRY_ASSIGN(auto found, version.find(key, max_seq));
  if (!found || found->entry.type == format::RecordType::kErase) return fail(ErrorCode::kNotFound);
  return values.read(version, key, *found, range);
}

// A pointer that does not decode is damage, which reading it reports.
bool names_unknown_extent(const store::Version& version, const FoundEntry& found) {
  if (found.entry.type != format::RecordType::kExtent || !found.entry.has_small) return false;
  const auto pointer = format::decode_extent_pointer(found.entry.small);
  return pointer && !version.segments->find(pointer->segment);
}

}  // namespace

// A point read sees the newest version there is, published or about to be: nothing can fail between the two, and a merge may have
// dropped what an older moment would have seen.
Result<Value> Store::get(ByteView key, ReadRange range) const {
  if (impl_->filter && !impl_->filter->may_contain(index::Table::hash(key))) return fail(ErrorCode::kNotFound);
  // The version pins everything it names: whatever is replaced meanwhile stays until this reader is done (hazard 27).
  auto version = impl_->catalog->current();
  for (;;) {
    TRY_ASSIGN(auto found, version->find(key, kMaxSeq));
    if (!found || found->entry.type == format::RecordType::kErase) return fail(ErrorCode::kNotFound);
    // The open memtable goes on growing: a record that is younger than the version may name an extent that only the next one has.
    auto now = impl_->catalog->current();
    if (now == version || !names_unknown_extent(*version, *found))
      return impl_->values->read(*version, key, *found, range);
    version = std::move(now);
  }
}

std::vector<Result<Value>> Store::get_all(std::span<const GetRequest> requests) const {
  std::vector<Result<Value>> out(requests.size(), fail(ErrorCode::kNotFound));
  std::vector<store::Lookup> lookups;
  std::vector<size_t> places;  // of the lookups in `out`
  const auto version = impl_->catalog->current();
  for (size_t i = 0; i < requests.size(); ++i) {
    const auto& [key, range] = requests[i];
    if (impl_->filter && !impl_->filter->may_contain(index::Table::hash(key))) continue;
    auto found = version->find(key, kMaxSeq);
    if (!found) {
      out[i] = fail(std::move(found).error());
    } else if (*found && names_unknown_extent(*version, **found)) {
      out[i] = get(key, range);
    } else if (*found && (*found)->entry.type != format::RecordType::kErase) {
      lookups.push_back({key, std::move(**found), range});
      places.push_back(i);
    }
  }
  auto values = impl_->values->read_all(*version, lookups);
  for (size_t i = 0; i < places.size(); ++i) out[places[i]] = std::move(values[i]);
  return out;
}

Result<uint64_t> Store::value_size(ByteView key) const {
  if (impl_->filter && !impl_->filter->may_contain(index::Table::hash(key))) return fail(ErrorCode::kNotFound);
  const auto version = impl_->catalog->current();
  TRY_ASSIGN(auto found, version->find(key, kMaxSeq));
  if (!found || found->entry.type == format::RecordType::kErase) return fail(ErrorCode::kNotFound);
  return impl_->values->size(*version, key, *found);
}

Snapshot Store::snapshot() const {
  auto impl = std::make_shared<Snapshot::Impl>();
  // Read-only there is no log, and nothing comes after the moment of opening.
  std::tie(impl->version, impl->seq) =
      impl_->catalog->current_at([this] { return impl_->log ? impl_->log->visible() : kMaxSeq; });
  impl->values = impl_->values.get();
  return Snapshot(std::move(impl));
}

Cursor Store::scan(ByteView prefix) const { return snapshot().scan(prefix); }

Snapshot::Snapshot(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Snapshot::Snapshot(const Snapshot&) = default;
Snapshot::~Snapshot() = default;

Result<Value> Snapshot::get(ByteView key, ReadRange range) const {
  return get_from(*impl_->version, impl_->seq, *impl_->values, key, range);
}

Cursor Snapshot::scan(ByteView prefix) const {
  return Cursor(std::make_unique<Cursor::Impl>(impl_->version, impl_->seq, Bytes(prefix), impl_->values));
}

// ---- Cursor ----

Cursor::Impl::Impl(std::shared_ptr<const store::Version> version, SeqNo max_seq, Bytes prefix,
                   store::ValueReader* values)
    : version_(std::move(version)),
      max_seq_(max_seq),
      prefix_(std::move(prefix)),
      values_(values),
      iterator_(version_->iterate(true)) {
  seek(prefix_);
}

void Cursor::Impl::seek(ByteView key) {
  valid_ = false;
  // Before the prefix there is nothing that belongs to the walk.
  status_ = iterator_->seek(std::max(key, ByteView(prefix_)));
  settle();
}

void Cursor::Impl::next() {
  CHECK(valid_);
  const Bytes key(iterator_->key());
  valid_ = false;
  // Older versions of the same key follow it.
  do {
    status_ = iterator_->next();
  } while (status_ && iterator_->valid() && iterator_->key() == key);
  settle();
}

void Cursor::Impl::settle() {
  while (status_ && iterator_->valid()) {
    if (!iterator_->key().starts_with(prefix_)) return;
    const format::IndexEntry& entry = iterator_->entry();
    if (entry.seq > max_seq_ || store::is_liveness_key(iterator_->key())) {
      status_ = iterator_->next();
      continue;
    }
    if (entry.type != format::RecordType::kErase) {
      valid_ = true;
      return;
    }
    // Everything older of this key is hidden by the erase. The view dies with next(), hence the copy.
    const Bytes erased(iterator_->key());
    do {
      status_ = iterator_->next();
    } while (status_ && iterator_->valid() && iterator_->key() == erased);
  }
}

FoundEntry Cursor::Impl::found() const {
  CHECK(valid_);
  FoundEntry out{iterator_->entry(), nullptr, nullptr};
  // Bytes that are still in a slab have to be read from there.
  for (const auto& level : version_->log)
    if (level.slab && level.segment->id() == out.entry.segment) out.slab = level.slab;
  return out;
}

Result<Value> Cursor::Impl::value() const {
  FoundEntry f = found();
  if (f.entry.has_small && f.entry.type != format::RecordType::kExtent) return Value::own(Bytes(f.entry.small));
  return values_->read(*version_, iterator_->key(), f, {});
}

Result<uint64_t> Cursor::Impl::size() const { return values_->size(*version_, iterator_->key(), found()); }

Cursor::Cursor(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Cursor::Cursor(Cursor&&) noexcept = default;
Cursor& Cursor::operator=(Cursor&&) noexcept = default;
Cursor::~Cursor() = default;
bool Cursor::valid() const { return impl_->valid(); }
ByteView Cursor::key() const { return impl_->key(); }
Result<uint64_t> Cursor::value_size() const { return impl_->size(); }
Result<Value> Cursor::value() const { return impl_->value(); }
void Cursor::next() { impl_->next(); }
void Cursor::seek(ByteView key) { impl_->seek(key); }
Result<void> Cursor::status() const { return impl_->status(); }

}  // namespace cairn
