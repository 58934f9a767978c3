#include "fusefs/unmount.h"

#include <cerrno>
#include <vector>

#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

namespace cairn::fusefs {
namespace {

std::string os_text(int err) { return std::error_code(err, std::generic_category()).message(); }

Result<void> busy(const std::string& point) {
  return fail(ErrorCode::kBusy, fmt::format("{} is busy; `fuser -vm {}` shows by whom", point, point));
}

// UMOUNT_NOFOLLOW: what is unmounted is the path that was looked up, even if somebody puts a link there meanwhile.
Result<void> unmount_as_root(const std::string& point, bool lazy) {
  if (::umount2(point.c_str(), UMOUNT_NOFOLLOW | (lazy ? MNT_DETACH : 0)) == 0) return {};
  const int err = errno;
  if (err == EBUSY) return busy(point);
  return fail(Error(ErrorCode::kIo, err, fmt::format("cannot unmount {}: {}", point, os_text(err))));
}

// Until the other end is closed. The helper says one line, so this is small.
std::string read_all(int fd) {
  std::string text;
  for (char buffer[256];;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) return text;
  }
}

// Runs `argv`; its exit code, and in `output` what it wrote to stderr. -1 if it could not be run or was killed.
int run(const std::vector<std::string>& argv, std::string* output) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return -1;
  // Spawned rather than forked: the daemon has threads, and after a fork only async-signal-safe calls would be
  // allowed.
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO);
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));  // execve's type, not its doing
  args.push_back(nullptr);
  pid_t child = 0;
  const int err = ::posix_spawnp(&child, args[0], &actions, nullptr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  ::close(ends[1]);
  if (err == 0) *output = read_all(ends[0]);
  ::close(ends[0]);
  if (err != 0) {
    *output = os_text(err);
    return -1;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return -1;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// fusermount3 is setuid root and takes away what its caller has mounted. It has one exit code for every failure, so
// what it says is searched for the one that matters.
Result<void> unmount_with_helper(const std::string& point, bool lazy) {
  std::vector<std::string> argv = {"fusermount3", "-u"};
  if (lazy) argv.emplace_back("-z");
  argv.insert(argv.end(), {"--", point});
  std::string output;
  if (run(argv, &output) == 0) return {};
  if (output.find("busy") != std::string::npos) return busy(point);
  const std::string line = output.substr(0, output.find('\n'));
  return fail(ErrorCode::kPermission, fmt::format("cannot unmount {}: fusermount3 says: {}", point, line));
}

}  // namespace

Result<void> unmount(const std::string& point, bool lazy) {
  return ::geteuid() == 0 ? unmount_as_root(point, lazy) : unmount_with_helper(point, lazy);
}

}  // namespace cairn::fusefs
