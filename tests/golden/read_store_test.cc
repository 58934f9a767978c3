// A store as the engine writes it, read by read_store.py: a second reader, written from FORMAT.md alone.
#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "cairn/store.h"

namespace cairn {
namespace {

namespace fs = std::filesystem;

fs::path script() {
  const char* tests = std::getenv("CAIRNFS_TESTS");  // set by Meson
  return (tests != nullptr ? fs::path(tests) / "golden" : fs::path(__FILE__).parent_path()) / "read_store.py";
}

struct ScriptResult {
  int status = 0;
  std::string output;
};

ScriptResult run_script(const std::string& argument) {
  ScriptResult run;
  const std::string command = fmt::format("python3 -B '{}' '{}' 2>&1", script().string(), argument);
  FILE* pipe = popen(command.c_str(), "r");
  if (pipe == nullptr) return {-1, "popen failed"};
  std::array<char, 4096> buffer;
  while (const size_t got = fread(buffer.data(), 1, buffer.size(), pipe)) run.output.append(buffer.data(), got);
  const int status = pclose(pipe);
  run.status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

std::string hex(ByteView bytes) {
  std::string out;
  for (const char c : bytes) out += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return out;
}

// Key (hex) to length of its newest value, as the script's lines say.
std::map<std::string, uint64_t> replay(const std::string& output) {
  std::map<uint64_t, std::vector<std::string>> by_sequence;
  std::istringstream lines(output);
  for (std::string line; std::getline(lines, line);) {
    std::vector<std::string> fields;
    std::istringstream in(line);
    for (std::string field; std::getline(in, field, '\t');) fields.push_back(field);
    if (fields.size() == 7 && fields[0] == "record" && fields[2] != "piece")
      by_sequence[std::stoull(fields[1])] = fields;
  }
  std::map<std::string, uint64_t> state;
  for (const auto& [sequence, fields] : by_sequence) {
    if (fields[3].starts_with("0000000000000000")) continue;  // the store's own
    if (fields[2] == "erase") {
      state.erase(fields[3]);
    } else {
      state[fields[3]] = fields[2] == "extent" ? 0 : std::stoull(fields[4]);
    }
  }
  return state;
}

class ReadStore : public testing::Test {
 protected:
  void SetUp() override {
    if (std::system("python3 -c pass >/dev/null 2>&1") != 0) GTEST_SKIP() << "no python3";
    path_ = fs::temp_directory_path() / fmt::format("cairn-read-store-{}", ::getpid());
    fs::remove_all(path_);
    StoreGeometry geometry;
    geometry.segment_size = 64 << 10;
    geometry.chunk_size = 4096;
    ASSERT_TRUE(make_store(path_, geometry, false));
  }
  void TearDown() override { fs::remove_all(path_); }

  std::unique_ptr<Store> open() {
    Options options;
    options.commit_interval_ms = 0;
    auto store = Store::open(path_, options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }

  void put(Store& store, const Bytes& key, const Bytes& value, Durability durability = Durability::kNone) {
    WriteBatch batch;
    batch.put(key, value);
    ASSERT_TRUE(store.write(batch, durability));
    expected_[hex(key)] = value.size() > kInline ? 0 : value.size();
  }
  void erase(Store& store, const Bytes& key) {
    WriteBatch batch;
    batch.erase(key);
    ASSERT_TRUE(store.write(batch, Durability::kNone));
    expected_.erase(hex(key));
  }
  // Several segments, batches, erases, compressible and other values, and one that needs an extent.
  void fill(Store& store) {
    for (int i = 0; i < 60; ++i) {
      Bytes noise;
      for (int j = 0; j < 700; ++j) noise += static_cast<char>(j * (i + 7) * 31 >> 3);
      put(store, fmt::format("noise{}", i % 40), noise + fmt::format("{}", i));
      put(store, fmt::format("text{}", i), Bytes(3000, static_cast<char>('a' + i % 26)));
      if (i % 7 == 0) erase(store, fmt::format("text{}", i / 2));
      ASSERT_TRUE(i % 10 != 0 || store.sync());
    }
    Bytes large;
    while (large.size() < 150'000) large += fmt::format("{}\n", large.size() * 7919);
    put(store, "large", large);
  }
  void expect_sound() {
    const ScriptResult run = run_script(path_.string());
    EXPECT_EQ(run.status, 0) << run.output.substr(0, 2000);
    EXPECT_EQ(replay(run.output), expected_);
  }
  fs::path any_segment() {
    for (const auto& entry : fs::directory_iterator(path_ / "segments")) return entry.path();
    return {};
  }

  static constexpr uint64_t kInline = 16 << 10;  // larger values go to extents
  fs::path path_;
  std::map<std::string, uint64_t> expected_;
};

TEST_F(ReadStore, KnowsItsChecksum) { EXPECT_EQ(run_script("--self-test").status, 0); }

TEST_F(ReadStore, FindsWhatAClosedStoreHolds) {
  auto store = open();
  fill(*store);
  ASSERT_TRUE(store->close());
  expect_sound();
}

TEST_F(ReadStore, FindsWhatWasSyncedInAnOpenStore) {
  auto store = open();
  fill(*store);
  ASSERT_TRUE(store->sync());
  expect_sound();
}

TEST_F(ReadStore, FindsTheSameAfterMergesAndCompaction) {
  auto store = open();
  fill(*store);
  fill(*store);
  ASSERT_TRUE(store->settle());
  ASSERT_TRUE(store->close());
  const ScriptResult run = run_script(path_.string());
  EXPECT_EQ(run.status, 0) << run.output.substr(0, 2000);
  // Compaction drops dead records, erases among them: what is left and newest must be what is expected.
  for (const auto& [key, length] : expected_) {
    const auto state = replay(run.output);
    ASSERT_TRUE(state.contains(key)) << key;
    EXPECT_EQ(state.at(key), length);
  }
}

TEST_F(ReadStore, SeesAFlippedBit) {
  auto store = open();
  fill(*store);
  ASSERT_TRUE(store->close());
  const fs::path path = any_segment();
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(5000);
  const char changed = static_cast<char>(file.get() ^ 4);
  file.seekp(5000);
  file.put(changed);
  file.close();
  const ScriptResult run = run_script(path_.string());
  EXPECT_EQ(run.status, 1);
  EXPECT_NE(run.output.find("damage\t" + path.filename().string()), std::string::npos);
}

}  // namespace
}  // namespace cairn
