#include "crash/random_run.h"

#include <string>
#include <utility>

#include <fmt/format.h>

#include "base/try.h"
#include "format/checksum.h"

namespace cairn::crash {
namespace {

using Kind = Op::Kind;

constexpr uint64_t kChunkInLog = 4096;      // bytes
constexpr uint64_t kLargeChunk = 16 << 10;  // bytes

Setting setting_of(size_t i) {
  Setting setting;
  setting.mode = i == 3 || i == 4 ? Mode::kCache : Mode::kCas;
  setting.chunk_size = i == 1 || i == 4 ? kLargeChunk : kChunkInLog;
  if (i == 1 || i == 4) setting.segment_size = 128 << 10;
  setting.compression = i == 2 ? "lz4" : "none";
  setting.prepared = {{.kind = Kind::kMkdir, .path = "d"},
                      {.kind = Kind::kCreate, .path = "a"},
                      {.kind = Kind::kWrite, .path = "a", .size = 7000, .fill = '0'}};
  return setting;
}

constexpr uint64_t kFillers = 48;

// A cache that is full when the run begins. The second has values that are large enough to be punched.
Setting setting_at_the_limit(bool large) {
  Setting setting;
  setting.mode = Mode::kCache;
  setting.evicts = true;
  setting.segment_size = large ? 512 << 10 : 64 << 10;
  setting.chunk_size = large ? 64 << 10 : kChunkInLog;
  setting.limit = setting.segment_size * (large ? 16 : 32);
  setting.prepared = {{.kind = Kind::kMkdir, .path = "d"}};
  for (uint64_t i = 0; i < kFillers; ++i) {
    const std::string path = fmt::format("f{}", i);
    setting.prepared.push_back({.kind = Kind::kCreate, .path = path});
    setting.prepared.push_back(
        {.kind = Kind::kWrite, .path = path, .size = setting.limit / kFillers, .fill = static_cast<char>('A' + i)});
    if (i % 8 == 0) setting.prepared.push_back({.kind = Kind::kIdle});
  }
  return setting;
}

std::string some_path(io::SimRandom& random) {
  static constexpr std::array kDirs = {"", "", "d/", "e/", "d/e/"};
  static constexpr std::array kNames = {"a", "b", "c", "d", "e"};
  const std::string name = kNames.at(random.below(kNames.size()));  // not an operand: compilers differ in their order
  return kDirs.at(random.below(kDirs.size())) + name;
}

// How often each kind comes; the order is that of Op::Kind.
using Weights = std::array<int, 24>;
constexpr Weights kMixed = {9, 4, 1, 16, 10, 6, 3, 8, 2, 4, 8, 2, 3, 1, 2, 3, 2, 6, 2, 8, 2, 2, 1, 1};

// Few names, much content, many seals: the log turns over, is merged and compacted.
constexpr Weights kChurn = {6, 2, 0, 30, 8, 6, 2, 4, 1, 3, 8, 2, 2, 1, 1, 2, 2, 5, 2, 8, 6, 14, 5, 2};

// At the limit: content that comes, is overwritten, and makes others go.
constexpr Weights kFull = {14, 2, 1, 36, 8, 3, 2, 4, 1, 3, 6, 1, 1, 1, 1, 3, 3, 3, 2, 6, 6, 5, 4, 1};

// Files with several chunks each, also of those that were there from the beginning.
Op random_op_at_the_limit(io::SimRandom& random, uint64_t chunk_size, Op op) {
  if (random.below(3) == 0 && op.kind != Kind::kCreate) op.path = fmt::format("f{}", random.below(kFillers));
  if (op.kind == Kind::kSetXattr) op.size %= 4096;  // no extents: they do not wait for room
  if (op.kind == Kind::kWrite && random.below(3) != 0) {
    op.offset = random.below(2) * chunk_size;
    op.size = chunk_size * (1 + random.below(6));
  }
  return op;
}

// More than an eighth of a segment is stored as an extent, and a quarter is the most that one operation may write.
uint64_t large_value(io::SimRandom& random, const Setting& setting) {
  constexpr uint64_t kOthers = 1024;  // bytes; what the operation writes besides
  return random.below(setting.segment_size / 4 - kOthers);
}

Op random_op(io::SimRandom& random, const Setting& setting, const Weights& weights) {
  const uint64_t chunk_size = setting.chunk_size;
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
  if (op.kind == Kind::kSetXattr) op.size = random.coin() ? random.below(900) : large_value(random, setting);
  if (op.kind == Kind::kPunch) op.size = 1 + random.below(chunk_size);
  if (op.kind == Kind::kChmod) op.size = random.below(01000);
  if (op.kind == Kind::kFsync && random.coin()) op.path = "";
  return op;
}

}  // namespace

Result<Base*> RandomRuns::base_of(size_t setting) {
  if (!bases_.at(setting)) {
    TRY_ASSIGN(bases_.at(setting),
               Base::make(setting < kSettings ? setting_of(setting) : setting_at_the_limit(setting > kSettings)));
  }
  return &*bases_.at(setting);
}

void RandomRuns::note(const StoreStats& stats) {
  merges_ += stats.merges;
  compactions_ += stats.compactions;
  seals_ += stats.seals;
  punched_ += stats.punched_bytes;
}

Result<RandomRuns::Done> RandomRuns::perform(uint64_t seed) {
  io::SimRandom random(seed, 11);
  const bool is_full = which_ == Which::kAtTheLimit || random.below(16) == 0;
  TRY_ASSIGN(Base* const base,
             base_of(is_full ? kSettings + random.below(kSettingsAtTheLimit) : random.below(kSettings)));
  TRY_ASSIGN(auto run, Run::start(*base, seed));
  const bool is_long = random.below(3) == 0 || is_full;
  const uint64_t length = is_long ? 60 + random.below(120) : 4 + random.below(16);
  for (uint64_t i = 0; i < length; ++i) {
    Op op = random_op(random, base->setting, is_full ? kFull : is_long ? kChurn : kMixed);
    if (is_full) op = random_op_at_the_limit(random, base->setting.chunk_size, op);
    if (op.kind == Kind::kReopen) note(run->stats());
    if (auto done = run->apply(op); !done)
      return fail(done.error().code,
                  fmt::format("seed {}: {}\n  in: {}", seed, done.error().message, run->script_before(SIZE_MAX)));
  }
  note(run->stats());
  evictions_ += run->evictions();
  Effort effort;
  effort.random_states = is_long ? 2 : 8;
  effort.states_max = is_long ? 8 : 60;
  effort.boundary_one_in = is_full ? 24 : is_long ? 6 : 1;
  effort.fsck_one_in = is_long ? 6 : 32;
  return Done{std::move(run), effort};
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
  Checker checker(done.effort, seed);
  if (auto checked = checker.check(*done.run, 0, done.run->mutations()); !checked)
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
