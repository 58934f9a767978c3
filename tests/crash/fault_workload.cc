#include "crash/fault_workload.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "store/check_store.h"

namespace cairn::crash {
namespace {

constexpr Caller kUser{.uid = 1000, .gid = 100, .umask = 0};
constexpr size_t kLong = 64;  // bytes; contents of more stand as a hash in a state

// Bytes that no other `salt` has, and that do not compress.
std::string bytes(uint64_t salt, size_t size) {
  std::string out;
  uint64_t x = salt * 0x9e3779b97f4a7c15 + 1;
  while (out.size() < size) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    out.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  out.resize(size);
  return out;
}

std::string brief(ByteView content) {
  if (content.size() <= kLong) return std::string(content);
  return fmt::format("{} bytes {:016x}", content.size(), format::checksum(content));
}

// ---- Paths ----

struct Place {
  Ino parent = kRootIno;
  std::string name;
};

Result<Ino> find(FileSystem& fs, Ino parent, std::string_view name) {
  TRY_ASSIGN(const Attr attr, fs.lookup(parent, name));
  fs.forget(attr.ino, 1);
  return attr.ino;
}

Result<Place> place_of(FileSystem& fs, std::string_view path) {
  Place place;
  for (;;) {
    const size_t slash = path.find('/');
    if (slash == std::string_view::npos) break;
    TRY_ASSIGN(place.parent, find(fs, place.parent, path.substr(0, slash)));
    path.remove_prefix(slash + 1);
  }
  place.name = path;
  return place;
}

Result<Ino> ino_of(FileSystem& fs, std::string_view path) {
  TRY_ASSIGN(const Place place, place_of(fs, path));
  return find(fs, place.parent, place.name);
}

// ---- Reading ----

Result<void> read_node(FileSystem& fs, const std::string& path, Ino ino, TreeState& out,
                       std::vector<std::pair<std::string, Ino>>& queue) {
  TRY_ASSIGN(const Attr attr, fs.getattr(ino));
  TRY_ASSIGN(const auto xattrs, fs.list_xattrs(ino));
  for (const std::string& name : xattrs) {
    TRY_ASSIGN(const Bytes value, fs.get_xattr(ino, name));
    out[path + "@" + name] = brief(value);
  }
  if (S_ISDIR(attr.mode)) {
    out[path] = "directory";
    TRY_ASSIGN(const auto entries, fs.read_dir(ino, 0, SIZE_MAX, nullptr));
    for (const DirEntry& entry : entries) {
      TRY_ASSIGN(const Ino found, find(fs, ino, entry.name));
      if (found != entry.ino) return fail(ErrorCode::kCorrupt, path + ": listing and entry differ");
      queue.emplace_back(path.empty() ? entry.name : path + "/" + entry.name, entry.ino);
    }
  } else if (S_ISLNK(attr.mode)) {
    TRY_ASSIGN(const Bytes target, fs.readlink(ino));
    out[path] = "link to " + std::string(target);
  } else {
    TRY_ASSIGN(const auto pieces, fs.read(ino, 0, UINT64_MAX));
    std::string content;
    for (const Value& piece : pieces) content += piece.view();
    if (content.size() != attr.size) return fail(ErrorCode::kCorrupt, path + ": size and content differ");
    out[path] = brief(content);
  }
  return {};
}

// ---- Steps ----

using Act = std::function<Result<void>(FileSystem&)>;

Act create(std::string path) {
  return [path = std::move(path)](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Place place, place_of(fs, path));
    TRY_ASSIGN(const Attr attr, fs.create(place.parent, place.name, 0644, kUser));
    fs.release(attr.ino);
    fs.forget(attr.ino, 1);
    return {};
  };
}

// One chunk at most, so that it happens or does not.
Act write(std::string path, uint64_t offset, std::string data) {
  return [path = std::move(path), offset, data = std::move(data)](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Ino ino, ino_of(fs, path));
    TRY(fs.open(ino, false, false));
    auto written = fs.write(ino, offset, data, false, false);
    fs.release(ino);
    TRY(written);
    return *written == data.size() ? Result<void>() : fail(ErrorCode::kIo, "a short write");
  };
}

