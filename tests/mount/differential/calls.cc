#include "mount/differential/calls.h"

#include <cstdint>
#include <functional>

#include <unistd.h>

namespace cairn::differential {
namespace {

constexpr size_t kAlignment = 4096;

std::vector<Call> all_calls() {
  std::vector<Call> all;
  for (const auto& group : {name_calls(), file_calls(), content_calls(), attribute_calls(), lock_calls()}) {
    all.insert(all.end(), group.begin(), group.end());
  }
  return all;
}

const std::vector<Call>& calls() {
  static const std::vector<Call> all = all_calls();
  return all;
}

}  // namespace

void Actor::put(int slot, int fd) {
  int& place = slots_[static_cast<size_t>(slot)];
  if (place >= 0) ::close(place);
  place = fd;
}

char* Actor::buffer(size_t size) {
  if (bytes_.size() < size + kAlignment) bytes_.resize(size + kAlignment);
  const auto address = reinterpret_cast<uintptr_t>(bytes_.data());
  return bytes_.data() + (kAlignment - address % kAlignment);
}

void Actor::fill(size_t size, int64_t seed) {
  char* bytes = buffer(size);
  auto state = static_cast<uint64_t>(seed) * 0x9e3779b97f4a7c15u + 1;
  for (size_t i = 0; i < size; ++i) {
    if (i % 64 == 0) state = state * 6364136223846793005u + 1442695040888963407u;
    bytes[i] = static_cast<char>((state >> 56) + i);
  }
}

uint64_t digest_of(std::string_view bytes) { return std::hash<std::string_view>()(bytes); }

const Call* find_call(std::string_view name) {
  for (const Call& call : calls()) {
    if (call.name == name) return &call;
  }
  return nullptr;
}

Step draw(Random& random, std::span<const std::string> without) {
  uint64_t total = 0;
  for (const Call& call : calls()) total += static_cast<uint64_t>(call.weight);
  for (;;) {
    auto dice = static_cast<int64_t>(random.below(total));
    for (const Call& call : calls()) {
      dice -= call.weight;
      if (dice >= 0) continue;
      Step step;
      step.actor = random.chance(40) ? 0 : static_cast<int>(random.below(kActors));
      step.call = call.name;
      step.slot = static_cast<int>(random.below(kSlots));
      step.other = static_cast<int>(random.below(kSlots));
      call.make(random, step);
      bool left_out = false;
      for (const std::string& name : without) left_out = left_out || name == step.call;
      if (left_out) break;
      return step;
    }
  }
}

}  // namespace cairn::differential
