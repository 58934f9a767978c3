#include "io/sim_env.h"

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "io/os_error.h"

namespace cairn::io {
namespace {

// Splits "a/b/c" into "a/b" and "c".
std::pair<std::string_view, std::string_view> split(std::string_view path) {
  while (!path.empty() && path.back() == '/') path.remove_suffix(1);
  const size_t slash = path.rfind('/');
  if (slash == std::string_view::npos) return {"", path};
  return {path.substr(0, slash), path.substr(slash + 1)};
}

}  // namespace

SimEnv::SimEnv(uint64_t seed) : SimEnv(SimDisk(), seed) {}

// The executor points at the world, which stays where it is when the SimEnv moves.
SimEnv::SimEnv(SimDisk disk, uint64_t seed)
    : world_(std::make_shared<SimWorld>(std::move(disk), seed)),
      executor_(std::make_unique<SimExecutor>(
          seed, [world = world_.get()](std::chrono::milliseconds time) { world->pass(time); })) {}

NodeId SimEnv::find(std::string_view path) const {
  NodeId node = kRootNode;
  while (node != 0 && !path.empty()) {
    // Empty components are skipped, so "/a//b" is "a/b". There are no links to follow.
    const size_t end = std::min(path.find('/'), path.size());
    const std::string_view name = path.substr(0, end);
    path.remove_prefix(std::min(end + 1, path.size()));
    if (name.empty()) continue;
    node = world_->disk.is_dir(node) ? world_->disk.lookup(node, name) : 0;
  }
  return node;
}

Result<std::unique_ptr<Directory>> SimEnv::open_dir(const std::string& path) {
  const auto verdict = world_->enter(CallKind::kOpen, path);
  if (!verdict.ok()) return fail(SimWorld::error(verdict, "open directory", path, {}));
  const NodeId node = find(path);
  if (node == 0) return fail(os_error(ENOENT, "open directory", path, {}));
  if (!world_->disk.is_dir(node)) return fail(os_error(ENOTDIR, "open directory", path, {}));
  return make_sim_directory(world_, node, path);
}

Result<void> SimEnv::make_dir(const std::string& path) {
  const auto verdict = world_->enter(CallKind::kMakeDir, path);
  if (!verdict.ok()) return fail(SimWorld::error(verdict, "make directory", path, {}));
  const auto [parent, name] = split(path);
  const NodeId dir = find(parent);
  int err = 0;
  if (name.empty()) {
    err = EEXIST;  // the root
  } else if (dir == 0) {
    err = ENOENT;
  } else if (!world_->disk.is_dir(dir)) {
    err = ENOTDIR;
  } else {
    err = world_->disk.make_dir(dir, name);
  }
  if (err != 0) return fail(os_error(err, "make directory", path, {}));
  return {};
}

SimEnv SimEnv::successor(SimDisk disk, uint64_t salt) const {
  // A seed of its own: what happens after two crashes of one run must not be the same dice twice. The clocks go on, as
  // after a reboot.
  SimEnv env(std::move(disk), SimRandom(world_->seed, salt + 100).next());
  env.world_->now = world_->now;
  env.world_->monotonic_ms = world_->monotonic_ms;
  return env;
}

SimEnv SimEnv::after(SimDisk& disk, CrashChoice choice) const {
  // Streams below 100 are the world's own.
  SimRandom chance(world_->seed, choice.seed + 100);
  switch (choice.keep) {
    case CrashChoice::Keep::kAll: return successor(crash_to_current(disk), choice.seed);
    case CrashChoice::Keep::kNone: return successor(crash_to_synced(disk), choice.seed);
    case CrashChoice::Keep::kRandom: return successor(crash_at_random(disk, choice.names, chance), choice.seed);
  }
  // Never reached: every choice is handled above.
  return successor(disk.fork(), choice.seed);
}

SimEnv SimEnv::crash(CrashChoice choice) {
  // First: from here on the old handles fail, so that a job which still runs cannot write to the disk that is being
  // copied.
  world_->die();
  return after(world_->disk, choice);
}

SimEnv SimEnv::kill() {
  world_->die();
  // fork() keeps the page cache: only the process is gone. Handles are closed, and unlinked files with them.
  return successor(world_->disk.fork(), 0);
}

SimEnv SimEnv::crash_before(size_t k, CrashChoice choice) { return after(world_->disk_before(k), choice); }

SimEnv::States SimEnv::states_of(const SimDisk& disk, size_t limit, NameOrder names) const {
  States states;
  // A stream of its own, so that enumerating does not change what the run draws next.
  SimRandom chance(world_->seed, 3);
  StateHash hash;
  const CrashSearch search{.order = names, .limit = limit};
  states.complete = enumerate_crashes(disk, search, hash, chance, [&](SimDisk state, uint64_t) {
    states.envs.push_back(successor(std::move(state), states.envs.size()));
  });
  return states;
}

SimEnv::States SimEnv::crash_states(size_t limit, NameOrder names) { return states_of(world_->disk, limit, names); }

SimEnv::States SimEnv::crash_states_before(size_t k, size_t limit, NameOrder names) {
  return states_of(world_->disk_before(k), limit, names);
}

void SimEnv::keep_history() {
  // Later it would be a history with a hole at its start.
  CHECK(world_->mutations.empty());
  world_->keep_history = true;
}

void SimEnv::set_capacity(uint64_t bytes) {
  // Less than a page would be rounded to 0, which has no end.
  CHECK(bytes == 0 || bytes >= kPageSize);
  world_->disk.set_capacity(bytes / kPageSize);
}

// What follows is for tests: a wrong path is a bug of the test, so it is a CHECK and not an Error.
NodeId SimEnv::file(std::string_view path) const {
  const NodeId node = find(path);
  CHECK(node != 0 && !world_->disk.is_dir(node));
  return node;
}

const SimContent& SimEnv::current(std::string_view path) const { return *world_->disk.files().at(file(path)).current; }

bool SimEnv::exists(std::string_view path) const { return find(path) != 0; }

std::vector<std::string> SimEnv::list(std::string_view path) const {
  const NodeId node = find(path);
  CHECK(node != 0 && world_->disk.is_dir(node));
  std::vector<std::string> names;
  for (const auto& [name, child] : world_->disk.dirs().at(node).current) names.push_back(name);
  return names;
}

uint64_t SimEnv::size(std::string_view path) const { return current(path).size(); }

Bytes SimEnv::content(std::string_view path) const {
  const SimContent& content = current(path);
  Bytes bytes(content.size(), '\0');
  CHECK(content.read(0, bytes) == bytes.size());
  return bytes;
}

void SimEnv::flip_bit(std::string_view path, uint64_t offset, unsigned bit) {
  CHECK(offset < size(path) && bit < 8);
  world_->disk.damage(file(path), [&](SimContent& content) {
    char byte = 0;
    // Called once for the disk and once for the cache, which may have different sizes.
    if (content.read(offset, {&byte, 1}) == 0) return;  // unsynced, so there only in the cache
    byte = static_cast<char>(byte ^ (1 << bit));
    content.write(offset, {&byte, 1});
  });
}

void SimEnv::overwrite(std::string_view path, uint64_t offset, ByteView bytes) {
  world_->disk.damage(file(path), [&](SimContent& content) {
    const uint64_t size = content.size();
    content.write(offset, bytes);
    // Damage never makes a file longer.
    if (content.size() > size) content.resize(size);
  });
}

void SimEnv::zero_sector(std::string_view path, uint64_t sector) {
  world_->disk.damage(file(path), [&](SimContent& content) { content.set_sector(sector, nullptr); });
}

void SimEnv::swap_sectors(std::string_view path, uint64_t a, uint64_t b) {
  world_->disk.damage(file(path), [&](SimContent& content) {
    Bytes first(kSectorSize, '\0');
    Bytes second(kSectorSize, '\0');
    const uint64_t size = content.size();
    first.resize(content.read(a * kSectorSize, first));
    second.resize(content.read(b * kSectorSize, second));
    content.write(a * kSectorSize, second);
    content.write(b * kSectorSize, first);
    content.resize(size);
  });
}

void SimEnv::set_unreadable(std::string_view path, uint64_t sector, uint64_t count) {
  world_->disk.set_unreadable(file(path), sector, count);
}

void SimEnv::truncate(std::string_view path, uint64_t size) {
  world_->disk.damage(file(path), [&](SimContent& content) {
    if (size < content.size()) content.resize(size);
  });
}

void SimEnv::copy_content(std::string_view from, std::string_view to) {
  // A copy: `from` and `to` may be one file.
  const SimContent source = current(from);
  world_->disk.damage(file(to), [&](SimContent& content) { content = source; });
}

void SimEnv::remove(std::string_view path) {
  const auto [parent, name] = split(path);
  const NodeId dir = find(parent);
  // Durably, as if somebody had deleted it while the store was closed.
  CHECK(dir != 0 && world_->disk.unlink(dir, name) == 0);
  world_->disk.sync_dir(dir);
}

}  // namespace cairn::io