Act resize(std::string path, uint64_t size) {
  return [path = std::move(path), size](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Ino ino, ino_of(fs, path));
    AttrChange change;
    change.set_size = true;
    change.size = size;
    TRY(fs.setattr(ino, change));
    return {};
  };
}

// For calls that take a directory and a name.
Act at(std::string path, std::function<Result<void>(FileSystem&, const Place&)> act) {
  return [path = std::move(path), act = std::move(act)](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Place place, place_of(fs, path));
    return act(fs, place);
  };
}

Act make_directory(std::string path) {
  return at(std::move(path), [](FileSystem& fs, const Place& p) -> Result<void> {
    TRY_ASSIGN(const Attr attr, fs.mkdir(p.parent, p.name, 0755, kUser));
    fs.forget(attr.ino, 1);
    return {};
  });
}

Act make_symlink(std::string path, std::string target) {
  return at(std::move(path), [target = std::move(target)](FileSystem& fs, const Place& p) -> Result<void> {
    TRY_ASSIGN(const Attr attr, fs.symlink(p.parent, p.name, target, kUser));
    fs.forget(attr.ino, 1);
    return {};
  });
}

Act make_link(std::string from, std::string to) {
  return at(std::move(to), [from = std::move(from)](FileSystem& fs, const Place& p) -> Result<void> {
    TRY_ASSIGN(const Ino ino, ino_of(fs, from));
    TRY_ASSIGN(const Attr attr, fs.link(ino, p.parent, p.name));
    fs.forget(attr.ino, 1);
    return {};
  });
}

Act unlink(std::string path) {
  return at(std::move(path), [](FileSystem& fs, const Place& p) { return fs.unlink(p.parent, p.name); });
}

Act rename(std::string from, std::string to) {
  return at(std::move(to), [from = std::move(from)](FileSystem& fs, const Place& p) -> Result<void> {
    TRY_ASSIGN(const Place source, place_of(fs, from));
    return fs.rename(source.parent, source.name, p.parent, p.name, 0, kUser);
  });
}

Act set_xattr(std::string path, std::string name, std::string value) {
  return [path = std::move(path), name = std::move(name), value = std::move(value)](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Ino ino, ino_of(fs, path));
    return fs.set_xattr(ino, name, value, XattrMode::kAny);
  };
}

Act fsync(std::string path) {
  return [path = std::move(path)](FileSystem& fs) -> Result<void> {
    TRY_ASSIGN(const Ino ino, ino_of(fs, path));
    return fs.fsync(ino);
  };
}

// Errors that a failing call may lead to. The system's word about a file of the store's is none about the user's: it is
// EIO to them. That something is not there, or there already, is never said.
bool is_honest(const Error& e) {
  switch (e.code) {
    case ErrorCode::kIo:
    case ErrorCode::kNoSpace:
    case ErrorCode::kReadOnly:
    case ErrorCode::kOutOfMemory: return true;
    case ErrorCode::kNotFound:
    case ErrorCode::kExists: return false;
    default: return e.os_errno != 0;
  }
}

std::string chunk(uint64_t salt) { return bytes(salt, 4096); }

StoreGeometry geometry(Mode mode) {
  StoreGeometry g;
  g.mode = mode;
  g.limit = mode == Mode::kCache ? 16 << 20 : 0;
  g.segment_size = 64 << 10;
  g.chunk_size = 4096;
  return g;
}

Result<std::unique_ptr<FileSystem>> mount_tree(io::SimEnv& env) {
  Options options;
  options.commit_interval_ms = 0;
  TRY_ASSIGN(auto store, Store::open(env, kStorePath, options));
  FsOptions fs_options;
  fs_options.caller_caches = true;  // as mounts have it
  return FileSystem::open(std::move(store), fs_options);
}

