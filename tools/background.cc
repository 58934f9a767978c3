#include "tools/background.h"

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdlib>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "tools/command.h"

namespace cairn::tools {
namespace {

// The pipe's whole protocol: this word if the mount is up, else one line that says why not. Nothing at all means that
// the daemon was killed.
constexpr std::string_view kReady = "ready";

// Until the daemon has closed its end, which also happens when it dies.
std::string read_report(int fd) {
  std::string text;
  for (char buffer[512];;) {
    const ssize_t n = ::read(fd, buffer, sizeof buffer);
    if (n > 0) text.append(buffer, static_cast<size_t>(n));
    if (n == 0 || (n < 0 && errno != EINTR)) return text;
  }
}

// The parent's part: its exit code is what the shell sees.
int await(int fd) {
  const std::string report = read_report(fd);
  if (report == kReady) return kOk;
  if (report.empty()) return complain("the daemon died before the mount was up; the system log may say why");
  return complain(report);
}

// Nothing that the caller had open is kept, but stdio and `kept`: a lock of his would be held as long as the mount lives.
void close_inherited(int kept) {
  const auto report = static_cast<unsigned>(kept);
  constexpr unsigned kFirst = STDERR_FILENO + 1;
  if (report > kFirst) ::close_range(kFirst, report - 1, 0);
  ::close_range(std::max(report + 1, kFirst), ~0u, 0);
}

// A daemon keeps no terminal, or the pipe of whoever started it, open. Without /dev/null it goes on as it is.
void replace_stdio(int from, int to) {
  const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (null < 0) return;
  for (int fd = from; fd <= to; ++fd) ::dup2(null, fd);
  ::close(null);
}

}  // namespace

Background::~Background() {
  if (report_ >= 0) ::close(report_);
}

std::optional<int> Background::detach() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return complain(fmt::format("cannot make a pipe: errno {}", errno));
  const pid_t child = ::fork();
  if (child < 0) return complain(fmt::format("cannot fork: errno {}", errno));
  if (child > 0) {
    ::close(ends[1]);
    return await(ends[0]);
  }
  ::close(ends[0]);
  report_ = ends[1];
  close_inherited(report_);
  detached_ = true;
  // From here on we are the daemon. stdout and stderr stay until it is up, for what libraries have to complain about.
  std::signal(SIGPIPE, SIG_IGN);  // the parent may be gone when we report
  ::setsid();
  ::umask(0077);
  if (::chdir("/") != 0) return failed(fmt::format("cannot change to /: errno {}", errno));
  replace_stdio(STDIN_FILENO, STDIN_FILENO);
  return std::nullopt;
}

// Closing is what tells the parent that the report is whole.
void Background::send(std::string_view report) {
  while (!report.empty()) {
    const ssize_t n = ::write(report_, report.data(), report.size());
    if (n < 0 && errno != EINTR) break;  // the parent was killed: nobody wants to know
    if (n > 0) report.remove_prefix(static_cast<size_t>(n));
  }
  ::close(report_);
  report_ = -1;
}

void Background::ready() {
  if (report_ < 0) return;
  replace_stdio(STDOUT_FILENO, STDERR_FILENO);
  send(kReady);
}

int Background::failed(std::string_view message) {
  if (!detached_) return complain(message);
  if (report_ >= 0) send(message);
  return kFailed;
}

}  // namespace cairn::tools
