// Every sequence of up to three operations, crashed at every call to the disk.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/try.h"
#include "crash/random_run.h"

namespace cairn::crash {
namespace {

using Kind = Op::Kind;

// A closed store with something of each kind.
std::vector<Op> prepared() {
  return {
      {.kind = Kind::kCreate, .path = "a"}, {.kind = Kind::kWrite, .path = "a", .size = 300, .fill = '1'},
      {.kind = Kind::kCreate, .path = "b"}, {.kind = Kind::kWrite, .path = "b", .size = 9000, .fill = '2'},
      {.kind = Kind::kMkdir, .path = "d"},  {.kind = Kind::kLink, .path = "b", .target = "d/l"},
  };
}

std::vector<Op> alphabet(uint64_t attribute_size) {
  return {
      {.kind = Kind::kCreate, .path = "d/n"},
      {.kind = Kind::kWrite, .path = "a", .offset = 100, .size = 50, .fill = '3'},
      {.kind = Kind::kWrite, .path = "b", .offset = 4000, .size = 9000, .fill = '4'},
      {.kind = Kind::kAppend, .path = "a", .size = 4096, .fill = '5'},
      {.kind = Kind::kTruncate, .path = "b", .size = 10},
      {.kind = Kind::kRename, .path = "a", .target = "b"},
      {.kind = Kind::kRename, .path = "b", .target = "d/m"},
      {.kind = Kind::kExchange, .path = "a", .target = "d"},
      {.kind = Kind::kLink, .path = "a", .target = "d/k"},
      {.kind = Kind::kUnlink, .path = "a"},
      {.kind = Kind::kUnlink, .path = "d/l"},
      {.kind = Kind::kRmdir, .path = "d"},
      {.kind = Kind::kSetXattr, .path = "a", .size = attribute_size, .fill = '6'},
      {.kind = Kind::kOpen, .path = "a"},
      {.kind = Kind::kClose},
      {.kind = Kind::kFsync, .path = "a"},
      {.kind = Kind::kFsync},
      {.kind = Kind::kTimer},
      {.kind = Kind::kStep},
      {.kind = Kind::kSeal},
      {.kind = Kind::kSettle},
      {.kind = Kind::kReopen},
  };
}

// What came before the last operation was crashed with the shorter sequence.
Result<void> try_sequence(Base& base, const std::vector<Op>& ops, const std::vector<size_t>& choice, Checker& checker) {
  TRY_ASSIGN(const auto run, Run::start(base, 1));
  size_t first = 0;
  for (const size_t i : choice) {
    first = run->mutations();
    if (auto applied = run->apply(ops[i]); !applied)
      return fail(applied.error().code, applied.error().message + "\n  in: " + run->script_before(SIZE_MAX));
  }
  return checker.check(*run, first, run->mutations());
}

// Returns how many different states were looked at. `one_in`: of the sequences, where there are too many.
uint64_t run_all(const Setting& setting, size_t length, uint64_t one_in = 1) {
  auto base = Base::make(setting);
  EXPECT_TRUE(base) << base.error().message;
  if (!base) return 0;
  // Of up to two operations one writes an extent; all sequences of three with one would take too long.
  const std::vector<Op> ops = alphabet(length < 3 ? 9000 : 300);
  Checker checker({.recover_one_in = length < 3 ? 32U : 128U, .kill_one_in = length < 3 ? 6U : 48U}, 1);
  std::vector<size_t> choice(length, 0);
  for (uint64_t n = 0;; ++n) {
    if (n % one_in == 0) {
      const auto checked = try_sequence(*base, ops, choice, checker);
      EXPECT_TRUE(checked) << checked.error().message;
      if (!checked) break;
    }
    size_t at = length;
    while (at > 0 && ++choice[at - 1] == ops.size()) choice[--at] = 0;
    if (at == 0) break;
  }
  fmt::print("{}\n", to_string(checker.counts()));
  return checker.counts().states;
}

constexpr uint64_t kShare = is_sanitized() ? 37 : 1;  // prime: no operation is left out

// What tools/check is to look at, at least (issue 3). The number is the same in each run of a build.
constexpr uint64_t kThreeInCas = 104'000;
constexpr uint64_t kThreeInCache = 97'000;
static_assert(kThreeInCas + kThreeInCache >= 200'000);

TEST(CrashExhaustive, AfterOneOperation) { EXPECT_GT(run_all({.prepared = prepared()}, 1), 50U); }
TEST(CrashExhaustive, AfterTwoOperations) { EXPECT_GT(run_all({.prepared = prepared()}, 2), 3'000U); }
TEST(CrashExhaustive, AfterTwoOperationsInACache) {
  EXPECT_GT(run_all({.mode = Mode::kCache, .prepared = prepared()}, 2), 2'000U);
}
TEST(CrashExhaustive, AfterThreeOperations) {
  EXPECT_GE(run_all({.prepared = prepared()}, 3, kShare), kThreeInCas / kShare);
}
TEST(CrashExhaustive, AfterThreeOperationsInACache) {
  EXPECT_GE(run_all({.mode = Mode::kCache, .prepared = prepared()}, 3, kShare), kThreeInCache / kShare);
}

}  // namespace
}  // namespace cairn::crash
