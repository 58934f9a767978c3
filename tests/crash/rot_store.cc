#include "crash/rot_store.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "cairn/filesystem.h"
#include "cairn/fsck.h"
#include "index/manifest.h"
#include "log/scan.h"
#include "store/check_store.h"
#include "store/segment_set.h"

namespace cairn::crash {
namespace {

constexpr char kPath[] = "/store";
constexpr Caller kUser{.uid = 1000, .gid = 100, .umask = 0};

// ---- Making it ----

std::string noise(uint64_t salt, size_t size) {
  std::string out;
  uint64_t x = salt * 0x9e3779b97f4a7c15 + 1;
  while (out.size() < size) {
    x ^= x << 13, x ^= x >> 7, x ^= x << 17;
    out.append(reinterpret_cast<const char*>(&x), sizeof x);
  }
  out.resize(size);
  return out;
}

std::string text(uint64_t salt, size_t size) {
  std::string out;
  while (out.size() < size) out += fmt::format("line {} of text {}\n", out.size(), salt);
  out.resize(size);
  return out;
}

template <class T>
T take(Result<T> result) {
  if (!result) fmt::print(stderr, "making a store: {}\n", result.error().message);
  CHECK(result.has_value());
  return std::move(*result);
}

Options quiet() {
  Options options;
  options.commit_interval_ms = 0;
  return options;
}

class Builder {
 public:
  explicit Builder(const char* compression) : env_(std::make_unique<io::SimEnv>(5)) {
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    geometry.compression = compression;
    CHECK(make_store(*env_, kPath, geometry, false).has_value());
    first_session();
    for (unsigned i = 0; i < 6; ++i) {
      session(i);
      if (i == 1 || i == 4) older_.push_back(std::make_unique<io::SimEnv>(env_->peek_crash(io::kNothingLost)));
      settle();
    }
    session(6);
    session(7);
    older_.push_back(std::make_unique<io::SimEnv>(env_->peek_crash(io::kNothingLost)));
    session(8);
    for (unsigned i = 0; i < 2;
         ++i) {  // the first of them is dead but for a little: worth a compaction, which gets stuck
      open();
      for (unsigned n = 0; n < 6; ++n) write("bulk", noise(60 + 6 * i + n, 4096), 4096 * n);
      close();
      if (i == 0) settle();
    }
    settle(true);
  }

  void die_in_the_middle() {
    open();
    write("late", text(50, 500));
    CHECK(fs_->sync().has_value());
    write("small", "newer small");
    write("late", noise(51, 900));
    CHECK(fs_->sync().has_value());
    write("after", noise(52, 300));
    CHECK(fs_->sync().has_value());
    auto next = std::make_unique<io::SimEnv>(env_->kill());
    fs_.reset();
    env_ = std::move(next);
    env_->sync_all();
  }

  std::unique_ptr<io::SimEnv> take_env() { return std::move(env_); }
  std::vector<std::unique_ptr<io::SimEnv>> take_older() { return std::move(older_); }

 private:
  void open() { fs_ = take(FileSystem::open(take(Store::open(*env_, kPath, quiet())), {})); }
  void close() {
    CHECK(fs_->close().has_value());
    fs_.reset();
  }
  // `stuck`: nothing that is replaced can be unlinked, so its id stays retired, and its file there.
  void settle(bool stuck = false) {
    const auto store = take(Store::open(*env_, kPath, quiet()));
    if (stuck) env_->inject({.kind = io::CallKind::kUnlink, .file = ".seg", .from_then_on = true});
    const auto settled = store->settle();
    CHECK(settled.has_value() || stuck);
    const auto closed = store->close();
    CHECK(closed.has_value() || stuck);
    env_->clear_faults();
  }
  Ino file(const std::string& name) {
    auto found = fs_->lookup(kRootIno, name);
    if (!found) found = fs_->create(kRootIno, name, 0644, kUser);
    CHECK(found.has_value());
    return found->ino;
  }
  void write(const std::string& name, const std::string& data, uint64_t offset = 0) {
    CHECK(fs_->write(file(name), offset, data, false, false).has_value());
  }
  void first_session() {
    open();
    write("small", "small");
    write("raw", noise(1, 1500));
    write("packed", text(2, 3000));
    write("kept", noise(3, 700));
    for (unsigned i = 0; i < 4; ++i) write("solid", noise(40 + i, 4096), 4096 * i);  // not worth a compaction
    const Ino dir = fs_->mkdir(kRootIno, "dir", 0755, kUser)->ino;
    CHECK(fs_->symlink(dir, "sym", "../small", kUser).has_value());
    CHECK(fs_->link(file("kept"), dir, "hard").has_value());
    CHECK(fs_->set_xattr(file("raw"), "user.noise", noise(4, 8300), XattrMode::kAny).has_value());  // extents
    CHECK(fs_->set_xattr(file("packed"), "user.text", text(5, 12000), XattrMode::kAny).has_value());
    CHECK(fs_->set_xattr(file("small"), "user.tiny", "t", XattrMode::kAny).has_value());
    close();
  }
  void session(unsigned i) {
    open();
    write("raw", noise(10 + i, 1500));
    write("packed", fmt::format("patch {}", i), 100 * i);
    write(fmt::format("file{}", i), i % 2 == 0 ? noise(20 + i, 600) : text(30 + i, 600));
    if (i >= 2) CHECK(fs_->unlink(kRootIno, fmt::format("file{}", i - 2)).has_value());
    close();
  }

