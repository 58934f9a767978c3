#include "crash/random_run.h"

#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/try.h"
#include "format/checksum.h"

namespace cairn::crash {
namespace {

using Kind = Op::Kind;

constexpr uint64_t kChunkInLog = 4096;         // bytes
constexpr uint64_t kChunkAsExtent = 16 << 10;  // bytes; more than an eighth of a segment

Setting setting_of(size_t i) {
  Setting setting;
  setting.mode = i == 3 || i == 4 ? Mode::kCache : Mode::kCas;
  setting.chunk_size = i == 1 || i == 4 ? kChunkAsExtent : kChunkInLog;
  if (i == 1 || i == 4) setting.segment_size = 128 << 10;
  setting.compression = i == 2 ? "lz4" : "none";
  setting.prepared = {{.kind = Kind::kMkdir, .path = "d"},
                      {.kind = Kind::kCreate, .path = "a"},
                      {.kind = Kind::kWrite, .path = "a", .size = 7000, .fill = '0'}};
  return setting;
}

std::string some_path(io::SimRandom& random) {
  static constexpr std::array kDirs = {"", "", "d/", "e/", "d/e/"};
  static constexpr std::array kNames = {"a", "b", "c", "d", "e"};
  return std::string(kDirs.at(random.below(kDirs.size()))) + kNames.at(random.below(kNames.size()));
}

// How often each kind comes; the order is that of Op::Kind.
using Weights = std::array<int, 24>;
constexpr Weights kMixed = {9, 4, 1, 16, 10, 6, 3, 8, 2, 4, 8, 2, 3, 1, 2, 3, 2, 6, 2, 8, 2, 2, 1, 1};

// Few names, much content, many seals: the log turns over, is merged and compacted.
constexpr Weights kChurn = {6, 2, 0, 30, 8, 6, 2, 4, 1, 3, 8, 2, 2, 1, 1, 2, 2, 5, 2, 8, 6, 14, 5, 2};

Op random_op(io::SimRandom& random, uint64_t chunk_size, const Weights& weights) {
  uint64_t sum = 0;
  for (const int weight : weights) sum += static_cast<uint64_t>(weight);
  uint64_t at = random.below(sum);
  size_t kind = 0;
  while (at >= static_cast<uint64_t>(weights.at(kind))) at -= static_cast<uint64_t>(weights.at(kind++));
  Op op{.kind = static_cast<Kind>(kind), .path = some_path(random), .target = some_path(random)};
  op.fill = static_cast<char>('A' + random.below(60));
  op.offset = random.below(4) == 0 ? random.below(4) * chunk_size : random.below(3 * chunk_size);
  op.size = random.below(3) == 0 ? 1 + random.below(3 * chunk_size) : 1 + random.below(600);
  if (op.kind == Kind::kTruncate) op.size = random.below(4 * chunk_size);
  if (op.kind == Kind::kSetXattr) op.size = random.below(900);
  if (op.kind == Kind::kPunch) op.size = 1 + random.below(chunk_size);
  if (op.kind == Kind::kChmod) op.size = random.below(01000);
  if (op.kind == Kind::kFsync && random.coin()) op.path = "";
  return op;
}

}  // namespace

Result<Base*> RandomRuns::base_of(size_t setting) {
  if (!bases_.at(setting)) {
    TRY_ASSIGN(bases_.at(setting), Base::make(setting_of(setting)));
  }
  return &*bases_.at(setting);
}

void RandomRuns::note(const StoreStats& stats) {
  merges_ += stats.merges;
  compactions_ += stats.compactions;
  seals_ += stats.seals;
}

Result<RandomRuns::Done> RandomRuns::perform(uint64_t seed) {
  io::SimRandom random(seed, 11);
  TRY_ASSIGN(Base* const base, base_of(random.below(kSettings)));
  TRY_ASSIGN(auto run, Run::start(*base, seed));
  const bool is_long = random.below(3) == 0;
  const uint64_t length = is_long ? 60 + random.below(120) : 4 + random.below(16);
  for (uint64_t i = 0; i < length; ++i) {
    const Op op = random_op(random, base->setting.chunk_size, is_long ? kChurn : kMixed);
    if (op.kind == Kind::kReopen) note(run->stats());
    if (auto done = run->apply(op); !done)
      return fail(done.error().code,
                  fmt::format("seed {}: {}\n  in: {}", seed, done.error().message, run->script_before(SIZE_MAX)));
  }
  note(run->stats());
  return Done{std::move(run), is_long};
}

Result<uint64_t> RandomRuns::trace(uint64_t seed) {
  TRY_ASSIGN(const Done done, perform(seed));
  std::string calls;
  for (const io::Call& call : done.run->env().mutations())
    calls += fmt::format("{} {} {}+{}\n", io::to_string(call.kind), call.file, call.offset, call.length);
  return format::checksum(calls, done.run->env().state_hash());
}

Result<Counts> RandomRuns::run(uint64_t seed) {
  TRY_ASSIGN(const Done done, perform(seed));
  const auto& [run, is_long] = done;
  Effort effort;
  effort.random_states = is_long ? 2 : 8;
  effort.states_max = is_long ? 8 : 60;
  effort.boundary_one_in = is_long ? 6 : 1;
  effort.fsck_one_in = is_long ? 6 : 32;
  Checker checker(effort, seed);
  if (auto checked = checker.check(*run, 0, run->mutations()); !checked)
    return fail(checked.error().code, fmt::format("seed {}: {}", seed, checked.error().message));
  return checker.counts();
}

void add(Counts& sum, const Counts& more) {
  sum.crashes += more.crashes;
  sum.states += more.states;
  sum.gone_on += more.gone_on;
  sum.fscked += more.fscked;
  sum.rebuilt += more.rebuilt;
  sum.recoveries += more.recoveries;
  sum.kills += more.kills;
}

std::string to_string(const Counts& c) {
  return fmt::format(
      "{} crashes, {} different states, {} worked on, {} checked by fsck, {} rebuilt, {} crashed openings, {} after "
      "kills",
      c.crashes, c.states, c.gone_on, c.fscked, c.rebuilt, c.recoveries, c.kills);
}

}  // namespace cairn::crash
