#include "io/sim_world.h"

#include <cerrno>
#include <utility>

#include "base/check.h"
#include "io/os_error.h"

namespace cairn::io {

// For messages of tests.
std::string_view to_string(CallKind kind) {
  switch (kind) {
    case CallKind::kRead: return "read";
    case CallKind::kWrite: return "write";
    case CallKind::kSync: return "sync";
    case CallKind::kTruncate: return "truncate";
    case CallKind::kAllocate: return "allocate";
    case CallKind::kPunch: return "punch";
    case CallKind::kStat: return "stat";
    case CallKind::kClose: return "close";
    case CallKind::kOpen: return "open";
    case CallKind::kCreate: return "create";
    case CallKind::kMakeDir: return "make directory";
    case CallKind::kRename: return "rename";
    case CallKind::kUnlink: return "unlink";
    case CallKind::kList: return "list";
    case CallKind::kSyncDir: return "sync directory";
    case CallKind::kLock: return "lock";
  }
  return "unknown";
}

// What a crash can come before, one by one. Closing and locking leave nothing on a disk.
bool is_mutation(CallKind kind) {
  switch (kind) {
    case CallKind::kWrite:
    case CallKind::kSync:
    case CallKind::kTruncate:
    case CallKind::kAllocate:
    case CallKind::kPunch:
    case CallKind::kCreate:
    case CallKind::kMakeDir:
    case CallKind::kRename:
    case CallKind::kUnlink:
    case CallKind::kSyncDir: return true;
    case CallKind::kRead:
    case CallKind::kStat:
    case CallKind::kClose:
    case CallKind::kOpen:
    case CallKind::kList:
    case CallKind::kLock: return false;
  }
  return false;
}

SimWorld::SimWorld(SimDisk first_disk, uint64_t first_seed)
    : disk(std::move(first_disk)),
      seed(first_seed),
      random(first_seed, 1),
      fault_random(first_seed, 2),
      now{.seconds = 1'700'000'000} {}

SimWorld::Verdict SimWorld::enter(CallKind kind, std::string_view file, uint64_t offset, uint64_t length) {
  // Before anything is counted: what a dead process would still do is not part of the run.
  if (dead) return {.err = EIO, .crashed = true};
  ++calls;
  Verdict verdict;
  for (Fault& fault : faults) {
    const bool matches = (!fault.kind || *fault.kind == kind) && file.find(fault.file) != std::string_view::npos;
    if (!matches || fault.nth == 0) continue;  // 0: it has been
    if (fault.nth > 1) {
      --fault.nth;
      continue;
    }
    DCHECK(fault.nth == 1);
    if (!fault.from_then_on) fault.nth = 0;
    // Counted, so that a test can tell a fault that was survived from one that never happened.
    ++faults_hit;
    if (fault.effect == Fault::Effect::kLose) {
      verdict.lose = true;
    } else if (verdict.err == 0) {
      verdict.err = fault.err;
    }
  }
  if (!is_mutation(kind)) return verdict;
  // The process dies before this call does anything, whatever else was planned for it.
  if (crash_point && mutations.size() >= *crash_point) {
    dead = true;
    return {.err = EIO, .crashed = true};
  }
  // Before the call, also if it will fail: half of a write may land.
  if (keep_history) history.push_back(disk.fork());
  mutations.push_back(
      {.kind = kind, .file = std::string(file), .offset = offset, .length = length, .err = verdict.err});
  return verdict;
}

void SimWorld::die() {
  dead = true;
  // As flock: a process that dies holds nothing.
  locks.clear();
}

void SimWorld::pass(std::chrono::milliseconds time) {
  constexpr int64_t kNanosPerSecond = 1'000'000'000;
  monotonic_ms += static_cast<uint64_t>(time.count());
  CHECK(time.count() >= 0 && now.nanoseconds < kNanosPerSecond);
  const int64_t nanos = now.nanoseconds + time.count() % 1000 * 1'000'000;
  now.seconds += time.count() / 1000 + nanos / kNanosPerSecond;
  now.nanoseconds = static_cast<uint32_t>(nanos % kNanosPerSecond);
}

SimDisk& SimWorld::disk_before(size_t k) {
  // The disk as it is: a crash now.
  if (k == mutations.size()) return disk;
  CHECK(k < history.size());
  CHECK(history.size() == mutations.size());
  return history[k];
}

Error SimWorld::error(const Verdict& verdict, std::string_view operation, std::string_view file, std::string_view dir) {
  if (verdict.crashed) return io_error(ErrorCode::kIo, EIO, operation, file, dir, "crashed");
  return os_error(verdict.err, operation, file, dir);
}

}  // namespace cairn::io