std::string parent_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::string() : path.substr(0, slash);
}

template <class T>
void must(const Result<T>& result) {
  if (!result) ADD_FAILURE() << to_string(result.error().code) << " " << result.error().message;
}

}  // namespace

Result<TreeState> read_tree(FileSystem& fs) {
  TreeState out;
  std::vector<std::pair<std::string, Ino>> queue{{"", kRootIno}};
  for (size_t i = 0; i < queue.size(); ++i) {
    const auto [path, ino] = queue[i];
    TRY(read_node(fs, path, ino, out, queue));
  }
  return out;
}

io::SimEnv make_base(Mode mode, TreeState* state) {
  io::SimEnv env(3);
  must(make_store(env, kStorePath, geometry(mode), false));
  auto fs = mount_tree(env);
  must(fs);
  must(make_directory("base")(**fs));
  // Nothing is evicted where the disk is full: what is missing was lost by a fault.
  if (mode == Mode::kCache) must((*fs)->set_xattr(kRootIno, "user.cairn.pin", "1", XattrMode::kAny));
  // Written, then mostly written again, so that there is something to merge, to compact and to punch.
  for (unsigned round = 0; round < 3; ++round) {
    for (unsigned i = 0; i < 12; ++i) {
      const std::string path = fmt::format("base/f{}", i);
      if (round == 0) must(create(path)(**fs));
      if (round > 0 && i % 3 == 0) continue;
      for (unsigned k = 0; k < 2; ++k) must(write(path, k * 4096, chunk(round * 100 + i * 2 + k))(**fs));
    }
    must((*fs)->sync());
    env.executor().run_until_idle();
  }
  must(set_xattr("base/f1", "user.large", bytes(7, 12000))(**fs));  // an extent
  must(make_symlink("base/link", "f1")(**fs));
  must((*fs)->sync());
  env.executor().run_until_idle();
  auto read = read_tree(**fs);
  must(read);
  *state = std::move(*read);
  must((*fs)->close());
  return env.peek_crash(io::kNothingLost);
}

const std::vector<FaultWorkload::Step>& FaultWorkload::steps() {
  static const std::vector<Step> kSteps = [] {
    std::vector<Step> s;
    add_small_steps(s);
    add_overwrites(s);
    add_name_steps(s);
    add_last_steps(s);
    return s;
  }();
  return kSteps;
}

void FaultWorkload::add(std::vector<Step>& s, std::string what, std::vector<std::string> needs, StepAct act,
                        StepApply apply) {
  s.push_back({std::move(what), std::move(needs), std::move(act), std::move(apply)});
}
void FaultWorkload::add_sync(std::vector<Step>& s, const std::string& path) {
  s.push_back({"fsync " + path, {path}, fsync(path), [](TreeState&) {}, true});
}
void FaultWorkload::add_create(std::vector<Step>& s, const std::string& path) {
  add(s, "create " + path, {parent_of(path)}, create(path), [path](TreeState& t) { t[path] = ""; });
}
void FaultWorkload::add_write(std::vector<Step>& s, const std::string& path, const std::string& data) {
  add(s, "write " + path, {path}, write(path, 0, data), [path, data](TreeState& t) { t[path] = brief(data); });
}
void FaultWorkload::add_unlink(std::vector<Step>& s, const std::string& path) {
  add(s, "unlink " + path, {path}, unlink(path), [path](TreeState& t) {
    t.erase(path);
    t.erase(path + "@user.x");
  });
}

