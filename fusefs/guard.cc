#include "fusefs/guard.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fmt/format.h>

#include "fusefs/mount_table.h"

namespace cairn::fusefs {
namespace {

constexpr char kGoHome = 'h';
constexpr char kCrashed = 'c';
constexpr int kParentEnded = SIGUSR1;  // its thread, not the process, which may never

int to_guard = -1;  // the pipe's end; a signal handler has no other way to it

static_assert(kGoHome != kCrashed);

// The connection's number is the minor number of the mount's device.
bool abort_by_control_file(const std::string& device) {
  const auto minor = device.substr(device.find(':') + 1);
  std::ofstream file(fmt::format("/sys/fs/fuse/connections/{}/abort", minor));
  return static_cast<bool>(file << "1" << std::flush);
}

// A forced unmount aborts first. Held open, the mount is busy, so nothing else comes of it. Opening asks the daemon nothing.
void abort_by_unmount(const std::string& point) {
  const int held = ::open(point.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (held < 0) return;  // the connection is closed already, or we are not root
  ::umount2(point.c_str(), MNT_FORCE | UMOUNT_NOFOLLOW);
  ::close(held);
}

// Only the mount of this store: by the time the daemon is dead, somebody else may have mounted over the same point. Not
// being able to abort is no error that anybody could be told of; the mount is then as dead as without a guard.
void abort_connection(const std::string& store, const std::string& point) {
  const auto entry = mounted_at(mount_table(), point);
  if (!entry || entry->type != kFsType || entry->source != store) return;
  if (!abort_by_control_file(entry->device)) abort_by_unmount(point);
}

// Closes all but `pipe`, of which the guard keeps the only thing it holds.
void let_go(int pipe) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; ++fd) ::dup2(null, fd);
  for (int fd = STDERR_FILENO + 1, end = static_cast<int>(::sysconf(_SC_OPEN_MAX)); fd < end && fd < 1024; ++fd)
    if (fd != pipe) ::close(fd);
  if (::chdir("/") != 0) ::_exit(1);
}

// True if the daemon is dead or dying, false if it has said that it ends.
bool wait_for_daemon(int pipe, int signals) {
  std::array<pollfd, 2> waits = {{{pipe, POLLIN, 0}, {signals, POLLIN, 0}}};
  while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
  }
  char word = 0;
  if (waits[0].revents == 0) return true;
  return ::read(pipe, &word, sizeof word) != sizeof word || word != kGoHome;
}

// The child's whole life. It is the fork of a process with one thread, so it may allocate; it must not touch the
// daemon's log, and ignores every signal, as one that is sent to the whole process group must not end it before the
// daemon.
[[noreturn]] void run_guard(int pipe, int parent, const std::string& store, const std::string& point) {
  sigset_t all;
  sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  ::prctl(PR_SET_NAME, "cairnfs-guard");
  ::prctl(PR_SET_PDEATHSIG, kParentEnded);
  let_go(pipe);
  sigset_t ended;
  sigemptyset(&ended);
  sigaddset(&ended, kParentEnded);
  const int signals = ::signalfd(-1, &ended, SFD_CLOEXEC);
  // The order matters: first the signal is asked for, then the parent is looked at. Whoever dies between is noticed
  // by one.
  const bool alive = ::getppid() == parent;  // else it ended before the signal was asked for
  if (!alive || wait_for_daemon(pipe, signals)) abort_connection(store, point);
  ::_exit(0);
}

// Dumping core waits for all threads, so the thread that the guard watches would not end.
extern "C" void tell_guard_of_crash(int signal) {
  [[maybe_unused]] const ssize_t n = ::write(to_guard, &kCrashed, sizeof kCrashed);
  ::raise(signal);  // its handler is reset: this kills
}

// The default action would be a core dump. A handler that is there already belongs to a sanitizer or a debugger.
void watch_crashes() {
  for (const int signal : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) {
    struct sigaction old = {};
    ::sigaction(signal, nullptr, &old);
    if (old.sa_handler != SIG_DFL) continue;  // a sanitizer's
    struct sigaction action = {};
    action.sa_handler = tell_guard_of_crash;
    action.sa_flags = SA_RESETHAND | SA_NODEFER;
    ::sigaction(signal, &action, nullptr);
  }
}

}  // namespace

Guard::Guard(std::string store, std::string mount_point) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return;
  const int parent = ::getpid();
  pid_ = ::fork();
  if (pid_ == 0) run_guard(ends[0], parent, store, mount_point);
  ::close(ends[0]);
  if (pid_ < 0) {
    ::close(ends[1]);
    return;
  }
  to_guard = ends[1];
  std::signal(SIGPIPE, SIG_IGN);  // somebody may kill it
  watch_crashes();
}

Guard::~Guard() {
  if (pid_ < 0) return;
  [[maybe_unused]] const ssize_t n = ::write(to_guard, &kGoHome, sizeof kGoHome);  // failing, it is gone already
  ::close(to_guard);
  to_guard = -1;
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

}  // namespace cairn::fusefs
