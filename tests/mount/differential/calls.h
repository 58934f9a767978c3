// The calls that steps are made of: how to draw their arguments, and how to do them.
#pragma once

#include <array>
#include <span>
#include <string_view>
#include <vector>

#include "mount/differential/random.h"
#include "mount/differential/step.h"

namespace cairn::differential {

// A process in the middle of a script.
class Actor {
 public:
  explicit Actor(int index) : index_(index) { slots_.fill(-1); }

  [[nodiscard]] int index() const { return index_; }
  [[nodiscard]] int fd(int slot) const { return slots_[static_cast<size_t>(slot)]; }
  void put(int slot, int fd);  // closes what was there
  // As much of it as `size` asks for, at an address that O_DIRECT takes.
  [[nodiscard]] char* buffer(size_t size);
  void fill(size_t size, int64_t seed);  // the buffer, with bytes that follow from the seed

 private:
  int index_;
  std::array<int, kSlots> slots_;
  std::vector<char> bytes_;
};

uint64_t digest_of(std::string_view bytes);

// Does the step, and gives what the system call gave: -1 with errno, or a number that both sides must agree on. May
// put a digest into the outcome.
using Perform = int64_t (*)(Actor& actor, const Step& step, Outcome& outcome);

struct Call {
  std::string_view name;
  int weight;  // how often it is drawn
  void (*make)(Random& random, Step& step);
  Perform perform;
};

std::span<const Call> name_calls();
std::span<const Call> file_calls();
std::span<const Call> content_calls();
std::span<const Call> attribute_calls();
std::span<const Call> lock_calls();

const Call* find_call(std::string_view name);
// The calls that can be drawn, those in `without` left out.
Step draw(Random& random, std::span<const std::string> without);

}  // namespace cairn::differential
