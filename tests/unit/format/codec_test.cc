#include "format/codec.h"

#include <random>
#include <thread>

#include <gtest/gtest.h>

namespace cairn::format {
namespace {

constexpr uint64_t kSeed = 1;

Bytes random_bytes(size_t length) {
  std::mt19937_64 random(kSeed);
  Bytes bytes(length, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

// `random` bytes that nothing compresses, then zeros that compress to almost nothing.
Bytes partly_random(size_t random, size_t total) { return random_bytes(random) + Bytes(total - random, '\0'); }

const Compression kAll[] = {{Codec::kLz4, 0}, {Codec::kZstd, 1}, {Codec::kZstd, 3}, {Codec::kZstd, 19}};

TEST(Codec, RoundTripsEveryLength) {
  for (const Compression how : kAll) {
    for (const size_t length : {1u, 2u, 15u, 16u, 100u, 4096u, 65535u, 65536u, 131072u, 1u << 20}) {
      const Bytes raw = partly_random(length / 3, length);
      Bytes stored = "untouched";
      const Codec used = compress(how, raw, stored);
      if (used == Codec::kNone) {
        EXPECT_EQ(stored, "untouched");
        EXPECT_LT(length, 4096u);
        continue;
      }
      EXPECT_EQ(used, how.codec);
      Bytes back(length, 'x');
      ASSERT_TRUE(decompress(used, stored, back.data(), static_cast<uint32_t>(length)));
      EXPECT_EQ(back, raw);
    }
  }
}

TEST(Codec, KeepsOnlyWhatSavesAnEighth) {
  for (const Compression how : kAll) {
    constexpr size_t kTotal = 8192;
    bool was_compressed = true;
    for (size_t random = 6000; random <= kTotal; random += 8) {
      const Bytes raw = partly_random(random, kTotal);
      Bytes stored;
      const bool compressed = compress(how, raw, stored) != Codec::kNone;
      EXPECT_LE(stored.size(), kTotal - kTotal / 8);
      EXPECT_TRUE(compressed || random + 100 > kTotal - kTotal / 8);  // gives up only at the border
      EXPECT_TRUE(was_compressed || !compressed);
      was_compressed = compressed;
    }
    EXPECT_FALSE(was_compressed);
  }
}

TEST(Codec, StoresAsItIsWhenAskedTo) {
  Bytes out = "untouched";
  EXPECT_EQ(compress({Codec::kNone, 0}, Bytes(4096, 'a'), out), Codec::kNone);
  EXPECT_EQ(compress({Codec::kLz4, 0}, "", out), Codec::kNone);
  EXPECT_EQ(out, "untouched");
}

TEST(Codec, ALyingLengthIsCorrupt) {
  for (const Compression how : kAll) {
    const Bytes raw(5000, 'a');
    Bytes stored;
    ASSERT_NE(compress(how, raw, stored), Codec::kNone);
    Bytes room(20000, 'x');
    for (const uint32_t wrong : {0u, 1u, 4999u, 5001u, 20000u}) {
      const auto result = decompress(how.codec, stored, room.data(), wrong);
      ASSERT_FALSE(result) << wrong;
      EXPECT_EQ(result.error().code, ErrorCode::kCorrupt);
    }
  }
}

TEST(Codec, DecompressionStaysInsideItsRoom) {
  // The sanitizer sees a write beyond `room`; the comparison sees one inside the string's own spare capacity.
  for (const Compression how : kAll) {
    Bytes stored;
    ASSERT_NE(compress(how, Bytes(100000, 'a'), stored), Codec::kNone);
    for (uint32_t length = 0; length < 300; ++length) {
      Bytes room(length + 64, 'x');
      EXPECT_FALSE(decompress(how.codec, stored, room.data(), length));
      EXPECT_EQ(room.substr(length), Bytes(64, 'x'));
    }
  }
}

TEST(Codec, CutOrChangedInputNeverCrashes) {
  for (const Compression how : kAll) {
    const Bytes raw = partly_random(500, 3000);
    Bytes stored;
    ASSERT_NE(compress(how, raw, stored), Codec::kNone);
    Bytes room(raw.size(), 'x');
    for (size_t cut = 0; cut < stored.size(); ++cut) {
      EXPECT_FALSE(decompress(how.codec, stored.substr(0, cut), room.data(), 3000)) << cut;
    }
    for (size_t bit = 0; bit < stored.size() * 8; ++bit) {
      Bytes damaged = stored;
      damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
      static_cast<void>(decompress(how.codec, damaged, room.data(), 3000));  // detecting it is the checksum's part
    }
  }
}

TEST(Codec, ThreadsDoNotShareContexts) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([t] {
      const Bytes raw = Bytes(30000, static_cast<char>('a' + t));
      for (int i = 0; i < 50; ++i) {
        Bytes stored, back(raw.size(), '\0');
        const Compression how = kAll[i % 3];
        ASSERT_NE(compress(how, raw, stored), Codec::kNone);
        ASSERT_TRUE(decompress(how.codec, stored, back.data(), static_cast<uint32_t>(raw.size())));
        ASSERT_EQ(back, raw);
      }
    });
  }
  for (auto& thread : threads) thread.join();
}

}  // namespace
}  // namespace cairn::format