void FaultWorkload::add_small_steps(std::vector<Step>& s) {
  add(s, "mkdir", {}, make_directory("d"), [](TreeState& t) { t["d"] = "directory"; });
  add_create(s, "d/a");
  add_write(s, "d/a", "small");
  add_sync(s, "d/a");
  add(s, "append", {"d/a"}, write("d/a", 5, " and more"),
      [](TreeState& t) { t["d/a"] = (t["d/a"].empty() ? std::string(5, '\0') : t["d/a"]) + " and more"; });
  add_sync(s, "d/a");
  for (unsigned i = 0; i < 6; ++i) {
    const std::string path = fmt::format("d/big{}", i);
    add_create(s, path);
    add_write(s, path, chunk(1000 + i));
  }
  add(s, "extent", {"d/a"}, set_xattr("d/a", "user.x", bytes(8, 9000)),
      [](TreeState& t) { t["d/a@user.x"] = brief(bytes(8, 9000)); });
  add_sync(s, "d");
}

void FaultWorkload::add_overwrites(std::vector<Step>& s) {
  for (unsigned i = 0; i < 12; i += 2) {
    const std::string path = fmt::format("base/f{}", i);
    const std::string data = chunk(2000 + i) + chunk((i % 3 == 0 ? 0 : 200) + i * 2 + 1);  // see make_base()
    add(s, "overwrite " + path, {path}, write(path, 0, chunk(2000 + i)),
        [path, data](TreeState& t) { t[path] = brief(data); });
  }
  add(s, "background", {}, nullptr, nullptr);
  add(s, "cut", {"base/f1"}, resize("base/f1", 10),
      [](TreeState& t) { t["base/f1"] = brief(chunk(200 + 2).substr(0, 10)); });
}

void FaultWorkload::add_name_steps(std::vector<Step>& s) {
  add(s, "rename", {"d/big0"}, rename("d/big0", "base/moved"), [](TreeState& t) {
    t["base/moved"] = t["d/big0"];
    t.erase("d/big0");
  });
  add(s, "replace", {"d/big1", "d/big2"}, rename("d/big1", "d/big2"), [](TreeState& t) {
    t["d/big2"] = t["d/big1"];
    t.erase("d/big1");
  });
  add(s, "link", {"d/a"}, make_link("d/a", "hard"), [](TreeState& t) {
    t["hard"] = t["d/a"];
    if (const auto x = t.find("d/a@user.x"); x != t.end()) t["hard@user.x"] = x->second;
  });
  add(s, "symlink", {}, make_symlink("soft", "d/a"), [](TreeState& t) { t["soft"] = "link to d/a"; });
  add_unlink(s, "base/f3");
  add_sync(s, "base");
  for (unsigned i = 5; i < 12; i += 2) add_unlink(s, fmt::format("base/f{}", i));
  add(s, "background", {}, nullptr, nullptr);
}

void FaultWorkload::add_last_steps(std::vector<Step>& s) {
  for (unsigned i = 0; i < 8; ++i) {
    const std::string path = fmt::format("n{}", i);
    add_create(s, path);
    add_write(s, path, chunk(3000 + i));
    if (i % 4 == 3) add_sync(s, path);
  }
  add_unlink(s, "hard");
  add(s, "background", {}, nullptr, nullptr);
  add(s, "write n1", {"n1"}, write("n1", 0, chunk(4000)), [](TreeState& t) { t["n1"] = brief(chunk(4000)); });
}

FaultWorkload::FaultWorkload(io::SimEnv env, TreeState base, Mode mode)
    : env_(std::make_unique<io::SimEnv>(std::move(env))), mode_(mode) {
  history_.push_back(std::move(base));
}

FaultWorkload::~FaultWorkload() = default;

void FaultWorkload::note(const std::string& what, const Result<void>& done) {
  if (done) return;
  ++failed_;
  errors_.push_back(done.error().code);
  EXPECT_TRUE(is_honest(done.error())) << what << " says: " << to_string(done.error().code) << " "
                                       << done.error().message;
}

bool FaultWorkload::open() {
  auto fs = mount_tree(*env_);
  if (fs) {
    fs_ = std::move(*fs);
    return true;
  }
  // A store of which a file seems to be missing is damaged, as far as anybody can tell.
  const Error& e = fs.error();
  EXPECT_TRUE(is_honest(e) || !e.message.empty()) << to_string(e.code);
  ++failed_;
  return false;
}

