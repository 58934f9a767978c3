// Calls about attributes, and extended ones.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "mount/differential/calls.h"

namespace cairn::differential {
namespace {

void make_chmod(Random& random, Step& step) {
  step.path = random.path();
  step.a = random.mode();
}
int64_t do_chmod(Actor&, const Step& step, Outcome&) { return ::chmod(step.path.c_str(), static_cast<mode_t>(step.a)); }
void make_fchmod(Random& random, Step& step) { step.a = random.mode(); }
int64_t do_fchmod(Actor& actor, const Step& step, Outcome&) {
  return ::fchmod(actor.fd(step.slot), static_cast<mode_t>(step.a));
}

void make_owners(Random& random, Step& step) {
  step.a = random.owner();
  do step.b = random.owner();
  while (step.a == -1 && step.b == -1);  // whether it may depends on a setgid bit that is not compared
}
void make_chown(Random& random, Step& step) {
  step.path = random.path();
  make_owners(random, step);
  step.c = random.pick({0, AT_SYMLINK_NOFOLLOW});
}
int64_t do_chown(Actor&, const Step& step, Outcome&) {
  return ::fchownat(AT_FDCWD, step.path.c_str(), static_cast<uid_t>(step.a), static_cast<gid_t>(step.b),
                    static_cast<int>(step.c));
}
int64_t do_fchown(Actor& actor, const Step& step, Outcome&) {
  return ::fchown(actor.fd(step.slot), static_cast<uid_t>(step.a), static_cast<gid_t>(step.b));
}

// Times that are set lie before 2001, so that they can be told from the clock's.
void make_times(Random& random, Step& step) {
  const auto nanoseconds = [&random] {
    return random.chance(20) ? random.pick({UTIME_NOW, UTIME_OMIT, 1'000'000'000, -1})
                             : static_cast<int64_t>(random.below(1'000'000'000));
  };
  step.a = nanoseconds();
  step.b = nanoseconds();
  step.c = static_cast<int64_t>(random.below(900'000'000)) + 1;
}
void make_utimens(Random& random, Step& step) {
  step.path = random.path();
  make_times(random, step);
  step.other = static_cast<int>(random.below(3));  // 0: links are not followed
}
std::array<timespec, 2> times_of(const Step& step) { return {{{step.c, step.a}, {step.c / 2, step.b}}}; }
// The time of access that the call has set, if it has.
int64_t with_atime(const Step& step, const struct stat& st, Outcome& outcome) {
  if (step.a >= 0 && step.a < 1'000'000'000) {
    outcome.digest = static_cast<uint64_t>(st.st_atim.tv_sec * 1'000'000'000 + st.st_atim.tv_nsec);
  }
  return 0;
}
int64_t do_utimens(Actor&, const Step& step, Outcome& outcome) {
  const auto times = times_of(step);
  const int flags = step.other == 0 ? AT_SYMLINK_NOFOLLOW : 0;
  struct stat st = {};
  if (::utimensat(AT_FDCWD, step.path.c_str(), times.data(), flags) != 0) return -1;
  if (::fstatat(AT_FDCWD, step.path.c_str(), &st, flags) != 0) return -1;
  return with_atime(step, st, outcome);
}
int64_t do_futimens(Actor& actor, const Step& step, Outcome& outcome) {
  const auto times = times_of(step);
  struct stat st = {};
  if (::futimens(actor.fd(step.slot), times.data()) != 0 || ::fstat(actor.fd(step.slot), &st) != 0) return -1;
  return with_atime(step, st, outcome);
}
void make_utimes_now(Random& random, Step& step) { step.path = random.path(); }
int64_t do_utimes_now(Actor&, const Step& step, Outcome&) {
  return ::utimensat(AT_FDCWD, step.path.c_str(), nullptr, 0);
}

void make_umask(Random& random, Step& step) { step.a = random.pick({0, 022, 077, 027, 0777}); }
int64_t do_umask(Actor&, const Step& step, Outcome&) { return ::umask(static_cast<mode_t>(step.a)); }

// Few names and short values: ext4 has room for a block of them.
constexpr std::array<const char*, 10> kXattrs = {"user.a", "user.b", "user.c",     "trusted.t", "security.s",
                                                 "user.a", "user.",  "system.bad", "nospace",   "user.b"};
const char* xattr_name(int64_t number) {
  const auto index = static_cast<size_t>(number);
  static const std::string longest = "user." + std::string(250, 'x');
  static const std::string too_long = longest + 'x';
  if (index == kXattrs.size()) return longest.c_str();
  if (index == kXattrs.size() + 1) return too_long.c_str();
  return kXattrs[index % kXattrs.size()];
}
void make_xattr(Random& random, Step& step) {
  step.path = random.path();
  step.a = static_cast<int64_t>(random.below(kXattrs.size() + 2));
  step.b = static_cast<int64_t>(random.below(300));
  step.c = static_cast<int64_t>(random.below(1000));
  step.other = static_cast<int>(random.pick({0, 0, XATTR_CREATE, XATTR_REPLACE, 4}));
}
int64_t do_setxattr(Actor& actor, const Step& step, Outcome&) {
  actor.fill(static_cast<size_t>(step.b), step.c);
  return ::lsetxattr(step.path.c_str(), xattr_name(step.a), actor.buffer(0), static_cast<size_t>(step.b), step.other);
}
int64_t do_fsetxattr(Actor& actor, const Step& step, Outcome&) {
  actor.fill(static_cast<size_t>(step.b), step.c);
  return ::fsetxattr(actor.fd(step.slot), xattr_name(step.a), actor.buffer(0), static_cast<size_t>(step.b), 0);
}
int64_t do_getxattr(Actor& actor, const Step& step, Outcome& outcome) {
  char* value = actor.buffer(300);
  const ssize_t size = ::lgetxattr(step.path.c_str(), xattr_name(step.a), value, static_cast<size_t>(step.b));
  if (size > 0 && step.b > 0) outcome.digest = digest_of({value, static_cast<size_t>(size)});
  return size;
}
int64_t do_removexattr(Actor&, const Step& step, Outcome&) {
  return ::lremovexattr(step.path.c_str(), xattr_name(step.a));
}
int64_t do_listxattr(Actor& actor, const Step& step, Outcome& outcome) {
  char* list = actor.buffer(4096);
  const ssize_t size = ::llistxattr(step.path.c_str(), list, step.a % 3 == 0 ? 0 : 4096);
  if (size <= 0 || step.a % 3 == 0) return size;
  std::vector<std::string> names;
  for (const char* name = list; name < list + size; name += std::strlen(name) + 1) names.emplace_back(name);
  std::sort(names.begin(), names.end());
  std::string all;
  for (const std::string& name : names) all += name + '\n';
  outcome.digest = digest_of(all);
  return size;
}

constexpr Call kCalls[] = {
    {"chmod", 20, make_chmod, do_chmod},
    {"fchmod", 6, make_fchmod, do_fchmod},
    {"chown", 15, make_chown, do_chown},
    {"fchown", 5, make_owners, do_fchown},
    {"utimens", 12, make_utimens, do_utimens},
    {"futimens", 5, make_times, do_futimens},
    {"utimes_now", 4, make_utimes_now, do_utimes_now},
    {"umask", 2, make_umask, do_umask},
    {"setxattr", 12, make_xattr, do_setxattr},
    {"fsetxattr", 4, make_xattr, do_fsetxattr},
    {"getxattr", 8, make_xattr, do_getxattr},
    {"removexattr", 5, make_xattr, do_removexattr},
    {"listxattr", 5, make_xattr, do_listxattr},
};

}  // namespace

std::span<const Call> attribute_calls() { return kCalls; }

}  // namespace cairn::differential
