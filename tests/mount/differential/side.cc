#include "mount/differential/side.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mount/differential/calls.h"
#include "mount/differential/look.h"

namespace cairn::differential {
namespace {

constexpr unsigned kStepSeconds = 60;  // no step takes that long

struct Identity {
  uid_t uid = 0;
  gid_t gid = 0, other_group = 0;
};
constexpr std::array<Identity, kActors> kIdentities = {
    {{0, 0, 0}, {1000, 1000, 2000}, {1001, 1000, 1000}, {1001, 1002, 2000}}};

[[noreturn]] void die(const char* what) {
  std::perror(what);
  ::_exit(1);
}

void become(const Identity& who) {
  if (who.uid == 0) return;
  if (::setgroups(1, &who.other_group) != 0 || ::setresgid(who.gid, who.gid, who.gid) != 0 ||
      ::setresuid(who.uid, who.uid, who.uid) != 0) {
    die("differential: cannot become another user");
  }
}

// A message between a driver and its processes: the number of a step.
bool send_number(int socket, uint32_t number) { return ::write(socket, &number, sizeof number) == sizeof number; }
bool receive_number(int socket, uint32_t& number) { return ::read(socket, &number, sizeof number) == sizeof number; }

bool uses_slot(const Call& call) {
  return call.name != "open" && call.name != "tmpfile" && call.name != "close" && call.name != "dup";
}

// Does the steps whose numbers it is sent, until there are no more.
[[noreturn]] void run_actor(int index, int socket, const Script& script, Report* reports) {
  become(kIdentities[static_cast<size_t>(index)]);
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  ::signal(SIGPIPE, SIG_IGN);
  ::umask(022);
  Actor actor(index);
  for (uint32_t number = 0; receive_number(socket, number);) {
    const Step& step = script[number];
    Report& report = reports[number];
    const Call& call = *find_call(step.call);
    ::alarm(kStepSeconds);
    const Before before = look_before(actor.fd(step.slot));
    errno = 0;
    report.outcome.result = call.perform(actor, step, report.outcome);
    if (report.outcome.result == -1) report.outcome.error = errno;
    if (report.outcome.result == -1) report.outcome.digest = 0;
    if (uses_slot(call)) report.seen[4] = look_after(actor.fd(step.slot), before);
    ::alarm(0);
    if (!send_number(socket, number)) break;
  }
  ::_exit(0);
}

int fork_actor(int index, const Script& script, Report* reports) {
  std::array<int, 2> sockets = {};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets.data()) != 0) die("differential: socketpair");
  const pid_t child = ::fork();
  if (child < 0) die("differential: fork");
  if (child == 0) {
    ::close(sockets[0]);
    run_actor(index, sockets[1], script, reports);
  }
  ::close(sockets[1]);
  return sockets[0];
}

// ext4 has made the whiteout, and touched the directory, before it finds that the rename cannot be.
bool fails_half_way(const Step& step, const Report& report) {
  return step.call == "rename" && (step.a & RENAME_WHITEOUT) != 0 && report.outcome.result != 0;
}

// Those that are there.
void touch_directories(const std::string& one, const std::string& other) {
  for (const std::string& path : {one, other}) (void)::utimensat(AT_FDCWD, path.c_str(), nullptr, 0);
}

bool do_step(const Step& step, uint32_t number, int socket, Report& report) {
  const std::array<std::string, 4> paths = {step.path, step.path2, directory_of(step.path), directory_of(step.path2)};
  std::array<Before, 4> before;
  const auto present = [&](size_t i) { return !paths[i % 2].empty(); };
  for (size_t i = 0; i < paths.size(); ++i) {
    if (present(i)) before[i] = look_before(paths[i]);
  }
  if (!send_number(socket, number) || !receive_number(socket, number)) return false;
  const bool half_way = fails_half_way(step, report);
  // A time that a call had set is gone there, and would be missed in every step to come.
  if (half_way) touch_directories(paths[2], paths[3]);
  for (size_t i = 0; i < paths.size(); ++i) {
    if (present(i)) report.seen[i] = look_after(paths[i], before[i], number % 8 == 0);
  }
  if (half_way) {
    for (Seen& seen : report.seen) seen.mtime_moved = seen.ctime_moved = false;
  }
  if (present(0) && present(1)) report.one_inode = same_inode(step.path, step.path2);
  report.done = true;
  return true;
}

}  // namespace

Side::Side(std::string directory, const Script& script) : directory_(std::move(directory)), script_(script) {
  void* place =
      ::mmap(nullptr, (script.size() + 1) * sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (place == MAP_FAILED) die("differential: mmap");
  reports_ = static_cast<Report*>(place);
  for (size_t i = 0; i < script.size(); ++i) new (&reports_[i]) Report();
}

Side::~Side() {
  ::munmap(reports_, (script_.size() + 1) * sizeof(Report));
  std::error_code error;
  std::filesystem::remove_all(directory_, error);
  if (error) std::fprintf(stderr, "differential: cannot remove %s: %s\n", directory_.c_str(), error.message().c_str());
}

void Side::run_driver() const {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::chroot(directory_.c_str()) != 0 || ::chdir("/") != 0) die("differential: chroot");
  std::array<int, kActors> sockets = {};
  for (int i = 0; i < kActors; ++i) sockets[static_cast<size_t>(i)] = fork_actor(i, script_, reports_);
  for (uint32_t i = 0; i < script_.size(); ++i) {
    if (!do_step(script_[i], i, sockets[static_cast<size_t>(script_[i].actor)], reports_[i])) break;
  }
}

void Side::start() {
  if (::mkdir(directory_.c_str(), 0777) != 0 || ::chmod(directory_.c_str(), 0777) != 0) die(directory_.c_str());
  driver_ = ::fork();
  if (driver_ < 0) die("differential: fork");
  if (driver_ != 0) return;
  run_driver();
  ::_exit(0);
}

void Side::wait() {
  int status = 0;
  if (::waitpid(driver_, &status, 0) < 0 || status != 0) die("differential: a driver failed");
}

// In a process of its own, as paths of the listing begin at the side's root.
std::string Side::listing() const {
  std::array<int, 2> ends = {};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) die("differential: pipe");
  const pid_t child = ::fork();
  if (child < 0) die("differential: fork");
  if (child == 0) {
    if (::chroot(directory_.c_str()) != 0 || ::chdir("/") != 0) die("differential: chroot");
    const std::string lines = list_tree();
    for (size_t done = 0; done < lines.size();) {
      const ssize_t n = ::write(ends[1], lines.data() + done, lines.size() - done);
      if (n <= 0) ::_exit(1);
      done += static_cast<size_t>(n);
    }
    ::_exit(0);
  }
  ::close(ends[1]);
  std::string lines;
  std::array<char, 65536> bytes;
  for (ssize_t n = 0; (n = ::read(ends[0], bytes.data(), bytes.size())) > 0;) {
    lines.append(bytes.data(), static_cast<size_t>(n));
  }
  ::close(ends[0]);
  int status = 0;
  if (::waitpid(child, &status, 0) < 0 || status != 0) die("differential: listing a tree failed");
  return lines;
}

}  // namespace cairn::differential
