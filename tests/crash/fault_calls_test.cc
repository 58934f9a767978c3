// Every call that the store makes to the system fails, at each of its places, once and from then on, with each errno.
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "crash/fault_workload.h"

namespace cairn::crash {
namespace {

using io::CallKind;

struct Failing {
  CallKind kind;
  std::vector<int> errnos;  // what its man page lists, as far as a right call can meet it; the first are always tried
  size_t always = 1;        // so many of them
};

void PrintTo(const Failing& failing, std::ostream* out) { *out << to_string(failing.kind); }

const Failing kCalls[] = {
    {CallKind::kRead, {EIO, EINVAL, EAGAIN, ENXIO, EOVERFLOW, ENOMEM}, 1},
    {CallKind::kWrite, {EIO, ENOSPC, EDQUOT, EFBIG, EINVAL, EPERM, EAGAIN, ENOMEM}, 2},
    {CallKind::kSync, {EIO, ENOSPC, EDQUOT, EROFS, EINVAL}, 2},
    {CallKind::kTruncate, {EIO, EFBIG, EINVAL, EPERM, EROFS, ETXTBSY}, 1},
    {CallKind::kAllocate, {ENOSPC, EOPNOTSUPP, EIO, EFBIG, EINVAL, ENODEV, ENOSYS, EPERM, ETXTBSY}, 3},
    {CallKind::kStat, {EIO, ENOMEM, EOVERFLOW}, 1},
    {CallKind::kClose, {EIO, ENOSPC, EDQUOT, EINTR}, 1},
    {CallKind::kOpen,
     {EMFILE, ENOENT, EIO, EACCES, ENFILE, ENOMEM, ELOOP, ENOTDIR, ENXIO, ENODEV, EPERM, EROFS, ETXTBSY, EOVERFLOW},
     3},
    {CallKind::kCreate, {EMFILE, ENOSPC, EEXIST, EIO, EACCES, EDQUOT, ENFILE, ENOMEM, EROFS, EPERM, ENOENT}, 3},
    {CallKind::kRename, {EIO, ENOSPC, EACCES, EBUSY, EDQUOT, EMLINK, ENOMEM, EROFS, EXDEV}, 2},
    {CallKind::kUnlink, {EIO, EACCES, EBUSY, ENOMEM, EPERM, EROFS}, 2},
    {CallKind::kList, {EIO, ENOMEM, ENOENT, EACCES}, 1},
    {CallKind::kSyncDir, {EIO, ENOSPC, EDQUOT, EROFS, EINVAL}, 2},
    {CallKind::kLock, {EIO, ENOLCK, ENOMEM, EINTR}, 1},
};

bool is_read(CallKind kind) {
  return kind == CallKind::kRead || kind == CallKind::kOpen || kind == CallKind::kStat || kind == CallKind::kList;
}

// In CAIRNFS_FAULTS=all every errno is tried at every place; otherwise the first of each kind.
bool try_all() {
  const char* value = std::getenv("CAIRNFS_FAULTS");
  return value != nullptr && std::strcmp(value, "all") == 0;
}

class FaultCalls : public testing::TestWithParam<Failing> {
 protected:
  static void SetUpTestSuite() {
    state_ = new TreeState;
    base_ = new io::SimEnv(make_base(Mode::kCas, state_));
  }
  static void TearDownTestSuite() {
    delete base_;
    delete state_;
  }
  // False once the history is over before the n-th call.
  static bool run(const io::Fault& fault, unsigned choice) {
    FaultWorkload work(base_->peek_crash(io::kNothingLost), *state_, Mode::kCas);
    work.env().inject(fault);
    if (work.open()) {
      work.run();
      if (!is_read(*fault.kind)) work.expect_readable();  // also while the fault lasts
      const bool hit = work.env().faults_hit() > 0;
      if (choice % 3 == 0) work.close();  // with the fault, if it lasts
      work.env().clear_faults();
      if (choice % 3 != 0) {
        work.expect_readable();
        work.expect_works_or_says_why();
        if (choice % 3 == 1) work.close();
      }
      if (!hit && work.env().faults_hit() == 0) return false;
    } else {
      work.env().clear_faults();
    }
    if (choice % 4 == 3) {
      work.recover(std::nullopt);
    } else {
      work.recover(choice % 4 == 0   ? io::kAllLost
                   : choice % 4 == 1 ? io::kNothingLost
                                     : io::random_crash(choice, io::NameOrder::kOrdered));
    }
    return true;
  }

  static TreeState* state_;
  static io::SimEnv* base_;
};
TreeState* FaultCalls::state_ = nullptr;
io::SimEnv* FaultCalls::base_ = nullptr;

TEST_P(FaultCalls, LoseNothingAcknowledgedAndAreNeverCalledASuccess) {
  const Failing& calls = GetParam();
  uint64_t runs = 0;
  unsigned choice = 0;
  for (size_t e = 0; e < calls.errnos.size() && (e < calls.always || try_all()); ++e) {
    for (const bool from_then_on : {false, true}) {
      for (uint64_t n = 1;; ++n, ++runs) {
        SCOPED_TRACE(fmt::format("{} number {} fails with errno {}{}, choice {}", to_string(calls.kind), n,
                                 calls.errnos[e], from_then_on ? " from then on" : "", choice));
        const io::Fault fault{.nth = n, .kind = calls.kind, .err = calls.errnos[e], .from_then_on = from_then_on};
        if (!run(fault, choice++)) break;
        if (HasFailure()) return;
      }
    }
  }
  RecordProperty("runs", static_cast<int>(runs));
  EXPECT_GT(runs, 0u);
}

INSTANTIATE_TEST_SUITE_P(Calls, FaultCalls, testing::ValuesIn(kCalls), [](const auto& call) {
  std::string name(to_string(call.param.kind));
  std::erase(name, ' ');
  return name;
});

TEST(FaultyMkfs, MakesAStoreOrSaysThatItDidNot) {
  for (const int err : {EIO, ENOSPC, EACCES, EMFILE}) {
    for (uint64_t n = 1;; ++n) {
      SCOPED_TRACE(fmt::format("call {} fails with errno {}", n, err));
      io::SimEnv env(n);
      env.inject({.nth = n, .err = err});
      const auto made = make_store(env, kStorePath, StoreGeometry{}, false);
      if (env.faults_hit() == 0) break;
      env.clear_faults();
      if (made) {
        EXPECT_TRUE(Store::open(env, kStorePath, Options{}).has_value());
        continue;
      }
      EXPECT_FALSE(made.error().message.empty());
      io::SimEnv after = env.crash(io::kNothingLost);
      // The superblock comes last: with it the store is whole, whatever failed behind it.
      if (after.exists("/store/superblock") && Store::open(after, kStorePath, Options{})) continue;
      const auto again = make_store(after, kStorePath, StoreGeometry{}, true);
      // What was begun is no store, so nothing of it is deleted on its own.
      EXPECT_TRUE(again.has_value() || again.error().code == ErrorCode::kNotEmpty) << again.error().message;
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace cairn::crash
