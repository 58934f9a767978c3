// engine DIRECTORY: puts, gets, misses and scans of blobs, and the mix of a blob cache, beside what else keeps blobs.
//
// For each size of value and number of threads, every round makes a new store of each peer in DIRECTORY, in turn (A B A B), in a
// process of its own: puts all values and makes them durable, reads them once, gets some at random, asks for some that are not
// there, and scans. Values are random bytes; every byte that is got is looked at. They fit in memory: --cache bytes for a peer that has
// a cache of its own, and everybody has the page cache.
// The mix: a tenth of the operations puts 1 MiB, of the others half asks for one of the newest half of what fits, half for what
// was never there, in a cache of --limit bytes, by a process that has --memory bytes for everything, page cache included (a cgroup).
// Beside it stands what the disk did meanwhile. `bare` is what the mix costs at least: the I/O that it forces, and nothing else.
// The table shows medians of operations a second and, within each round, our rate relative to the best of the others.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <fmt/format.h>
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "tools/bench/engine/child.h"
#include "tools/bench/engine/peer.h"

namespace cairn::bench {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

struct Settings {
  std::string directory, json;
  std::vector<std::string> peers;  // none: all
  std::vector<uint64_t> sizes = {4 << 10, 64 << 10, 1 << 20, 16 << 20};
  std::vector<unsigned> threads = {1, 4};
  uint64_t bytes = 256 << 20;   // of all values of a store, at most
  uint64_t values = 20000;      // at most
  uint64_t cache = 384 << 20;   // of peers that have one, bytes
  uint64_t limit = 1ull << 30;  // of the caches of the mix on disk, bytes
  uint64_t memory = 512 << 20;  // of the process of the mix, with its page cache, bytes; 0: all there is
  uint64_t mix_cache = 0;       // of it, for caches of the peers' own
  bool direct = false;          // ours reads past the page cache
  uint64_t mix = 4000;          // operations of it
  unsigned rounds = 3;
};

// operation -> peer -> rates, one for each round
using Rates = std::map<std::string, std::map<std::string, std::vector<double>>>;

std::atomic<uint64_t> looked_at = 0;

// Reads every word, so that nobody is praised for not having fetched the bytes. As vectors that the processor has, four at a time,
// so that it is memory that is waited for and not this loop: word by word it took five times as long.
void look(std::string_view value) {
  using Words [[gnu::vector_size(16)]] = uint64_t;
  Words a = {}, b = {}, c = {}, d = {};
  for (size_t i = 0; i + 64 <= value.size(); i += 64) {
    Words words[4];
    std::memcpy(words, value.data() + i, sizeof words);
    a ^= words[0], b ^= words[1], c ^= words[2], d ^= words[3];
  }
  const Words sum = a ^ b ^ c ^ d;
  looked_at += (sum[0] ^ sum[1]) & 1;
}

std::string key_of(uint64_t number) { return fmt::format("blob-{:012}", number); }

// Random bytes of which every value is a part, with its number in front.
class Values {
 public:
  explicit Values(uint64_t size) : size_(size), bytes_(size + (1 << 20), '\0') {
    std::mt19937_64 random(1);
    for (char& byte : bytes_) byte = static_cast<char>(random());
  }
  [[nodiscard]] std::string make(uint64_t number) const {
    std::string value = bytes_.substr(number * 4099 % (1 << 20), size_);
    value.replace(0, sizeof number, reinterpret_cast<const char*>(&number), sizeof number);
    return value;
  }

