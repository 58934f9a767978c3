#include "fuzz/mutate.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

namespace cairn::fuzz {
namespace {

constexpr uint64_t kDefaultSeed = 20'240'611;
constexpr uint64_t kDefaultRuns = 20'000;

uint64_t from_environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

size_t below(Random& random, size_t n) { return n == 0 ? 0 : random() % n; }

// A number that decoders tend to get wrong: near a power of two, near 0 or near the end.
uint64_t interesting(Random& random) {
  const uint64_t power = uint64_t{1} << below(random, 64);
  switch (below(random, 5)) {
    case 0: return 0;
    case 1: return UINT64_MAX - below(random, 16);
    case 2: return power - 1;
    case 3: return power;
    default: return power + below(random, 16);
  }
}

void overwrite_number(Bytes& bytes, Random& random) {
  const size_t size = size_t{1} << below(random, 4);
  if (bytes.size() < size) return;
  const uint64_t value = interesting(random);
  std::memcpy(bytes.data() + below(random, bytes.size() - size + 1), &value, size);
}

void mutate_range(Bytes& bytes, Random& random) {
  const size_t begin = below(random, bytes.size());
  const size_t length = 1 + below(random, std::min<size_t>(bytes.size() - begin, size_t{1} << below(random, 14)));
  switch (below(random, 5)) {
    case 0: std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(begin), length, '\0'); break;
    case 1: bytes.erase(begin, length); break;
    case 2: bytes.insert(below(random, bytes.size()), bytes.substr(begin, length)); break;
    case 3:
      bytes.replace(std::min(below(random, bytes.size()), bytes.size() - length), length, bytes.substr(begin, length));
      break;
    default: bytes.resize(begin); break;
  }
}

// What libFuzzer starts from: every corpus entry as a file.
void write_corpus(const std::vector<Bytes>& corpus, const std::filesystem::path& folder) {
  const std::string target = testing::UnitTest::GetInstance()->current_test_info()->name();
  std::filesystem::create_directories(folder / target);
  for (size_t i = 0; i < corpus.size(); ++i) {
    std::ofstream file(folder / target / std::to_string(i), std::ios::binary);
    file.write(corpus[i].data(), static_cast<std::streamsize>(corpus[i].size()));
    ASSERT_TRUE(file.good());
  }
}

}  // namespace

void mutate(Bytes& bytes, Random& random) {
  for (size_t changes = 1 + below(random, 4); changes > 0; --changes) {
    if (bytes.empty()) bytes.push_back(static_cast<char>(random()));
    const size_t at = below(random, bytes.size());
    switch (below(random, 6)) {
      case 0:
      case 1: bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(random, 8))); break;
      case 2: bytes[at] = static_cast<char>(random()); break;
      case 3: overwrite_number(bytes, random); break;
      case 4: mutate_range(bytes, random); break;
      default: bytes.append(below(random, 64), static_cast<char>(random())); break;
    }
  }
}

void run_mutations(const std::vector<Bytes>& corpus, const std::function<void(ByteView)>& target) {
  if (const char* folder = std::getenv("CAIRN_FUZZ_CORPUS")) write_corpus(corpus, folder);
  for (const Bytes& bytes : corpus) target(bytes);
  const uint64_t seed = from_environment("CAIRN_FUZZ_SEED", kDefaultSeed);
  const uint64_t runs = from_environment("CAIRN_FUZZ_RUNS", kDefaultRuns);
  // Large inputs get fewer runs: a test's time is bounded by bytes.
  size_t total = 0;
  for (const Bytes& bytes : corpus) total += bytes.size();
  const uint64_t weight = 1 + total / corpus.size() / 1024;
  for (uint64_t run = 0; run < std::max<uint64_t>(1, runs / weight); ++run) {
    Random random(seed + run);
    Bytes bytes = corpus[below(random, corpus.size())];
    mutate(bytes, random);
    target(bytes);
    if (testing::Test::HasFailure()) {
      ADD_FAILURE() << "replay: CAIRN_FUZZ_RUNS=1 CAIRN_FUZZ_SEED=" << seed + run;
      return;
    }
  }
}

}  // namespace cairn::fuzz
