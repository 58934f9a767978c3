// The one source of chance in the simulation: small, and the same on every machine.
#pragma once

#include <cstdint>

#include "base/check.h"

namespace cairn::io {

// splitmix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", OOPSLA '14). Not for secrets. For
// one thread. Equal seeds give equal numbers for ever: a seed that a test printed must replay its run.
class SimRandom {
 public:
  explicit SimRandom(uint64_t seed) : state_(seed) {}
  // A stream of its own for each purpose, so that one more call here does not change what happens there.
  SimRandom(uint64_t seed, uint64_t stream) : state_(seed ^ (stream * 0xd1342543de82ef95)) { (void)next(); }

  uint64_t next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  }
  // Any of 2^64, evenly; each state is visited once in a period of 2^64.
  // A number below `bound`, which is not 0. Smaller ones are favoured by bound / 2^64, which no test can tell.
  uint64_t below(uint64_t bound) {
    CHECK(bound > 0);
    return next() % bound;
  }
  bool coin() { return (next() & 1) != 0; }

 private:
  uint64_t state_;
};

}  // namespace cairn::io
