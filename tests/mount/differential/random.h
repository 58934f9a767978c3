// Arguments of system calls, drawn so that calls meet: few names, offsets around pages and chunks.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <random>
#include <string>

namespace cairn::differential {

class Random {
 public:
  explicit Random(uint64_t seed) : bits_(seed) {}

  uint64_t below(uint64_t end) { return bits_() % end; }
  bool chance(int percent) { return below(100) < static_cast<uint64_t>(percent); }
  int64_t pick(std::initializer_list<int64_t> choices) { return choices.begin()[below(choices.size())]; }

  std::string name();
  std::string path();
  int64_t offset();
  int64_t length();
  int64_t mode();   // permission bits, with setuid, setgid and sticky
  int64_t owner();  // one of a few ids, or -1

 private:
  std::mt19937_64 bits_;
};

}  // namespace cairn::differential
