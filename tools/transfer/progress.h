// How far an import or export is, on a terminal.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

#include "tools/transfer/transfer.h"
#include "tools/transfer/tree.h"

namespace cairn::tools {

// Redraws one line on stderr a few times a second, from its construction until its destruction, which wipes it. Counts what is
// to be done by walking through the source beside the transfer; until that is done there is no time left to be told.
class Progress {
 public:
  Progress(Tree& source, const TransferCount& count);
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress();
  // Prints a line of somebody else's to stderr, in between.
  void say(const std::string& line);

 private:
  void count_source();
  void redraw_until_stopped();
  [[nodiscard]] std::string line() const;

  Tree& source_;
  const TransferCount& count_;
  const std::chrono::steady_clock::time_point started_;
  std::atomic<uint64_t> total_files_ = 0, total_bytes_ = 0;
  std::atomic<bool> counted_ = false, stopping_ = false;
  std::mutex mutex_;  // of stderr
  std::condition_variable stopped_;
  std::thread counter_, drawer_;
};

}  // namespace cairn::tools