  std::unique_ptr<io::SimEnv> env_;
  std::unique_ptr<FileSystem> fs_;
  std::vector<std::unique_ptr<io::SimEnv>> older_;
};

// ---- Knowing what is where ----

Values read_values(const Store& store) {
  Values out;
  Cursor cursor = store.scan({});
  for (; cursor.valid(); cursor.next()) {
    const auto value = cursor.value();
    CHECK(value.has_value());
    out[Bytes(cursor.key())] = value->view();
  }
  CHECK(cursor.status().has_value());
  return out;
}

using Newest = std::map<Bytes, SeqNo>;

struct Mapped {
  RotFile file;
  std::vector<std::pair<size_t, SeqNo>> seqs;  // of its records
};

// The records of a segment. `sealed`: the manifest names it.
Mapped map_segment(io::SimEnv& env, const std::string& name, bool sealed, Newest& newest) {
  Mapped out;
  out.file.path = std::string(kPath) + "/segments/" + name;
  out.file.size = env.size(out.file.path);
  auto directory = env.open_dir(std::string(kPath) + "/segments");
  CHECK(directory.has_value());
  auto file = (*directory)->open(name, {});
  CHECK(file.has_value());
  const auto id = format::parse_segment_file_name(name);
  const auto header = log::read_segment_header(**file, name, *id, nullptr);
  CHECK(header.has_value());
  // Nothing that is not elsewhere: it goes with the next open.
  const bool is_log = header->kind == format::SegmentKind::kLog;
  if (header->prepared || (!sealed && !is_log)) {
    out.file.size = std::min<uint64_t>(out.file.size, 4096);
    return out;
  }
  log::ScanOptions options;
  if (sealed && header->kind != format::SegmentKind::kExtent) {
    auto files = std::make_shared<store::SegmentFiles>();
    files->directory = std::move(*directory);
    files->files = std::make_shared<io::FileCache>();
    files->blocks = std::make_shared<index::BlockCache>(1 << 20);
    index::ManifestSegment probe;
    probe.id = *id;
    probe.salt = header->salt;
    const auto footer = store::Segment(probe, files).footer();
    CHECK(footer.has_value());
    options.sealed_end = out.file.index_from = (*footer)->trailer().base;
  }
  const auto scan = log::scan_segment(**file, *header, options);
  CHECK(scan.has_value() && scan->damage.empty());
  out.file.found_until = out.file.size;
  if (!sealed) {
    out.file.unsealed = true;
    out.file.size = std::min(out.file.size, scan->end + 512);  // what follows are zeros that mean nothing
    out.file.found_until = scan->marks.empty() ? 0 : scan->marks.back().mark.durable_offset;
  }
  uint64_t batch = 0;
  for (const log::ScannedRecord& r : scan->records) {
    RecordSpan span{.begin = r.offset,
                    .end = r.offset + format::record_size(r.key.size(), r.stored.size()),
                    .key = Bytes(r.key),
                    .newest = false,
                    .commit = 0,
                    .batch = batch};
    if ((r.header.flags & format::kBatchLast) != 0) ++batch;
    for (const log::ScannedMark& m : scan->marks)
      if (m.mark.start_offset <= r.offset) span.commit = m.mark.start_offset;
    if (header->kind == format::SegmentKind::kExtent) {
      span.newest = true;        // extents that are replaced are gone
      span.end = out.file.size;  // read with the hole that compression leaves
    } else {
      out.seqs.emplace_back(out.file.records.size(), r.header.seq);
      newest[span.key] = std::max(newest[span.key], r.header.seq);
    }
    out.file.records.push_back(std::move(span));
  }
  return out;
}

std::vector<RotFile> map_files(io::SimEnv& env, bool killed) {
  auto directory = env.open_dir(kPath);
  CHECK(directory.has_value());
  const auto superblock = env.content("/store/superblock");
  std::array<unsigned char, 16> uuid;
  std::copy_n(superblock.begin() + 16, uuid.size(), uuid.begin());
  const auto manifest = index::read_manifest(**directory, uuid);
  CHECK(manifest.has_value());
  CHECK(!manifest->runs.empty());

  std::vector<RotFile> out;
  for (const char* name : {"superblock", "manifest"}) {
    const std::string path = std::string(kPath) + "/" + name;
    out.push_back({.path = path, .size = env.size(path), .records = {}, .found_until = env.size(path)});
  }
  for (const auto& run : manifest->runs)
    for (const auto& table : run.tables) {
      const std::string path = std::string(kPath) + "/index/" + index::table_file_name(table.id);
      out.push_back(
          {.path = path, .size = env.size(path), .records = {}, .found_until = env.size(path), .index_from = 0});
    }
  Newest newest;
  std::vector<Mapped> segments;
  std::set<format::SegmentKind> kinds;
  bool uncovered = false, covered = false, retired = false;
  for (const std::string& name : env.list("/store/segments")) {
    const auto id = format::parse_segment_file_name(name);
    if (!id) continue;  // its creation was going on
    const auto named =
        std::find_if(manifest->segments.begin(), manifest->segments.end(), [&](const auto& s) { return s.id == *id; });
    if (std::find(manifest->retired.begin(), manifest->retired.end(), *id) != manifest->retired.end()) {
      retired = true;
      const std::string path = std::string(kPath) + "/segments/" + name;
      out.push_back({.path = path, .size = env.size(path), .records = {}});
      continue;
    }
    const bool sealed = named != manifest->segments.end();
    if (sealed) {
      kinds.insert(named->kind);
      if (named->kind == format::SegmentKind::kLog) (named->covered ? covered : uncovered) = true;
    }
    segments.push_back(map_segment(env, name, sealed, newest));
  }
  CHECK(kinds.size() == 3 && covered && uncovered && (retired || killed));
  for (Mapped& m : segments) {
    for (const auto& [index, seq] : m.seqs) m.file.records[index].newest = newest.at(m.file.records[index].key) == seq;
    out.push_back(std::move(m.file));
  }
  return out;
}

RotWorld make_world(Builder& builder, bool killed) {
  RotWorld world;
  world.env = builder.take_env();
  world.older = builder.take_older();
  world.files = map_files(*world.env, killed);
  Options options = quiet();
  options.read_only = true;
  world.values = read_values(*take(Store::open(*world.env, kPath, options)));
  FsckOptions scrub;
  scrub.scrub = true;
  const auto report = fsck(*world.env, kPath, scrub);
  CHECK(report.has_value());
  for (const FsckFinding& f : report->findings) ADD_FAILURE() << f.file << " " << f.structure << ": " << f.message;
  return world;
}

}  // namespace

Keys RotFile::lost(uint64_t begin, uint64_t end, bool with_batches) const {
  Keys out;
  uint64_t cut = UINT64_MAX;  // from here on a torn tail takes all
  if (unsealed && end > found_until) {
    cut = begin;
    const uint64_t proven = end == UINT64_MAX ? 0 : found_until;  // what proves it may be gone as well
    for (const RecordSpan& r : records)
      if (r.commit <= begin) cut = std::min(begin, std::max(r.commit, proven));
  }
  std::set<uint64_t> batches;
  for (const RecordSpan& r : records) {
    const bool hit = r.begin < end && begin < r.end;
    if (hit && (unsealed || with_batches)) batches.insert(r.batch);
    if ((hit && r.newest) || r.begin >= cut) out.insert(r.key);
  }
  for (const RecordSpan& r : records)
    if (batches.contains(r.batch)) out.insert(r.key);
  return out;
}

RotWorld closed_store(const char* compression) {
  Builder builder(compression);
  return make_world(builder, false);
}

RotWorld killed_store(const char* compression) {
  Builder builder(compression);
  builder.die_in_the_middle();
  return make_world(builder, true);
}

RotShare rot_share(uint64_t usual) {
  const char* value = std::getenv("CAIRNFS_ROT");
  if (value == nullptr) return {.step = usual};
  char* end = nullptr;
  RotShare out{.step = std::max<uint64_t>(1, std::strtoull(value, &end, 10))};
  if (*end == ':') out.first = std::strtoull(end + 1, nullptr, 10) % out.step;
  return out;
}

// ---- Checking ----

void RotCheck::run(io::SimEnv& damaged) const {
  check_fsck(damaged);
  check_reads(damaged, false);
  if (writes) {
    io::SimEnv copy = damaged.peek_crash(io::kNothingLost);
    check_writes(copy);
  }
  if (!rebuild) return;
  FsckOptions options;
  options.rebuild_index = true;
  options.scrub = true;
  const auto rebuilt = fsck(damaged, kPath, options);
  if (!rebuilt && rebuilt.error().code == ErrorCode::kUnsupported) return;
  ASSERT_TRUE(rebuilt.has_value()) << "rebuild: " << rebuilt.error().message;
  check_reads(damaged, true);
}

void RotCheck::check_fsck(io::SimEnv& env) const {
  FsckOptions options;
  options.scrub = true;
  const auto report = fsck(env, kPath, options);
  if (!report) {
    EXPECT_NE(report.error().message.find(kPath), std::string::npos) << report.error().message;
    return;
  }
  if (must_find) {
    EXPECT_FALSE(report->findings.empty()) << "fsck --scrub finds nothing";
    const bool named = std::any_of(report->findings.begin(), report->findings.end(), [&](const FsckFinding& f) {
      return !f.file.empty() && file.find(f.file) != std::string::npos;
    });
    EXPECT_TRUE(named) << "no finding names " << file << " but: " << report->findings[0].file << " "
                       << report->findings[0].message;
  }
}

void RotCheck::check_reads(io::SimEnv& env, bool after_rebuild) const {
  Options options = quiet();
  options.read_only = true;
  const auto store = Store::open(env, kPath, options);
  if (store) return check_values(**store, after_rebuild);
  EXPECT_FALSE(after_rebuild) << "does not open after the rebuild: " << store.error().message;
  EXPECT_NE(store.error().message.find(kPath), std::string::npos) << store.error().message;
  // A damaged version looks like that of a later program.
  if (unreadable || store.error().code == ErrorCode::kUnsupported) return;
  EXPECT_NE(store.error().message.find("fsck.cairnfs"), std::string::npos) << store.error().message;
}

void RotCheck::check_values(const Store& store, bool after_rebuild) const {
  for (const auto& [key, value] : world.values) {
    const auto got = store.get(key);
    if (got && got->view() == value) continue;
    const bool may_fail = lost.contains(key);
    const bool forgets = may_forget || (whole && after_rebuild);
    if (got) {
      EXPECT_TRUE(may_fail && forgets) << "reads wrong bytes under " << store::escaped(key);
    } else if (got.error().code == ErrorCode::kNotFound) {
      EXPECT_TRUE(may_fail && forgets) << store::escaped(key) << " reads as if it had never been";
    } else {
      const bool says_so = got.error().code == (unreadable ? ErrorCode::kIo : ErrorCode::kCorrupt) ||
                           (index && got.error().code == ErrorCode::kUnsupported);
      EXPECT_TRUE(says_so) << to_string(got.error().code) << " " << got.error().message;
      EXPECT_TRUE(may_fail || (index && !after_rebuild))
          << store::escaped(key) << " is lost for no reason: " << got.error().message;
    }
  }
  Cursor cursor = store.scan({});
  for (; cursor.valid(); cursor.next())
    EXPECT_TRUE(world.values.contains(Bytes(cursor.key())) || may_forget || (whole && after_rebuild))
        << "a key that was erased is back: " << store::escaped(cursor.key());
}

void RotCheck::check_writes(io::SimEnv& env) const {
  auto store = Store::open(env, kPath, quiet());
  if (!store) {
    EXPECT_TRUE(store.error().code == ErrorCode::kUnsupported ||
                store.error().message.find("fsck.cairnfs") != std::string::npos)
        << store.error().message;
    return;
  }
  check_values(**store, false);
  WriteBatch batch;
  batch.put("new key", "new value");
  const auto written = (*store)->write(batch, Durability::kSync);
  ASSERT_TRUE(written.has_value()) << written.error().message;
  // Maintenance may refuse to go on over damage, but it must not make things worse.
  (void)(*store)->settle();
  (void)(*store)->close();
  Options options = quiet();
  options.read_only = true;
  store->reset();
  const auto again = Store::open(env, kPath, options);
  ASSERT_TRUE(again.has_value()) << "opened, and does not open again: " << again.error().message;
  const auto got = (*again)->get("new key");
  EXPECT_TRUE(got && got->view() == "new value");
}

}  // namespace cairn::crash
