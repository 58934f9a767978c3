#include "crash/crash_checker.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>
#include <spdlog/sinks/ostream_sink.h>

#include "base/check.h"
#include "base/log.h"
#include "base/try.h"
#include "cairn/fsck.h"
#include "store/check_store.h"

namespace cairn::crash {
namespace {

Result<void> expect(bool truth, const std::string& what) {
  if (!truth) return fail(ErrorCode::kCorrupt, what);
  return {};
}

// But for what was evicted in between: so many whole files at most. An eviction before `wanted` may have been lost in a crash, too.
Result<void> expect_same(const Look& got, const Look& wanted, uint64_t evicted, const std::string& what) {
  if (got.timed == wanted.timed) return {};
  const auto difference = whole_inodes_between(wanted.text, got.text);
  return expect(difference && difference->gone.size() <= evicted && difference->more.size() <= wanted.evicted,
                fmt::format("{} ({} and {} evictions); it was\n{}and is\n{}", what, wanted.evicted, evicted,
                            wanted.text, got.text));
}

// The file system goes before the world it lives in, and without doing more to it.
void drop(io::SimEnv& env, Mounted& mounted) {
  (void)env.kill();
  mounted.fs.reset();
}

Result<void> expect_clean(io::SimEnv& env, const std::string& when) {
  FsckOptions options;
  options.scrub = true;
  TRY_ASSIGN(const FsckReport report, fsck(env, kPath, options));
  if (report.findings.empty()) return {};
  const FsckFinding& f = report.findings.front();
  return fail(ErrorCode::kCorrupt,
              fmt::format("fsck {}: pass {} {} {} at {}: {}", when, f.pass, f.file, f.structure, f.offset, f.message));
}

}  // namespace

Checker::Checker(const Effort& effort, uint64_t seed) : effort_(effort), seed_(seed), random_(seed, 7) {
  logger_ = std::make_shared<Logger>("crash", std::make_shared<spdlog::sinks::ostream_sink_st>(logged_));
  logger_->set_level(spdlog::level::warn);
}

bool Checker::chosen(uint64_t hash, uint64_t salt, uint64_t one_in) const {
  return one_in != 0 && io::SimRandom(hash ^ seed_, salt).below(one_in) == 0;
}

Result<void> Checker::check(Run& run, size_t first, size_t last) {
  seen_.clear();
  limit_ = run.limit();
  io::StateHash hash;
  for (size_t k = first; k <= last; ++k) {
    if (random_.below(effort_.boundary_one_in) != 0) continue;
    if (auto checked = check_before(run, k, hash); !checked) {
      const auto& calls = run.env().mutations();
      const std::string call = k == calls.size() ? "the end"
                                                 : fmt::format("{} {} {}+{}", io::to_string(calls[k].kind),
                                                               calls[k].file, calls[k].offset, calls[k].length);
      return fail(checked.error().code, fmt::format("{}\n  crash before call {} ({}) of: {}", checked.error().message,
                                                    k, call, run.script_before(k)));
    }
  }
  return {};
}

Result<void> Checker::check_before(Run& run, size_t k, io::StateHash& hash) {
  const io::SimDisk& disk = run.env().disk_before(k);
  Result<void> result;
  const auto visit = [&](io::SimDisk state, uint64_t state_hash) {
    if (result) result = check_state(run, k, std::move(state), state_hash);
  };
  if (effort_.kill_one_in != 0 && random_.below(effort_.kill_one_in) == 0) TRY(check_kill(run, k));
  size_t open = disk.pending_names().size();
  for (const auto& [node, file] : disk.files()) open += file.pending.size();
  const auto order = random_.below(4) == 0 ? io::NameOrder::kOrdered : io::NameOrder::kAnything;
  const bool all = open <= effort_.all_up_to;
  if (all) {
    io::enumerate_crashes(disk, {.order = order, .limit = effort_.states_max}, hash, random_, visit);
  }
  const auto take = [&](io::SimDisk state) {
    const uint64_t state_hash = hash.of(state);
    visit(std::move(state), state_hash);
  };
  take(io::crash_to_synced(disk));
  take(io::crash_to_current(disk));
  const size_t draws = all ? 2 : effort_.random_states;  // what is not all after all: several tears at once
  for (size_t i = 0; i < draws && result; ++i) take(io::crash_at_random(disk, order, random_));
  return result;
}

// Killed, nothing is lost, but what was not synced still is not; what the next start shows is durable once it is open.
Result<void> Checker::check_kill(Run& run, size_t k) {
  constexpr size_t kCalls = 8;  // that are tried
  const Run::Legal legal = run.legal_before(k);
  io::SimEnv env = run.env().kill_before(k);
  env.keep_history();
  TRY_ASSIGN(const Look look, look_in(env));
  TRY(expect(run.is_one_of(legal, look), "killed and started again, the tree is one that may not be"));
  const size_t calls = env.mutations().size();
  const size_t step = calls / kCalls + 1;
  for (size_t j = calls - std::min(calls, random_.below(step)); j <= calls; j -= std::min(j, step)) {
    ++counts_.kills;
    const auto order = random_.coin() ? io::NameOrder::kOrdered : io::NameOrder::kAnything;
    io::SimDisk left = io::crash_at_random(env.disk_before(j), order, random_);
    io::SimEnv next(std::move(left), random_.next());
    const auto again = look_in(next);
    if (!again)
      return fail(again.error().code,
                  fmt::format("killed, and crashed at call {} of the next start: {}", j, again.error().message));
    TRY(expect(run.is_one_of(legal, *again),
               "killed, and crashed when started again: the tree is one that may not be"));
    if (j == calls)
      TRY(expect_same(*again, look, again->evicted, "what a start after a kill showed is another after a crash"));
    if (j == 0) break;
  }
  return {};
}

Result<void> Checker::check_state(Run& run, size_t k, io::SimDisk state, uint64_t hash) {
  ++counts_.crashes;
  auto [seen, is_new] = seen_.try_emplace(hash);
  if (is_new) {
    ++counts_.states;
    TRY_ASSIGN(seen->second, examine(std::move(state), hash, run.inodes_end_before(k)));
  }
  const Run::Legal legal = run.legal_before(k);
  if (run.is_one_of(legal, seen->second)) return {};
  std::string allowed;
  for (size_t i = legal.first; i <= legal.last; ++i) allowed += fmt::format("- state {}:\n{}", i, run.state(i));
  return fail(ErrorCode::kCorrupt, "what survived was never there, or less than was synced:\n" + seen->second.text +
                                       "there may be\n" + allowed);
}

// A crash is no damage: the store that opens has nothing to warn of.
Result<Look> Checker::look_in(io::SimEnv& env) {
  logged_.str("");
  TRY_ASSIGN(auto mounted, mount(env, 0, logger_));
  auto picture = picture_of(*mounted.fs);
  const std::string logged = logged_.str();
  const uint64_t evicted = evicted_by(*mounted.fs);
  drop(env, mounted);
  if (!picture) return fail(picture.error());
  TRY(expect(logged.empty(), "the store calls a crash damage: " + logged));
  TRY(expect_within_limit(env));
  Look look = look_at(*picture);
  look.evicted = evicted;
  return look;
}

Result<void> Checker::expect_within_limit(const io::SimEnv& env) const {
  return expect(limit_ == 0 || env.peak_used() <= limit_,
                fmt::format("after the crash the store takes {} bytes, more than its limit", env.peak_used()));
}

// What is there after this crash, and whether it is a store that works.
Result<Look> Checker::examine(io::SimDisk state, uint64_t hash, Ino inodes_end) {
  io::SimEnv env(state.fork(), hash);
  TRY_ASSIGN(const Look look, look_in(env));
  const bool with_fsck = chosen(hash, 1, effort_.fsck_one_in);
  if (with_fsck) {
    ++counts_.fscked;
    io::SimEnv raw(state.fork(), hash);
    TRY(expect_clean(raw, "right after the crash"));
  }
  if (with_fsck || chosen(hash, 2, effort_.go_on_one_in)) TRY(go_on(state.fork(), look, inodes_end, with_fsck));
  if (chosen(hash, 3, effort_.rebuild_one_in)) TRY(rebuild(state.fork(), look));
  if (chosen(hash, 4, effort_.recover_one_in)) TRY(crash_recovery(state.fork(), {look, inodes_end}, 1));
  return look;
}

// The store is one that can be used: what is written and synced now survives the next crash, together with what was there.
Result<void> Checker::go_on(io::SimDisk state, const Look& look, Ino inodes_end, bool with_fsck) {
  ++counts_.gone_on;
  io::SimEnv env(std::move(state), seed_);
  TRY_ASSIGN(auto mounted, mount(env, 0, logger_));
  const auto work = [&]() -> Result<Look> {
    FileSystem& fs = *mounted.fs;
    TRY_ASSIGN(const Attr made, fs.create(kRootIno, "after", 0644, {}));
    TRY(expect(made.ino >= inodes_end, "an inode number is given out again after a crash"));
    TRY(fs.write(made.ino, 0, pattern(0, 5000, 'q'), false, false));
    fs.release(made.ino);
    fs.forget(made.ino, 1);
    TRY(mounted.store->seal());
    TRY(fs.set_xattr(kRootIno, "user.after", "value", XattrMode::kAny));
    if (mounted.store->stats().mode == Mode::kCache) TRY(mounted.store->seal());
    TRY(fs.sync());
    TRY_ASSIGN(const Picture picture, picture_of(fs));
    Look out = look_at(picture);
    out.evicted = evicted_by(fs);
    return out;
  };
  const auto worked = work();
  TRY(expect_within_limit(env));
  io::SimEnv next = env.crash(chosen(look.timed, 5, 2) ? io::kAllLost : io::random_crash(look.timed));
  mounted.fs.reset();
  if (!worked) return fail(worked.error().code, "work after the crash: " + worked.error().message);
  TRY_ASSIGN(auto again, mount(next, 0, logger_));
  TRY_ASSIGN(const Picture picture, picture_of(*again.fs));
  TRY(expect_same(look_at(picture), *worked, evicted_by(*again.fs),
                  "what was synced after a crash is gone after the next"));
  if (!with_fsck) {
    drop(next, again);
    return {};
  }
  TRY(again.store->settle());
  TRY(again.fs->close());
  again.fs.reset();
  return expect_clean(next, "after the work that followed the crash");
}

// Manifest and tables are lost as well.
Result<void> Checker::rebuild(io::SimDisk state, const Look& look) {
  ++counts_.rebuilt;
  io::SimEnv env(std::move(state), seed_);
  if (env.exists("/store/manifest")) env.remove("/store/manifest");
  for (const std::string& name : env.list("/store/index")) env.remove("/store/index/" + name);
  TRY_ASSIGN(auto directory, env.open_dir(kPath));
  TRY(store::rebuild_index(env, *directory, kPath));
  directory.reset();
  TRY_ASSIGN(const Look rebuilt, look_in(env));
  return expect_same(rebuilt, look, rebuilt.evicted, "rebuilding the index after the crash gives another tree");
}

// Opening writes too: whatever a crash leaves of that, the next opening finds the same tree.
Result<void> Checker::crash_recovery(io::SimDisk state, const Seen& seen, int depth) {
  constexpr int kDepth = 3;
  constexpr size_t kCalls = 6;  // that are tried
  io::SimEnv env(std::move(state), random_.next());
  env.keep_history();
  const Look& look = seen.look;
  TRY_ASSIGN(const Look opened, look_in(env));
  TRY(expect_same(opened, look, look.evicted + opened.evicted,
                  fmt::format("opening gives another tree, {} crashed openings later", depth - 1)));
  const size_t calls = env.mutations().size();
  const size_t step = calls / kCalls + 1;
  for (size_t k = random_.below(step); k <= calls; k += step) {
    ++counts_.recoveries;
    const auto order = random_.coin() ? io::NameOrder::kOrdered : io::NameOrder::kAnything;
    io::SimDisk next = io::crash_at_random(env.disk_before(k), order, random_);
    Seen so_far = seen;
    so_far.look.evicted += opened.evicted;
    if (depth < kDepth && random_.below(3) == 0) {
      TRY(crash_recovery(std::move(next), so_far, depth + 1));
      continue;
    }
    io::SimEnv last(next.fork(), random_.next());
    TRY_ASSIGN(const Look again, look_in(last));
    TRY(expect_same(again, look, so_far.look.evicted + again.evicted,
                    fmt::format("{} crashed openings later the tree is another", depth)));
    if (random_.below(8) == 0) TRY(go_on(std::move(next), again, seen.inodes_end, false));
  }
  return {};
}

}  // namespace cairn::crash
