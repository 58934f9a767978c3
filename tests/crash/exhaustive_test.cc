// Every sequence of up to three operations, crashed at every call to the disk.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include <fmt/format.h>

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

std::vector<Op> alphabet() {
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
      {.kind = Kind::kSetXattr, .path = "a", .size = 300, .fill = '6'},
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

void run_all(const Setting& setting, size_t length) {
  auto base = Base::make(setting);
  ASSERT_TRUE(base) << base.error().message;
  const std::vector<Op> ops = alphabet();
  Checker checker({}, 1);
  std::vector<size_t> choice(length, 0);
  for (;;) {
    auto run = Run::start(*base, 1);
    ASSERT_TRUE(run) << run.error().message;
    size_t first = 0;  // what came before the last operation was crashed with the shorter sequence
    for (const size_t i : choice) {
      first = (*run)->mutations();
      const auto applied = (*run)->apply(ops[i]);
      ASSERT_TRUE(applied) << applied.error().message << "\n" << (*run)->script_before(SIZE_MAX);
    }
    const auto checked = checker.check(**run, first, (*run)->mutations());
    ASSERT_TRUE(checked) << checked.error().message;
    size_t at = length;
    while (at > 0 && ++choice[at - 1] == ops.size()) choice[--at] = 0;
    if (at == 0) break;
  }
  fmt::print("{}\n", to_string(checker.counts()));
}

TEST(CrashExhaustive, AfterOneOperation) { run_all({.prepared = prepared()}, 1); }
TEST(CrashExhaustive, AfterTwoOperations) { run_all({.prepared = prepared()}, 2); }
TEST(CrashExhaustive, AfterThreeOperations) { run_all({.prepared = prepared()}, 3); }
TEST(CrashExhaustive, AfterTwoOperationsInACache) { run_all({.mode = Mode::kCache, .prepared = prepared()}, 2); }

}  // namespace
}  // namespace cairn::crash
