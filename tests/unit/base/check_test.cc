#include "base/check.h"

#include <gtest/gtest.h>

namespace cairn {
namespace {

TEST(Check, AFailureNamesTheConditionAndAborts) {
  const int three = 3;
  CHECK(three == 3);
  EXPECT_DEATH(CHECK(three == 4), "bug: CHECK\\(three == 4\\) failed at .*check_test");
}

TEST(Check, ADebugCheckIsEvaluatedInDebugBuildsOnly) {
  int evaluated = 0;
  const auto holds = [&evaluated] { return ++evaluated > 0; };
  DCHECK(holds());
  EXPECT_EQ(evaluated, kDebugChecks ? 1 : 0);
  if (kDebugChecks) {
    EXPECT_DEATH(DCHECK(!holds()), "bug: CHECK");
  }
}

}  // namespace
}  // namespace cairn
