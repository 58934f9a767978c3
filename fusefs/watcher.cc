#include "fusefs/watcher.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <fstream>

#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fmt/format.h>
#include <spdlog/logger.h>

#include "fusefs/unmount.h"

namespace cairn::fusefs {
namespace {

// What the kernel reads ahead of a sequential reader, KiB: as much as one request may ask for. FUSE's INIT can only lower it.
constexpr int kReadAheadKib = 1024;
// How often the loop's thread is told again to look at the session. It may be just about to sleep when told first.
constexpr int kRepeatMs = 20;
// Pages of mapped files: no write for this long means that there are no more; and how long to wait for that at most.
constexpr int kQuietMs = 100;
constexpr int kWriteBackMs = 10'000;

static_assert(kRepeatMs > 0 && kQuietMs < kWriteBackMs);

sigset_t stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, signal);
  return set;
}

// Needs root; without it reads are only slower.
void raise_read_ahead(dev_t device) {
  std::ofstream knob(fmt::format("/sys/class/bdi/{}:{}/read_ahead_kb", major(device), minor(device)));
  knob << kReadAheadKib << '\n';
}

void interrupt_only(int) {}

}  // namespace

void block_stop_signals() {
  const sigset_t set = stop_signals();
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
}

Watcher::Watcher(fuse_session* session, const Frontend& frontend, const ServeOptions& options)
    : session_(session),
      frontend_(frontend),
      options_(options),
      loop_thread_(pthread_self()),
      loop_ended_(eventfd(0, EFD_CLOEXEC)),
      thread_([this] { run(); }) {}

// The eventfd frees the thread from each of its waits.
Watcher::~Watcher() {
  eventfd_write(loop_ended_, 1);
  thread_.join();
  ::close(loop_ended_);
}

void Watcher::run() {
  if (!announce() || wait_for_signal()) take_down();
}

// An answered stat proves that a program can use the mount, and that INIT is through. False if nobody can use it.
bool Watcher::announce() {
  struct stat st = {};
  if (::stat(options_.mount_point.c_str(), &st) != 0) {
    unanswered_ = errno;
    return false;
  }
  raise_read_ahead(st.st_dev);
  if (options_.on_ready) options_.on_ready();
  return true;
}

// False if the loop ended by itself.
bool Watcher::wait_for_signal() {
  const sigset_t set = stop_signals();
  const int signals = signalfd(-1, &set, SFD_CLOEXEC);
  std::array<pollfd, 2> waits = {{{signals, POLLIN, 0}, {loop_ended_, POLLIN, 0}}};
  while (::poll(waits.data(), waits.size(), -1) < 0 && errno == EINTR) {
  }
  signalfd_siginfo info = {};
  const bool signalled = waits[1].revents == 0 && ::read(signals, &info, sizeof info) == sizeof info;
  if (signalled) options_.logger->info("stopping signal={}", info.ssi_signo);
  ::close(signals);
  return signalled;
}

// First the polite way. If programs still have files open there the mount is detached: no new caller gets in, and what
// they have written to mapped files is asked for before the loop ends.
void Watcher::take_down() {
  auto unmounted = unmount(options_.mount_point, /*lazy=*/false);
  if (unmounted) return;  // the kernel ends the session
  options_.logger->warn("detaching mount_point=\"{}\" reason=\"{}\"", options_.mount_point, unmounted.error().message);
  write_back();
  frontend_.notifier->stop();  // what it waits for is answered only as long as the loop runs
  end_loop();                  // programs that still use it get errors from here on
}

// Has the kernel send what was written to mapped files. For FUSE, syncfs() starts those writes and does not wait for them, so
// they have ended when none has come for a while.
void Watcher::write_back() {
  const int fd = ::open(options_.mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return options_.logger->error("write_back_failed errno={}", errno);
  if (::syncfs(fd) != 0) options_.logger->error("write_back_failed errno={}", errno);
  ::close(fd);
  const PageWrites& writes = frontend_.page_writes;
  uint64_t seen = UINT64_MAX;
  for (int waited_ms = 0; waited_ms < kWriteBackMs; waited_ms += kQuietMs) {
    const uint64_t finished = writes.finished;
    if (finished == seen && writes.started == finished) return;
    seen = finished;
    pollfd ended = {loop_ended_, POLLIN, 0};
    if (::poll(&ended, 1, kQuietMs) > 0) return;
  }
}

// The loop's thread sleeps in sem_wait(); a signal that does nothing makes it look whether the session has ended.
void Watcher::end_loop() {
  struct sigaction action = {};
  action.sa_handler = interrupt_only;  // without SA_RESTART
  sigaction(SIGUSR1, &action, nullptr);
  fuse_session_exit(session_);
  pollfd ended = {loop_ended_, POLLIN, 0};
  do {
    pthread_kill(loop_thread_, SIGUSR1);
  } while (::poll(&ended, 1, kRepeatMs) <= 0);
}

}  // namespace cairn::fusefs
