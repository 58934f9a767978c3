#include "fusefs/border.h"

#include <new>
#include <set>
#include <stdexcept>

#include <gtest/gtest.h>

namespace cairn::fusefs {
namespace {

TEST(Border, EveryErrorCodeHasAnErrnoOfItsOwnButTheTwoThatMeanEio) {
  std::set<int> seen;
  for (int code = 0; code <= static_cast<int>(ErrorCode::kOutOfMemory); ++code) {
    const int err = to_errno(Error(static_cast<ErrorCode>(code)));
    EXPECT_GT(err, 0) << code;
    // The kernel takes ENOSYS for "never ask again": an fsync would succeed for ever.
    EXPECT_NE(err, ENOSYS) << code;
    seen.insert(err);
  }
  EXPECT_EQ(seen.size(), static_cast<size_t>(ErrorCode::kOutOfMemory));
}

TEST(Border, DamageIsNeverTakenForAMissingFile) {
  EXPECT_EQ(to_errno(Error(ErrorCode::kCorrupt)), EIO);
  EXPECT_EQ(to_errno(Error(ErrorCode::kIo, ENOENT, "open")), EIO);
  EXPECT_EQ(to_errno(Error(ErrorCode::kStale)), ESTALE);
}

TEST(Border, WhatTheSystemSaysOfAFileOfTheStoreIsNoAnswerAboutTheUsersFile) {
  EXPECT_EQ(to_errno(Error(ErrorCode::kAccess, EACCES, "open")), EIO);
  EXPECT_EQ(to_errno(Error(ErrorCode::kNotFound, ENOENT, "open")), EIO);
  EXPECT_EQ(to_errno(Error(ErrorCode::kUnsupported, ENOSYS, "sync")), EIO);
  EXPECT_EQ(to_errno(Error(ErrorCode::kNoSpace, EDQUOT, "write")), ENOSPC);
  EXPECT_EQ(to_errno(Error(ErrorCode::kReadOnly, EIO, "store is read-only after an error: sync")), EROFS);
}

TEST(Border, LackOfMemoryIsEnomemAndAnyOtherExceptionEio) {
  const auto errno_of = [](auto thrower) {
    try {
      thrower();
    } catch (...) {
      return errno_of_exception();
    }
    return 0;
  };
  EXPECT_EQ(errno_of([] { throw std::bad_alloc(); }), ENOMEM);
  EXPECT_EQ(errno_of([] { throw std::runtime_error("x"); }), EIO);
  EXPECT_EQ(errno_of([] { throw 1; }), EIO);
}

}  // namespace
}  // namespace cairn::fusefs
