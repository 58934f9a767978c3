#include "crash/crash_run.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/log.h"
#include "base/try.h"
#include "format/checksum.h"
#include "format/decode.h"
#include "format/superblock.h"

namespace cairn::crash {
namespace {

using Kind = Op::Kind;

constexpr uint64_t kCommitIntervalMs = 1000;
constexpr Caller kUser{.uid = 1000, .gid = 100, .umask = 0};

Result<void> expect(bool truth, const std::string& what) {
  if (!truth) return fail(ErrorCode::kInvalid, what);
  return {};
}

Result<void> without_value(const Result<Attr>& result) {
  if (!result) return fail(result.error());
  return {};
}

}  // namespace

Look look_at(const Picture& picture) {
  return {format::checksum(picture.plain), format::checksum(picture.timed), picture.plain};
}

uint64_t evicted_by(const FileSystem& fs) {
  const CacheStats stats = fs.cache_stats();
  return std::accumulate(stats.evicted_files.begin(), stats.evicted_files.end(), stats.evicted_directories);
}

Result<Mounted> mount(io::SimEnv& env, uint64_t commit_interval_ms, const std::shared_ptr<spdlog::logger>& logger) {
  Options options;
  options.commit_interval_ms = commit_interval_ms;
  options.block_cache_bytes = 64 << 10;
  options.chunk_cache_bytes = 64 << 10;
  options.filter_bytes = 64 << 10;
  options.logger = logger;
  TRY_ASSIGN(auto store, Store::open(env, kPath, options));
  Mounted out;
  out.store = store.get();
  FsOptions fs_options;
  fs_options.relatime = false;      // looking changes nothing
  fs_options.caller_caches = true;  // as mounts have it
  TRY_ASSIGN(out.fs, FileSystem::open(std::move(store), fs_options));
  return out;
}

namespace {

// Below what mkfs allows, so that few operations reach the limit.
Result<void> lower_limit(io::SimEnv& env, uint64_t limit) {
  const std::string path = std::string(kPath) + "/" + format::kSuperblockFile;
  TRY_ASSIGN(format::Superblock superblock, format::decode_superblock(env.content(path)));
  superblock.limit = limit;
  const auto disk = format::encode_superblock(superblock);
  env.overwrite(path, 0, format::bytes_of(disk));
  return {};
}

}  // namespace

Result<Base> Base::make(const Setting& setting) {
  constexpr uint64_t kSmallest = 16 << 20;  // bytes; for mkfs
  Base base;
  base.setting = setting;
  StoreGeometry geometry;
  geometry.mode = setting.mode;
  geometry.limit = setting.mode == Mode::kCache ? std::max(setting.limit, kSmallest) : 0;
  geometry.segment_size = setting.segment_size;
  geometry.chunk_size = setting.chunk_size;
  geometry.compression = setting.compression;
  TRY(make_store(base.env, kPath, geometry, false));
  if (geometry.limit > setting.limit) TRY(lower_limit(base.env, setting.limit));
  base.env.sync_all();
  TRY_ASSIGN(auto run, Run::start(base, 1));
  for (const Op& op : setting.prepared) TRY(run->apply(op));
  TRY(run->apply({.kind = Kind::kReopen}));
  TRY(run->apply({.kind = Kind::kReopen}));  // a store that was closed twice has only sealed segments that are proven
  base.model = run->model().clone();
  base.env = run->env().peek_crash(io::kNothingLost);
  return base;
}

Run::Run(io::SimEnv env, const Base& base)
    : env_(std::move(env)),
      mode_(base.setting.mode),
      chunk_size_(base.setting.chunk_size),
      limit_(mode_ == Mode::kCache ? base.setting.limit : 0),
      evicts_(base.setting.evicts),
      model_(base.model.clone()) {}

Result<std::unique_ptr<Run>> Run::start(Base& base, uint64_t seed) {
  const io::CrashChoice choice{.keep = io::CrashChoice::Keep::kAll, .seed = seed};
  std::unique_ptr<Run> run(new Run(base.env.peek_crash(choice), base));
  run->env_.keep_history();
  run->env_.set_now({.seconds = 1'000'000});
  TRY(run->mount_again());
  TRY(run->remember(0));
  run->acks_.push_back({0, 0});
  return run;
}

Run::~Run() {
  (void)env_.kill();  // what the end of the file system still does is of no interest
  mounted_.fs.reset();
}

Result<void> Run::mount_again() {
  TRY_ASSIGN(mounted_, mount(env_, kCommitIntervalMs, null_logger()));
  fs_ = mounted_.fs.get();
  return {};
}

Result<void> Run::apply(const Op& op) {
  const size_t begun = mutations();
  const Ino inodes_end = script_.empty() ? 0 : script_.back().inodes_end;
  script_.push_back({.op = op, .begun = begun, .inodes_end = inodes_end});
  env_.set_now({.seconds = env_.now().seconds + 1, .nanoseconds = 1});
  const bool allowed = model_.allows(op);
  if (allowed) remember_parts(op, begun);
  Ino made = 0;
  const auto done = act(op, &made);
  TRY_ASSIGN(const bool works, took_effect(op, allowed, done));
  TRY(expect(made == 0 || made >= inodes_end, "an inode number was given out twice"));
  script_.back().inodes_end = std::max(inodes_end, made + 1);
  script_.back().ended = mutations();
  if (works) model_.apply(op, made);
  TRY_ASSIGN(const size_t state, remember(begun));
  const bool synced = op.kind == Kind::kFsync || op.kind == Kind::kTimer;
  const bool sealed = op.kind == Kind::kSeal || op.kind == Kind::kReopen;
  if (works && (sealed || (synced && mode_ == Mode::kCas))) acks_.push_back({mutations(), state});
  return {};
}

// What the model allows works, and nothing else does; unless an eviction during the operation made the difference.
Result<bool> Run::took_effect(const Op& op, bool allowed, const Result<void>& done) {
  if (allowed == done.has_value()) return allowed;
  if (evicts_) {
    TRY_ASSIGN(const Picture picture, picture_of(*fs_));
    const auto node = done ? model_.find(op.path) : nullptr;
    const bool is_made = op.kind == Kind::kCreate || op.kind == Kind::kMkdir || op.kind == Kind::kSymlink;
    TRY(take_away_evicted(picture.plain, node == nullptr || is_made ? 0 : node->ino, script_.back().begun));
    if (model_.allows(op) == done.has_value()) return done.has_value();
  }
  if (!done) return fail(done.error().code, "refused: " + to_string(op) + ": " + done.error().message);
  return fail(ErrorCode::kInvalid, "worked, but must not: " + to_string(op));
}

// From the model, all that is not in the picture, `but` for one inode that may have gone otherwise.
Result<void> Run::take_away_evicted(const std::string& picture, Ino but, size_t begun) {
  std::set<Ino> there = inodes_in(picture);
  there.insert(but);
  for (const Ino ino : model_.evict(there)) {
    TRY(expect(std::find(open_.begin(), open_.end(), ino) == open_.end(), "an open file was evicted"));
    evicted_.emplace(ino, begun);
  }
  return {};
}

// A long write is done in pieces, each of whole chunks, and each correct by itself; so is a hole across the end of a chunk (here
// none is longer than a chunk).
void Run::remember_parts(const Op& op, size_t begun) {
  const auto node = model_.find(op.path);
  if (op.kind != Kind::kWrite && op.kind != Kind::kAppend && op.kind != Kind::kPunch) return;
  const uint64_t begin = op.kind == Kind::kAppend ? node->content.size() : op.offset;
  const std::string before = node->content;
  for (uint64_t end = (begin / chunk_size_ + 1) * chunk_size_; end < begin + op.size; end += chunk_size_) {
    Op part = op;
    part.size = end - begin;
    model_.apply(part, 0);
    const std::string text = model_.describe();
    states_.push_back({text, format::checksum(text), false, begun});
    node->content = before;
  }
}

// Returns the number of a state that is not later than what was done.
Result<size_t> Run::remember(size_t begun) {
  TRY_ASSIGN(const Picture picture, picture_of(*fs_));
  std::optional<size_t> without_evictions;
  if (evicts_) {
    const std::string before = model_.describe();
    const size_t evicted = evicted_.size();
    TRY(take_away_evicted(picture.plain, 0, begun));
    if (evicted_.size() > evicted) {
      without_evictions = states_.size();
      states_.push_back({before, format::checksum(before), false, begun});
    }
  }
  TRY(expect(limit_ == 0 || env_.peak_used() <= limit_, "the store takes more than its limit"));
  const std::string wanted = model_.describe();
  TRY(expect(picture.plain == wanted, "the tree is\n" + picture.plain + "and should be\n" + wanted));
  const uint64_t hash = look_at(picture).timed;
  if (states_.empty() || !states_.back().timed || states_.back().hash != hash)
    states_.push_back({picture.timed, hash, true, begun});
  return without_evictions.value_or(states_.size() - 1);
}

// ---- Doing it ----

Result<void> Run::act(const Op& op, Ino* made) {
  switch (op.kind) {
    case Kind::kTimer:
      env_.executor().advance(std::chrono::milliseconds(kCommitIntervalMs));
      env_.executor().run_until_idle();
      return {};
    case Kind::kStep: env_.executor().run_one(); return {};
    case Kind::kIdle: env_.executor().run_until_idle(); return {};
    case Kind::kSeal: return mounted_.store->seal();
    case Kind::kSettle: return mounted_.store->settle();
    case Kind::kClose: return close_files();
    case Kind::kReopen:
      TRY(close_files());
      TRY(fs_->close());
      mounted_.fs.reset();
      return mount_again();
    case Kind::kCreate:
    case Kind::kMkdir:
    case Kind::kSymlink: return make(op, made);
    default: break;
  }
  std::string name, to_name;
  const auto parent = model_.parent_of(op.path, &name);
  const auto to_parent = model_.parent_of(op.target, &to_name);
  const bool moves = op.kind == Kind::kRename || op.kind == Kind::kExchange || op.kind == Kind::kLink;
  if (parent == nullptr || (moves && to_parent == nullptr)) return fail(ErrorCode::kNotFound);
  switch (op.kind) {
    case Kind::kRename: return fs_->rename(parent->ino, name, to_parent->ino, to_name, 0, kUser);
    case Kind::kExchange: return fs_->rename(parent->ino, name, to_parent->ino, to_name, kRenameExchange, kUser);
    case Kind::kUnlink: return fs_->unlink(parent->ino, name);
    case Kind::kRmdir: return fs_->rmdir(parent->ino, name);
    default: break;
  }
  const auto node = model_.find(op.path);
  if (node == nullptr) return fail(ErrorCode::kNotFound);
  if (op.kind == Kind::kLink) {
    TRY(without_value(fs_->link(node->ino, to_parent->ino, to_name)));
    fs_->forget(node->ino, 1);
    return {};
  }
  return act_on_file(op, node->ino);
}

Result<void> Run::make(const Op& op, Ino* made) {
  std::string name;
  const auto parent = model_.parent_of(op.path, &name);
  if (parent == nullptr) return fail(ErrorCode::kNotFound);
  const auto make_it = [&] {
    if (op.kind == Kind::kMkdir) return fs_->mkdir(parent->ino, name, 0755, kUser);
    if (op.kind == Kind::kSymlink) return fs_->symlink(parent->ino, name, op.target, kUser);
    return fs_->create(parent->ino, name, 0644, kUser);
  };
  TRY_ASSIGN(const Attr attr, make_it());
  if (op.kind == Kind::kCreate) fs_->release(attr.ino);
  fs_->forget(attr.ino, 1);
  *made = attr.ino;
  return {};
}

Result<void> Run::act_on_file(const Op& op, Ino ino) {
  AttrChange change;
  switch (op.kind) {
    case Kind::kWrite:
    case Kind::kAppend: {
      const bool append = op.kind == Kind::kAppend;
      const uint64_t offset = append ? model_.find(op.path)->content.size() : op.offset;
      TRY_ASSIGN(const uint64_t written, fs_->write(ino, op.offset, pattern(offset, op.size, op.fill), append, false));
      return expect(written == op.size, "a short write");
    }
    case Kind::kTruncate:
      change.set_size = true;
      change.size = op.size;
      return without_value(fs_->setattr(ino, change));
    case Kind::kChmod:
      change.set_mode = true;
      change.mode = static_cast<uint32_t>(op.size);
      return without_value(fs_->setattr(ino, change));
    case Kind::kPunch: return fs_->fallocate(ino, kFallocPunch | kFallocKeepSize, op.offset, op.size);
    case Kind::kSetXattr: return fs_->set_xattr(ino, "user.x", pattern(0, op.size, op.fill), XattrMode::kAny);
    case Kind::kDropXattr: return fs_->remove_xattr(ino, "user.x");
    case Kind::kOpen:
      TRY(without_value(fs_->open(ino, false, false)));
      open_.push_back(ino);
      return {};
    case Kind::kFsync: return fs_->fsync(ino);
    default: return fail(ErrorCode::kInvalid, "unknown operation");
  }
}

Result<void> Run::close_files() {
  for (const Ino ino : std::exchange(open_, {})) fs_->release(ino);
  return {};
}

// ---- What is legal ----

Run::Legal Run::legal_before(size_t k) const {
  Legal legal{.before = k};
  for (const Ack& ack : acks_) {
    if (ack.at <= k) legal.first = std::max(legal.first, ack.state);
  }
  legal.last = legal.first;
  for (size_t i = legal.first; i < states_.size(); ++i) {
    if (states_[i].begun < k) legal.last = i;
  }
  return legal;
}

bool Run::is_one_of(const Legal& legal, const Look& look) const {
  for (size_t i = legal.first; i <= legal.last; ++i) {
    if (states_[i].hash == (states_[i].timed ? look.timed : look.plain)) return true;
  }
  for (size_t i = legal.first; evicts_ && i <= legal.last; ++i) {
    if (is_without_evicted(states_[i], legal.before, look)) return true;
  }
  return false;
}

bool Run::is_without_evicted(const State& state, size_t before, const Look& look) const {
  const auto difference = whole_inodes_between(state.text, look.text);
  if (!difference || !difference->more.empty()) return false;
  const auto& gone = difference->gone;
  const auto unexplained = std::count_if(gone.begin(), gone.end(), [&](Ino ino) {
    const auto known = evicted_.find(ino);
    return known == evicted_.end() || known->second >= before;
  });
  return static_cast<uint64_t>(unexplained) <= look.evicted;
}

std::string Run::script_before(size_t k) const {
  std::string out;
  for (const Step& step : script_) {
    if (step.begun < k) out += to_string(step.op) + "; ";
  }
  return out;
}

Ino Run::inodes_end_before(size_t k) const {
  Ino end = 0;
  for (const Step& step : script_) {
    if (step.ended <= k) end = step.inodes_end;
  }
  return end;
}

}  // namespace cairn::crash
