// The public face of the engine: opening, writing, closing.
#include "cairn/store.h"

#include <algorithm>
#include <new>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "store/layout.h"
#include "store/recover.h"
#include "store/store_impl.h"

namespace cairn {
namespace {

double ratio(uint64_t a, uint64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

constexpr uint64_t kBaseBytes = 64 << 10;  // superblock, lock, manifest, and the directories
constexpr unsigned kReserveFiles = 6;  // four for the log (erases are garbage only two maps later), two for compaction
constexpr unsigned kCacheReserveFiles = 1;  // for tables and compaction: the limit keeps room for the log
constexpr uint64_t kReserveShare = 8;       // each takes at most one part in so many of the disk

static_assert(kReserveFiles >= 2 + 2, "the log takes two before one is sealed, and leaves two");
static_assert(kCacheReserveFiles >= 1, "one for compaction: the log of a cache takes none");

// Files that hold nothing go; files that nobody can read are set aside, never deleted.
Result<void> clear_leftovers(Store::Impl& impl, const store::Recovered& recovered) {
  if (recovered.leftovers.empty() && recovered.unreadable.empty()) return {};
  io::Directory& segments = *impl.files->directory;
  // After the manifest is durable: until then a crash needs them to come to the same end.
  for (const std::string& name : recovered.leftovers) TRY(segments.unlink(name));
  if (!recovered.unreadable.empty()) {
    if (auto made = impl.directory->make_dir(store::kQuarantineDir); !made && made.error().code != ErrorCode::kExists)
      return made;
    TRY_ASSIGN(auto quarantine, impl.directory->open_dir(store::kQuarantineDir));
    for (const std::string& name : recovered.unreadable) TRY(segments.rename_into(name, *quarantine, name));
    // Where it comes to before where it leaves: a crash shows it twice, or once, and never loses it.
    TRY(quarantine->sync());
    TRY(impl.directory->sync());
  }
  return segments.sync();
}

// Table files that no run names: a merge that was not installed, or inputs of one that was.
Result<void> remove_stray_tables(Store::Impl& impl, const index::Manifest& manifest) {
  TRY_ASSIGN(const auto names, impl.index_directory->list());
  for (const std::string& name : names) {
    const auto id = index::parse_table_file_name(name);
    if (!id) continue;
    const bool named = std::any_of(manifest.runs.begin(), manifest.runs.end(), [&](const index::ManifestRun& run) {
      return std::any_of(run.tables.begin(), run.tables.end(), [&](const auto& t) { return t.id == *id; });
    });
    // Not synced: what comes back goes again at the next open.
    if (!named) TRY(impl.index_directory->unlink(name));
  }
  return {};
}

// What the directory takes when it is opened.
Result<void> count_room(Store::Impl& impl) {
  store::Room& room = *impl.room;
  const auto version = impl.catalog->current();
  room.add(kBaseBytes);
  for (const auto& segment : version->segments->all()) {
    // Without a limit a look at each file would only cost time.
    if (room.limited()) TRY(segment->find_punched());
    room.add(segment->charge());
  }
  for (const auto& level : version->log) room.owe(level.segment->meta().overhead());
  for (const auto& run : version->runs)
    for (const auto& table : run->tables) room.add(store::Room::charge(table.meta.file_size));
  auto quarantine = impl.directory->open_dir(store::kQuarantineDir);
  if (!quarantine && quarantine.error().code == ErrorCode::kNotFound) return {};
  if (!quarantine) return fail(quarantine.error());
  TRY_ASSIGN(const auto names, (*quarantine)->list());
  for (const std::string& name : names) {
    TRY_ASSIGN(const auto file, (*quarantine)->open(name, {}));
    TRY_ASSIGN(const auto stat, file->stat());
    room.add(stat.allocated);
  }
  return {};
}

Result<void> open_reserve(Store::Impl& impl) {
  TRY_ASSIGN(const auto space, impl.directory->space());
  CHECK(impl.superblock.segment_size != 0);
  const auto affordable =
      static_cast<unsigned>(std::min<uint64_t>(impl.room->limited() ? kCacheReserveFiles : kReserveFiles,
                                               space.total / (kReserveShare * impl.superblock.segment_size)));
  if (affordable == 0) return {};  // on a disk this small it would be most of what there is
  TRY_ASSIGN(impl.reserve, store::Reserve::open(*impl.directory, impl.superblock.segment_size, affordable,
                                                impl.room.get(), impl.logger));
  if (!impl.reserve) return {};
  if (!impl.reserve->is_whole()) impl.logger->warn("reserve_incomplete reason=\"the disk is full\"");
  impl.catalog->set_spare([reserve = impl.reserve, store = impl.directory](const std::string& name, uint64_t size) {
    return reserve->take(*store, {name, size, {}, false});
  });
  return {};
}

Result<void> start_writing(Store::Impl& impl, const store::Recovered& recovered) {
  CHECK(!impl.log && !impl.maintenance);
  store::LogWriter::Config config;
  config.env = impl.env;
  config.files = impl.files;
  impl.filter = std::make_shared<store::KeyFilter>(impl.options.filter_bytes);
  config.filter = impl.filter;
  config.superblock = impl.superblock;
  config.commit_interval_ms = impl.options.commit_interval_ms;
  config.logger = impl.logger;
  // The log is made before maintenance and calls it; weak, as maintenance holds the log.
  auto maintenance = std::make_shared<std::weak_ptr<store::Maintenance>>();
  config.on_sealed = [maintenance] {
    if (auto m = maintenance->lock()) m->kick();
  };
  config.on_starved = config.on_sealed;
  config.room = impl.room;
  config.reserve = impl.reserve;
  if (impl.superblock.limit != 0) impl.evictions = std::make_shared<store::Evictions>(*impl.env);
  impl.log = std::make_shared<store::LogWriter>(config, impl.catalog.get(), recovered.start);
  store::Maintenance::Config maintenance_config{impl.env,     impl.index_directory, impl.files,
                                                impl.filter,  impl.superblock,      impl.room,
                                                impl.reserve, impl.evictions,       impl.logger};
  impl.maintenance =
      std::make_shared<store::Maintenance>(maintenance_config, impl.catalog.get(), impl.values.get(), impl.log);
  *maintenance = impl.maintenance;
  return impl.log->start();
}

Result<void> open_directories(Store::Impl& impl, const std::string& path) {
  TRY_ASSIGN(impl.files,
             store::open_segment_files(*impl.directory, impl.options.block_cache_bytes, impl.options.direct_reads));
  auto index_directory = impl.directory->open_dir(index::kIndexDir);
  if (!index_directory && index_directory.error().code == ErrorCode::kNotFound)
    return fail(ErrorCode::kCorrupt,
                fmt::format("{}/{} is missing; run: fsck.cairnfs --rebuild-index {}", path, index::kIndexDir, path));
  if (!index_directory) return fail(index_directory.error());
  impl.index_directory = std::move(*index_directory);
  return {};
}

// Damage is reported with the store's path and the remedy, whoever met it.
Error with_advice(Error error, const std::string& path) {
  if (error.code == ErrorCode::kCorrupt && error.message.find("fsck.cairnfs") == std::string::npos)
    error.message = fmt::format("{}: {}; run: fsck.cairnfs --rebuild-index {}", path, error.message, path);
  return error;
}

// What opening writes is refused first on a read-only file system, whatever file that happens to be.
Error with_read_only_advice(Error error, const std::string& path) {
  if (error.code == ErrorCode::kReadOnly)
    error.message = fmt::format(
        "store {} is on a read-only file system, where only `cairnfs mount -o ro` and checks can "
        "work: {}",
        path, error.message);
  return error;
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::filesystem::path& path, const Options& options) {
  return open(io::posix_env(), path.string(), options);
}

Store::Impl::~Impl() {
  if (closed || !log) return;
  // Jobs first: they use what is destroyed next.
  if (maintenance) maintenance->stop();
  log->abandon();
}

Result<std::unique_ptr<Store::Impl>> Store::Impl::open(io::Env& env, const std::string& path, const Options& options) {
  auto impl = std::make_unique<Impl>();
  impl->env = &env;
  impl->options = options;
  impl->logger = options.logger ? options.logger : null_logger();
  impl->path = path;
  TRY_ASSIGN(impl->directory, store::open_store_directory(env, path));
  TRY_ASSIGN(impl->superblock, store::read_superblock(*impl->directory, path));
  // Taking the lock makes its file, so this comes after a look whether it is a store at all. Whoever held the lock
  // until now may have changed the limit since: hence another look.
  TRY_ASSIGN(impl->lock, store::lock_store(*impl->directory, path, options.owner));
  TRY_ASSIGN(impl->superblock, store::read_superblock(*impl->directory, path));
  TRY(open_directories(*impl, path));

  store::RecoverContext context{path,
                                impl->directory.get(),
                                impl->files,
                                impl->index_directory,
                                impl->superblock,
                                options.read_only,
                                impl->logger.get()};
  auto result = store::recover(context);
  if (!result) return fail(with_advice(std::move(result).error(), path));
  const store::Recovered& recovered = *result;
  impl->catalog =
      std::make_shared<store::Catalog>(impl->directory, impl->superblock.uuid, recovered.manifest, recovered.version);
  impl->room = std::make_shared<store::Room>(impl->superblock.limit, impl->superblock.segment_size);
  impl->values = std::make_unique<store::ValueReader>(impl->files, options.chunk_cache_bytes);
  impl->read_only_next_number = recovered.start.next_number;
  if (!options.read_only) {
    // From here on nothing is lost by a crash: the manifest names what recovery sealed, then what it replaced goes. One
    // that need not be written again may still be durable by its content only: a killed process renamed it, and no more.
    if (recovered.changed) {
      TRY(impl->catalog->apply([](index::Manifest&) {}, [](store::Version&) {}));
    } else {
      TRY(impl->directory->sync());
    }
    TRY(clear_leftovers(*impl, recovered));
    TRY(remove_stray_tables(*impl, recovered.manifest));
    TRY(count_room(*impl));
    TRY(open_reserve(*impl));
    TRY(start_writing(*impl, recovered));
    impl->maintenance->kick();
  } else {
    TRY(count_room(*impl));
  }
  return impl;
}

// Memory that runs out while a store is read is an answer like any other: nothing was promised yet.
Result<std::unique_ptr<Store>> Store::open(io::Env& env, const std::string& path, const Options& options) {
  try {
    auto impl = Impl::open(env, path, options);
    if (!impl) return fail(with_read_only_advice(std::move(impl).error(), path));
    return std::unique_ptr<Store>(new Store(std::move(*impl)));
  } catch (const std::bad_alloc&) {
    return fail(ErrorCode::kOutOfMemory, "store " + path + ": out of memory");
  }
}

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Store::~Store() {
  if (impl_->closed) return;
  if (auto closed = close(); !closed) impl_->logger->error("close_failed reason=\"{}\"", closed.error().message);
}

Result<void> Store::close() {
  CHECK(!impl_->closed);
  // First: whatever fails below, closing is not tried twice.
  impl_->closed = true;
  if (!impl_->log) return {};
  // Order: no new steps, then the last commit and seal, then the manifest that knows of them. The lock goes last.
  impl_->maintenance->stop();
  auto stopped = impl_->log->stop();
  if (stopped) stopped = impl_->maintenance->finish();
  impl_->lock.reset();
  return stopped;
}

Result<void> Store::write(const WriteBatch& batch, Durability durability) {
  if (!impl_->log) return fail(ErrorCode::kReadOnly, "the store was opened read-only");
  TRY_ASSIGN(auto changes, impl_->prepare(batch));
  // Large values have become pointers by now, so the cost is that of what is really written.
  uint64_t cost = 0;
  for (store::PreparedChange& c : changes) {
    cost += log_cost(c.key.size(), c.stored.size());
    c.replaces = impl_->replaced_by(c);
  }
  if (cost > max_operation_room())
    return fail(ErrorCode::kTooLarge, fmt::format("batch of {} bytes: at most {} in a store with segments of {}", cost,
                                                  max_operation_room(), impl_->superblock.segment_size));
  // Deleting works on a full store: it may use what is kept back.
  const bool only_erases =
      std::all_of(batch.changes().begin(), batch.changes().end(), [](const auto& c) { return c.is_erase; });
  TRY(impl_->log->begin(cost, only_erases ? OperationKind::kFree : OperationKind::kGrow));
  {
    Operation operation(this, cost);  // ends whatever happens
    impl_->write_prepared(changes, cost);
    operation.room_ = 0;
  }
  // After its end: a commit waits for open operations, and so would this one for itself.
  return durability == Durability::kSync ? sync() : Result<void>();
}

Result<void> Store::sync() {
  if (!impl_->log) return {};
  return impl_->log->sync();
}

Result<void> Store::seal() {
  if (!impl_->log) return {};
  return impl_->log->seal();
}

Result<void> Store::settle() {
  if (!impl_->log) return {};
  return impl_->maintenance->settle();
}

uint64_t Store::room_deficit() const { return impl_->room->deficit(); }

void Store::set_room_hook(std::function<void()> hook) {
  if (impl_->evictions) impl_->evictions->set_hook(std::move(hook));
}

void Store::evicted(bool more) {
  // An answer that changes nothing wakes nobody.
  if (!impl_->evictions || !impl_->evictions->answered(more)) return;
  impl_->room->note_event();
  impl_->maintenance->kick();
}

uint64_t Store::next_number() { return impl_->log ? impl_->log->next_number() : impl_->read_only_next_number++; }

io::Env& Store::env() const { return *impl_->env; }

// ---- Operations ----

Result<Store::Operation> Store::begin(uint64_t room, OperationKind kind) {
  if (!impl_->log) return fail(ErrorCode::kReadOnly, "the store was opened read-only");
  TRY(impl_->log->begin(room, kind));
  return Operation(this, room);
}

uint64_t Store::max_operation_room() const { return impl_->superblock.segment_size / 4; }
uint64_t Store::kept_max() const { return impl_->log ? impl_->log->kept_max() : 0; }

void Store::set_commit_hook(std::function<Result<void>(Operation&)> hook) {
  if (!impl_->log) return;
  if (!hook) return impl_->log->set_hook(nullptr);
  impl_->log->set_hook([this, hook = std::move(hook)]() -> Result<void> {
    // Its room is all that was kept, which is why it always fits.
    Operation operation(this, impl_->log->take_kept());
    return hook(operation);
  });
}

Store::Operation::Operation(Operation&& other) noexcept
    : store_(std::exchange(other.store_, nullptr)), room_(other.room_) {}

Store::Operation::~Operation() {
  if (store_) store_->impl_->log->end(room_);
}

Result<void> Store::Operation::write(const WriteBatch& batch) {
  CHECK(store_ != nullptr);  // not moved from
  const uint64_t cost = batch.log_cost();
  CHECK(cost <= room_);
  // Everything that can fail is done before the room is spent; compression makes the real cost smaller, never larger.
  TRY_ASSIGN(auto changes, store_->impl_->prepare(batch));
  for (store::PreparedChange& c : changes) c.replaces = store_->impl_->replaced_by(c);
  store_->impl_->write_prepared(changes, cost);
  room_ -= cost;  // not before: without memory nothing was written
  return {};
}

bool Store::Operation::keep(uint64_t bytes) {
  CHECK(bytes <= room_);
  if (!store_->impl_->log->keep(bytes)) return false;
  room_ -= bytes;
  return true;
}

void Store::Operation::reclaim(uint64_t bytes) {
  CHECK(store_ != nullptr);
  store_->impl_->log->reclaim(bytes);
  room_ += bytes;
}

uint64_t Store::Operation::room() const { return room_; }

// ---- Statistics ----

StoreStats Store::stats() const {
  StoreStats out;
  const format::Superblock& sb = impl_->superblock;
  out.mode = sb.mode;
  out.limit = impl_->room->limit();
  out.segment_size = sb.segment_size;
  out.chunk_size = sb.chunk_size;
  const auto version = impl_->catalog->current();
  out.allocated_bytes = impl_->room->used();
  for (const auto& run : version->runs) out.tables += run->tables.size();
  out.segments = version->segments->all().size();
  out.runs = version->runs.size();
  out.unmerged_footers = version->log.size();
  out.corrupt_reads = impl_->values->corrupt_reads();
  // Statistics leave out what they cannot get.
  if (const auto space = impl_->directory->space()) {
    out.disk_total = space->total;
    out.disk_available = space->available;
  }
  if (!impl_->log) {
    out.read_only = true;
    return out;
  }
  out.live_bytes = impl_->maintenance->live_bytes();
  out.merges = impl_->maintenance->merges();
  out.punched_bytes = impl_->maintenance->punched_bytes();
  out.bytes_copied = impl_->maintenance->copied_bytes();
  out.bytes_in = impl_->log->bytes_in();
  out.bytes_logged = impl_->log->bytes_logged();
  out.room_deficit = impl_->room->deficit();
  if (out.live_bytes > 0) out.space_amplification = ratio(out.allocated_bytes, out.live_bytes);
  if (out.bytes_logged > 0) out.write_amplification = ratio(out.bytes_logged + out.bytes_copied, out.bytes_logged);
  out.compactions = impl_->maintenance->compactions();
  out.seals = impl_->log->seals();
  out.commits = impl_->log->commits();
  out.last_seq = impl_->log->visible().value;
  out.durable_seq = impl_->log->durable().value;
  out.unwritten_bytes = impl_->log->unwritten_bytes();
  if (const auto why = impl_->log->degraded()) {
    out.degraded = true;
    out.degraded_reason = why->message;
  }
  if (const auto failure = impl_->log->failure()) {
    out.read_only = true;
    out.read_only_reason = failure->message;
  }
  return out;
}

}  // namespace cairn
