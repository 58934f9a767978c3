#include "mount/differential/random.h"

namespace cairn::differential {
namespace {

constexpr uint64_t kNames = 6;
constexpr size_t kNameMax = 255;
constexpr int64_t kPage = 4096, kChunk = 128 << 10;

}  // namespace

std::string Random::name() {
  switch (below(200)) {
    case 0: return std::string(kNameMax, 'n');
    case 1: return std::string(kNameMax + 1, 'm');
    case 2: return ".";
    case 3: return "..";
    case 4: return "\x01 \xff\n";
    case 5: return "a'\"\\";
    default: return {static_cast<char>('a' + below(kNames))};
  }
}

std::string Random::path() {
  if (below(400) == 0) return "";
  if (below(400) == 0) return "/";
  std::string path;
  if (below(400) == 0) {
    const uint64_t size = 4095 + below(3);  // around PATH_MAX
    while (path.size() + 2 < size) path += "./";
    while (path.size() < size) path += 'a';
    return path;
  }
  if (chance(10)) path += '/';
  const uint64_t dice = below(20);
  const int depth = dice < 9 ? 1 : dice < 17 ? 2 : 3;
  for (int i = 0; i < depth; ++i) path += (i == 0 ? "" : "/") + name();
  if (below(50) == 0) path += '/';
  return path;
}

int64_t Random::offset() {
  switch (below(8)) {
    case 0: return 0;
    case 1: return static_cast<int64_t>(below(400 << 10));
    case 2: return static_cast<int64_t>(below(4)) * kChunk + pick({-1, 0, 1});
    case 3: return static_cast<int64_t>(below(80)) * kPage;
    case 4: return below(40) == 0 ? pick({-1, 1ll << 40, 7ll << 40, INT64_MAX, INT64_MIN}) : 5;
    default: return static_cast<int64_t>(below(20000));
  }
}

int64_t Random::length() {
  switch (below(8)) {
    case 0: return pick({0, 1, 2, 511, kPage - 1, kPage, kPage + 1});
    case 1: return static_cast<int64_t>(below(300 << 10));
    case 2: return kChunk + pick({-1, 0, 1});
    default: return static_cast<int64_t>(below(9000));
  }
}

int64_t Random::mode() {
  int64_t mode = chance(60) ? pick({0644, 0666, 0600, 0755, 0777, 0640}) : static_cast<int64_t>(below(01000));
  if (chance(25)) mode |= pick({04000, 02000, 01000, 06000, 07000});
  return mode;
}

int64_t Random::owner() { return pick({-1, 0, 1000, 1001, 1002, 2000}); }

}  // namespace cairn::differential