 private:
  uint64_t size_;
  std::string bytes_;
};

// Operations a second: `operation(i)` for i below `count`, by several threads.
template <class Operation>
double rate_of(uint64_t count, unsigned threads, const Operation& operation, const std::function<void()>& end = {}) {
  std::atomic<uint64_t> next = 0;
  std::atomic<bool> failed = false;
  std::string why;
  const auto start = Clock::now();
  std::vector<std::thread> workers;
  for (unsigned t = 0; t < threads; ++t) {
    workers.emplace_back([&] {
      try {
        for (uint64_t i = next++; i < count && !failed; i = next++) operation(i);
      } catch (const std::exception& error) {
        if (!failed.exchange(true)) why = error.what();
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  if (failed) throw std::runtime_error(why);
  if (end) end();
  return static_cast<double>(count) / std::chrono::duration<double>(Clock::now() - start).count();
}

uint64_t scrambled(uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15ull; }

// A new and empty directory, which goes with the object.
class Scratch {
 public:
  explicit Scratch(const std::string& in) : path_(fs::path(in) / fmt::format("engine.{}", ::getpid())) {
    fs::create_directories(path_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

// What the disk below a directory has done, by the kernel's count (Documentation/admin-guide/iostats.rst).
struct DiskWork {
  double read = 0, written = 0;  // MiB
  double busy = 0;               // seconds in which it had something to do

  static DiskWork now(const std::string& directory) {
    struct stat st = {};
    if (::stat(directory.c_str(), &st) != 0) return {};
    std::ifstream file(fmt::format("/sys/dev/block/{}:{}/stat", major(st.st_dev), minor(st.st_dev)));
    double fields[11] = {};
    for (double& field : fields) file >> field;
    return {.read = fields[2] / 2048, .written = fields[6] / 2048, .busy = fields[9] / 1000};
  }
};

// Nothing if the peer is not built in.
Figures run_blobs(const Settings& s, uint64_t size, unsigned threads, const PeerKind& kind) {
  const Scratch scratch(s.directory);
  const uint64_t count = std::clamp<uint64_t>(s.bytes / size, 1, s.values);
  const Values values(size);
  const auto peer = kind.make({.directory = scratch.path(), .cache = s.cache, .direct = s.direct});
  if (!peer) return {};
  Figures figures;
  const auto note = [&](const char* what, double rate) {
    figures[fmt::format("{} {} KiB, {} threads", what, size >> 10, threads)] = rate;
  };
  note("put", rate_of(
                  count, threads, [&](uint64_t i) { peer->put(key_of(i), values.make(i)); }, [&] { peer->sync(); }));
  const auto get = [&](uint64_t i) {
    if (!peer->get(key_of(scrambled(i) % count), look)) throw std::runtime_error("a value is missing");
  };
  const uint64_t gets = std::clamp<uint64_t>(4 * s.bytes / size, 64, s.values);
  for (uint64_t i = 0; i < count; ++i) peer->get(key_of(i), look);  // what can be in memory is, for everybody
  note("get", rate_of(gets, threads, get));
  note("miss", rate_of(s.values, threads, [&](uint64_t i) {
         if (peer->get(key_of(count + scrambled(i) % s.values), look)) throw std::runtime_error("a value from nowhere");
       }));
  uint64_t seen = 0;
  const double scans =
      rate_of(1, 1, [&](uint64_t) { peer->scan([&seen](std::string_view value) { look(value), ++seen; }); });
  if (seen != count) throw std::runtime_error(fmt::format("{}: a scan saw {} of {}", kind.name, seen, count));
  note("scan", scans * static_cast<double>(count));
  return figures;
}

Figures run_mix(const Settings& s, const PeerKind& kind) {
  const Scratch scratch(s.directory);
  const uint64_t cache = s.mix_cache != 0 ? s.mix_cache : s.memory != 0 ? s.memory / 2 : s.cache;
  const auto peer = kind.make({.directory = scratch.path(), .cache = cache, .direct = s.direct, .limit = s.limit});
  if (!peer) return {};
  const Values values(1 << 20);
  const uint64_t fill = s.limit >> 20;  // more than fits: what is measured is a full cache
  for (uint64_t i = 0; i < fill; ++i) peer->put(key_of(i), values.make(i));
  std::atomic<uint64_t> newest = fill;
  std::atomic<uint64_t> hits = 0;
  std::atomic<uint64_t> asked = 0;
  const uint64_t near = fill / 2;
  const DiskWork before = DiskWork::now(s.directory);
  const double rate = rate_of(s.mix, 4, [&](uint64_t i) {
    const uint64_t dice = scrambled(i) >> 32;
    if (dice % 100 < 10) {
      const uint64_t number = newest++;
      peer->put(key_of(number), values.make(number));
    } else if (dice % 100 < 55) {
      ++asked;
      hits += peer->get(key_of(newest - 8 - dice / 100 % near), look) ? 1 : 0;
    } else {
      peer->get(key_of((1ull << 39) + dice), look);
    }
  });
  // A cache that has lost what it was just given would be fast.
  if (hits * 100 < asked * 99) throw std::runtime_error(fmt::format("{}: {} of {} hits", kind.name, hits, asked));
  const DiskWork after = DiskWork::now(s.directory);
  return {{"blob-cache mix", rate},
          {"mix: MiB read", after.read - before.read},
          {"mix: MiB written", after.written - before.written},
          {"mix: disk busy, %", (after.busy - before.busy) * rate / static_cast<double>(s.mix) * 100}};
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

void print_table(const Rates& rates, const std::set<std::string>& only_shown) {
  for (const auto& [what, by_peer] : rates) {
    const auto ours = by_peer.find("cairn");
    std::vector<double> ratios;
    std::string line = fmt::format("| {:28}", what);
    for (const auto& [peer, samples] : by_peer) line += fmt::format(" | {} {:.0f}", peer, median(samples));
    for (size_t round = 0; ours != by_peer.end() && by_peer.size() > 1 && round < ours->second.size(); ++round) {
      double best = 0;
      for (const auto& [peer, samples] : by_peer)
        if (peer != "cairn" && !only_shown.contains(peer)) best = std::max(best, samples[round]);
      if (best > 0) ratios.push_back(ours->second[round] / best);
    }
    fmt::print("{} | {} |\n", line, ratios.empty() ? "-" : fmt::format("{:.2f}", median(ratios)));
  }
}

void run(const Settings& s) {
  Rates rates;
  std::set<std::string> only_shown;
  const auto wanted = [&s](const std::string& peer) {
    return s.peers.empty() || std::find(s.peers.begin(), s.peers.end(), peer) != s.peers.end();
  };
  const auto note = [&](const PeerKind& kind, uint64_t memory, const std::function<Figures()>& measure) {
    if (!wanted(kind.name)) return;
    if (!kind.counts) only_shown.insert(kind.name);
    for (const auto& [what, rate] : in_child(memory, measure)) rates[what][kind.name].push_back(rate);
  };
  for (unsigned round = 0; round < s.rounds; ++round) {
    for (const uint64_t size : s.sizes)
      for (const unsigned threads : s.threads)
        for (const PeerKind& kind : stores()) note(kind, 0, [&] { return run_blobs(s, size, threads, kind); });
    for (const PeerKind& kind : caches())
      if (s.mix != 0) note(kind, s.memory, [&] { return run_mix(s, kind); });
    fmt::print(stderr, "round {} of {}\n", round + 1, s.rounds);
  }
  print_table(rates, only_shown);
  if (!s.json.empty()) std::ofstream(s.json) << nlohmann::json(rates).dump(1) << "\n";
}

}  // namespace
}  // namespace cairn::bench

int main(int argc, char** argv) {
  cairn::bench::Settings s;
  CLI::App app("Blobs in CairnFS's engine, in files, in RocksDB, LMDB and SQLite, side by side.", "engine");
  app.add_option("DIRECTORY", s.directory, "where the stores are made, one at a time")->required();
  app.add_option("--sizes", s.sizes, "of values, bytes; 0: none, only the mix")->delimiter(',')->expected(0, 100);
  app.add_option("--threads", s.threads, "numbers of threads")->delimiter(',');
  app.add_option("--peers", s.peers,
                 "only these: cairn, files, rocksdb-blob, rocksdb-plain, lmdb, sqlite, rocksdb-fifo, bare")
      ->delimiter(',');
  app.add_option("--bytes", s.bytes, "of all values of a store, at most");
  app.add_option("--values", s.values, "of a store, at most");
  app.add_option("--cache", s.cache, "bytes, of each peer that has a cache of its own, for values");
  app.add_option("--limit", s.limit, "bytes, of the caches of the mix");
  app.add_option("--memory", s.memory, "bytes, of everything that the mix takes, by a cgroup; 0: no limit");
  app.add_option("--mix-cache", s.mix_cache, "as --cache, for the mix; half of its memory unless told otherwise");
  app.add_flag("--direct", s.direct, "ours reads past the page cache (Options::direct_reads)");
  app.add_option("--mix", s.mix, "operations of the mix; 0: none");
  app.add_option("--rounds", s.rounds, "how often everything is done");
  app.add_option("--json", s.json, "a file for every sample");
  CLI11_PARSE(app, argc, argv);
  std::erase(s.sizes, 0u);
  try {
    cairn::bench::run(s);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "engine: {}\n", error.what());
    return 1;
  }
}
