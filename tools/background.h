// Starting a daemon so that whoever started it learns how it went.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cairn::tools {

// The child goes on as the daemon; the parent waits for its word, and returns to the shell only then.
// Needs a process with one thread. In the foreground (no detach()) the reports do what they say at once.
class Background {
 public:
  Background() = default;
  Background(const Background&) = delete;
  Background& operator=(const Background&) = delete;
  ~Background();

  // Forks. In the parent: the exit code, once the child has reported or died. In the child: nothing, and no descriptor is open but
  // stdio's.
  std::optional<int> detach();
  // The daemon is up: the parent ends with success, and the daemon lets go of the terminal.
  void ready();
  // The daemon failed: the parent prints `message` and ends with the code that this returns. A daemon that was up has nobody to
  // tell; its caller logs.
  int failed(std::string_view message);

 private:
  void send(std::string_view report);

  int report_ = -1;  // the child's end of the pipe, until it has reported
  bool detached_ = false;
};

}  // namespace cairn::tools
