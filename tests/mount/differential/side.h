// One side of a differential run: a directory in which a script is done by several processes.
#pragma once

#include <string>
#include <vector>

#include "mount/differential/step.h"

namespace cairn::differential {

using Script = std::vector<Step>;

// Does the script in a new directory `directory`, which is the root of all its processes, and looks at what it
// touched after each step. The reports end where a process ended that should not have. Forks: only from a process
// without threads.
class Side {
 public:
  Side(std::string directory, const Script& script);
  ~Side();
  Side(const Side&) = delete;
  Side& operator=(const Side&) = delete;

  void start();  // in the background
  void wait();   // until it has ended
  [[nodiscard]] const Report& report(size_t step) const { return reports_[step]; }
  // The whole tree, as lines: list_tree().
  [[nodiscard]] std::string listing() const;

 private:
  void run_driver() const;

  const std::string directory_;
  const Script& script_;
  Report* reports_;  // shared with the processes
  int driver_ = -1;  // pid
};

}  // namespace cairn::differential
