// The disk fills up, at every page of a history, and has room again later.
#include <gtest/gtest.h>

#include <string>

#include <fmt/format.h>

#include "crash/fault_workload.h"

namespace cairn::crash {
namespace {

constexpr uint64_t kPage = 4096;  // bytes; what the simulated disk gives out

class FaultSpace : public testing::TestWithParam<Mode> {};

TEST_P(FaultSpace, AFullDiskLosesNothingAcknowledgedAndIsNotFinal) {
  TreeState state;
  io::SimEnv base = make_base(GetParam(), &state);
  uint64_t refused = 0;
  for (uint64_t pages = 0;; ++pages) {
    SCOPED_TRACE(fmt::format("{} pages free", pages));
    FaultWorkload work(base.peek_crash(io::kNothingLost), state, GetParam());
    // The reserve would give room for most of the work.
    for (const std::string& name : work.env().list("/store/reserve")) work.env().remove("/store/reserve/" + name);
    const uint64_t begin = work.env().used();
    work.env().set_capacity(begin + pages * kPage);
    if (work.open()) {
      work.run();
      work.expect_readable();
      for (const ErrorCode error : work.errors()) EXPECT_EQ(error, ErrorCode::kNoSpace) << to_string(error);
      // In cache mode a full disk is met in memory.
      if (work.failed_steps() == 0 && !work.is_degraded()) break;
      if (pages % 2 == 0) work.close();  // with the disk full
      work.env().set_capacity(0);
      if (pages % 2 != 0) {
        work.expect_readable();
        work.expect_works_or_says_why();
        EXPECT_FALSE(work.last_stats().read_only) << work.last_stats().read_only_reason;
        work.close();
      }
    }
    ++refused;
    work.env().set_capacity(0);
    work.recover(pages % 3 == 0   ? io::kAllLost
                 : pages % 3 == 1 ? io::kNothingLost
                                  : io::random_crash(pages, io::NameOrder::kOrdered));
    if (HasFailure()) return;
  }
  EXPECT_GT(refused, 5u);
}

// The preallocation of a segment may be missing: then it is the log itself that meets the end of the disk.
TEST_P(FaultSpace, AFullDiskWithoutPreallocationLosesNothingAcknowledged) {
  TreeState state;
  io::SimEnv base = make_base(GetParam(), &state);
  for (uint64_t pages = 0;; ++pages) {
    SCOPED_TRACE(fmt::format("{} pages free", pages));
    FaultWorkload work(base.peek_crash(io::kNothingLost), state, GetParam());
    work.env().set_capacity(work.env().used() + pages * kPage);
    work.env().inject({.kind = io::CallKind::kAllocate, .err = 95 /* EOPNOTSUPP */, .from_then_on = true});
    bool fits = false;
    if (work.open()) {
      work.run();
      work.expect_readable();
      fits = work.failed_steps() == 0;
      if (pages % 2 == 0) work.close();
    }
    work.env().set_capacity(0);
    work.env().clear_faults();
    work.recover(pages % 3 == 0   ? io::kAllLost
                 : pages % 3 == 1 ? io::kNothingLost
                                  : io::random_crash(pages, io::NameOrder::kOrdered));
    if (HasFailure() || fits) return;
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, FaultSpace, testing::Values(Mode::kCas, Mode::kCache),
                         [](const auto& mode) { return mode.param == Mode::kCas ? "cas" : "cache"; });

}  // namespace
}  // namespace cairn::crash
