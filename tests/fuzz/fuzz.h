// Fuzz targets: a function that must hold for any bytes, and a corpus of valid bytes to start from.
//
// Built as it is, every target is a test that runs seeded mutations of its corpus, the same on every machine.
// Environment: CAIRN_FUZZ_RUNS (mutations per target), CAIRN_FUZZ_SEED, CAIRN_FUZZ_CORPUS (a folder that the corpus is
// written to). Built with clang++ -fsanitize=fuzzer -DCAIRN_LIBFUZZER, one file and the libraries it needs are a
// libFuzzer program.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "cairn/bytes.h"

#ifndef CAIRN_LIBFUZZER
#include <gtest/gtest.h>

#include "fuzz/mutate.h"
#endif

namespace cairn::fuzz {

using Corpus = std::vector<Bytes>;

// The first sizeof(T) bytes as a struct of Le fields, `change`d and written back; nothing if there are fewer.
template <class T, class Change>
void change_struct(Bytes& bytes, Change change) {
  if (bytes.size() < sizeof(T)) return;
  T disk;
  bytes.copy(reinterpret_cast<char*>(&disk), sizeof disk);
  change(disk);
  bytes.replace(0, sizeof disk, reinterpret_cast<const char*>(&disk), sizeof disk);
}

}  // namespace cairn::fuzz

#ifdef CAIRN_LIBFUZZER

#define FUZZ_EXPECT(condition)                                                            \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)
#define FUZZ_TARGET(name, corpus, target)                                   \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) { \
    static const auto unused [[maybe_unused]] = &corpus;                    \
    target(cairn::ByteView(reinterpret_cast<const char*>(data), size));     \
    return 0;                                                               \
  }                                                                         \
  static_assert(true, "needs a semicolon")

#else

#define FUZZ_EXPECT(condition) \
  do {                         \
    EXPECT_TRUE(condition);    \
  } while (false)
#define FUZZ_TARGET(name, corpus, target)                            \
  TEST(Fuzz, name) { cairn::fuzz::run_mutations(corpus(), target); } \
  static_assert(true, "needs a semicolon")

#endif
