// A measurement in a process of its own, with no more memory than it is given.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>

namespace cairn::bench {

using Figures = std::map<std::string, double>;

// Runs `measure` in a child and returns what it returned. With `memory` (bytes) not 0 the child lives in a memory cgroup of
// its own, v2 or v1, so that everything it takes counts: heap, buffers, and the page cache of the files it reads and writes.
// The caller has no threads. Throws, with one line, what `measure` threw, or why there is no such cgroup.
Figures in_child(uint64_t memory, const std::function<Figures()>& measure);

}  // namespace cairn::bench