void FaultWorkload::run(const std::function<void()>& between) {
  for (const Step& step : steps()) {
    if (between) between();
    if (!step.act) {
      env_->executor().run_until_idle();
      continue;
    }
    // What an earlier step did not do, this one cannot build on.
    TreeState next = history_.back();
    if (!std::all_of(step.needs.begin(), step.needs.end(), [&](const auto& path) { return next.contains(path); }))
      continue;
    step.apply(next);
    const auto done = step.act(*fs_);
    note(step.what, done);
    if (!done) continue;
    if (step.syncs) {
      if (mode_ == Mode::kCas) synced_ = history_.size() - 1;
    } else {
      history_.push_back(std::move(next));
    }
  }
}

void FaultWorkload::expect_readable() {
  const auto read = read_tree(*fs_);
  ASSERT_TRUE(read) << "cannot be read: " << to_string(read.error().code) << " " << read.error().message;
  for (const auto& [path, content] : history_.back()) {
    const auto found = read->find(path);
    ASSERT_TRUE(found != read->end()) << path << " is gone";
    EXPECT_EQ(found->second, content) << path;
  }
  EXPECT_EQ(read->size(), history_.back().size());
}

void FaultWorkload::expect_works_or_says_why() {
  stats_ = fs_->store_stats();
  const auto created = create("afterwards")(*fs_);
  if (stats_.read_only) {
    EXPECT_FALSE(created.has_value()) << "a store that calls itself read-only took a change";
    EXPECT_FALSE(stats_.read_only_reason.empty());
    EXPECT_FALSE(fs_->sync().has_value() && mode_ == Mode::kCas) << "a sync succeeded after the store had failed";
    if (created) return;
    EXPECT_EQ(created.error().code, ErrorCode::kReadOnly) << created.error().message;
    return;
  }
  ASSERT_TRUE(created) << "neither works nor says that it does not: " << to_string(created.error().code) << " "
                       << created.error().message;
  history_.push_back(history_.back());
  history_.back()["afterwards"] = "";
  const auto synced = fs_->sync();
  ASSERT_TRUE(synced) << synced.error().message;
  if (mode_ == Mode::kCas) synced_ = history_.size() - 1;
}

void FaultWorkload::close() {
  stats_ = fs_->store_stats();
  const auto closed = fs_->close();
  note("close", closed);
  if (closed) synced_ = history_.size() - 1;
}

void FaultWorkload::expect_clean() {
  FsckOptions options;
  options.scrub = true;
  const auto report = fsck(*env_, kStorePath, options);
  ASSERT_TRUE(report) << report.error().message;
  for (const FsckFinding& f : report->findings)
    ADD_FAILURE() << "fsck: pass " << f.pass << " " << f.file << " " << f.structure << " at " << f.offset << ": "
                  << f.message;
}

void FaultWorkload::recover(const std::optional<io::CrashChoice>& choice) {
  auto next = std::make_unique<io::SimEnv>(choice ? env_->crash(*choice) : env_->kill());
  fs_.reset();
  env_ = std::move(next);
  auto fs = mount_tree(*env_);
  ASSERT_TRUE(fs) << "does not open again: " << to_string(fs.error().code) << " " << fs.error().message;
  const auto read = read_tree(**fs);
  ASSERT_TRUE(read) << "cannot be read: " << to_string(read.error().code) << " " << read.error().message;
  size_t match = history_.size();
  while (match > synced_ && history_[match - 1] != *read) --match;
  if (match == synced_) {
    ADD_FAILURE() << "what survived is no state since the last sync, which was state " << synced_ << " of "
                  << history_.size() - 1;
    for (const auto& [path, content] : history_[synced_])
      if (!read->contains(path) || read->at(path) != content) ADD_FAILURE() << "first: " << path;
    return;
  }
  must(create("again")(**fs));
  must((*fs)->sync());
  must((*fs)->close());
  expect_clean();
}

}  // namespace cairn::crash
