// library [--benchmark_filter=REGEX]: what single calls of the library and of its parts cost, by Google Benchmark. The store lies in
// a new directory below TMPDIR (/tmp), which goes at the end.
#include <array>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>

#include <benchmark/benchmark.h>

#include "base/types.h"
#include "cache/bloom.h"
#include "cache/chunk_cache.h"
#include "cairn/store.h"
#include "format/checksum.h"
#include "index/memtable.h"
#include "index/table.h"

namespace cairn {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kKeys = 4096;

uint64_t scrambled(uint64_t i) { return (i + 1) * 0x9E3779B97F4A7C15ull; }

// Sixteen bytes, in the order of the numbers.
std::string key_of(uint64_t number) {
  std::string key(16, 'k');
  for (size_t i = 0; i < 8; ++i) key[15 - i] = static_cast<char>(number >> (8 * i));
  return key;
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

class Scratch {
 public:
  Scratch() {
    std::string path = (fs::temp_directory_path() / "cairnfs-library.XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) throw std::runtime_error("no directory for a store: " + path);
    path_ = path;
    StoreGeometry geometry;
    geometry.compression = "none";
    value_of(make_store(path_ / "store", geometry, false));
    Options options;
    options.commit_interval_ms = 0;
    store_ = value_of(Store::open(path_ / "store", options));
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  ~Scratch() {
    store_.reset();
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Store& operator*() { return *store_; }
  Store* operator->() { return store_.get(); }

 private:
  fs::path path_;
  std::unique_ptr<Store> store_;
};

void put(Store& store, uint64_t number, ByteView value) {
  WriteBatch batch;
  const std::string key = key_of(number);
  batch.put_ref(key, value);
  value_of(store.write(batch, Durability::kNone));
}

// ---- The store ----

void store_put(benchmark::State& state) {
  Scratch store;
  const std::string value(static_cast<size_t>(state.range(0)), 'v');
  uint64_t number = 0;
  for (auto _ : state) put(*store, number++ % kKeys, value);
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(store_put)->Arg(64)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20)->UseRealTime();

// Argument: bytes of the values, of which there are at most 64 MiB. They are in the caches.
void store_get(benchmark::State& state) {
  Scratch store;
  const std::string value(static_cast<size_t>(state.range(0)), 'v');
  const uint64_t count = std::min<uint64_t>(kKeys, (32 << 20) / value.size());
  for (uint64_t i = 0; i < count; ++i) put(*store, i, value);
  value_of(store->settle());
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(value_of(store->get(key_of(scrambled(i++) % count))).view().data());
}
BENCHMARK(store_get)->Arg(64)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

void store_get_absent(benchmark::State& state) {
  Scratch store;
  for (uint64_t i = 0; i < kKeys; ++i) put(*store, 2 * i, "v");
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(store->get(key_of(2 * (scrambled(i++) % kKeys) + 1)).has_value());
}
BENCHMARK(store_get_absent);

// Each erases something that is there.
void store_put_and_erase(benchmark::State& state) {
  Scratch store;
  uint64_t number = 0;
  for (auto _ : state) {
    put(*store, number, "value");
    WriteBatch batch;
    batch.erase(key_of(number++));
    value_of(store->write(batch, Durability::kNone));
  }
}
BENCHMARK(store_put_and_erase)->UseRealTime();

// One entry of a walk over all.
void store_scan(benchmark::State& state) {
  Scratch store;
  const std::string value(static_cast<size_t>(state.range(0)), 'v');
  for (uint64_t i = 0; i < kKeys; ++i) put(*store, i, value);
  Cursor cursor = store->scan({});
  for (auto _ : state) {
    if (!cursor.valid()) cursor = store->scan({});
    benchmark::DoNotOptimize(value_of(cursor.value()).view().data());
    cursor.next();
  }
}
BENCHMARK(store_scan)->Arg(64)->Arg(4 << 10);

// ---- Its parts ----

format::IndexEntry entry_of(uint64_t number) {
  format::IndexEntry entry;
  entry.seq = SeqNo(number + 1);
  entry.segment = SegmentId(1);
  entry.offset = 8 * number;
  entry.raw_length = entry.stored_length = 4096;
  return entry;
}

void memtable_insert(benchmark::State& state) {
  auto table = std::make_unique<index::Memtable>();
  uint64_t number = 0;
  for (auto _ : state) {
    if (number % kKeys == 0) {
      state.PauseTiming();
      table = std::make_unique<index::Memtable>();
      state.ResumeTiming();
    }
    const uint64_t at = number++;
    table->insert(key_of(scrambled(at)), entry_of(at));
  }
}
BENCHMARK(memtable_insert);

void memtable_find(benchmark::State& state) {
  index::Memtable table;
  for (uint64_t i = 0; i < kKeys; ++i) table.insert(key_of(scrambled(i)), entry_of(i));
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(table.get(key_of(scrambled(i++ * 31 % kKeys)), kMaxSeq).has_value());
}
BENCHMARK(memtable_find);

void filter_add(benchmark::State& state) {
  cache::UnifiedFilter filter(1 << 20, 8 << 20);
  uint64_t i = 0;
  for (auto _ : state) filter.add(scrambled(i++ % (1 << 20)));
}
BENCHMARK(filter_add);

void filter_ask(benchmark::State& state) {
  cache::UnifiedFilter filter(1 << 20, 8 << 20);
  for (uint64_t i = 0; i < 1 << 20; ++i) filter.add(scrambled(i));
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(filter.may_contain(scrambled(i++) + 1));
}
BENCHMARK(filter_ask);

void chunk_cache_hit(benchmark::State& state) {
  cache::ChunkCache cache(64 << 20);
  for (uint64_t i = 1; i <= kKeys; ++i) cache.insert(SeqNo(i), Value::own(Bytes(4096, 'v')));
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(cache.find(SeqNo(scrambled(i++) % kKeys + 1)).has_value());
}
BENCHMARK(chunk_cache_hit);

void checksum(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'v');
  for (auto _ : state) benchmark::DoNotOptimize(format::checksum(bytes));
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(checksum)->Arg(64)->Arg(4 << 10)->Arg(64 << 10)->Arg(1 << 20);

void key_hash(benchmark::State& state) {
  const std::string key = key_of(scrambled(1));
  for (auto _ : state) benchmark::DoNotOptimize(index::Table::hash(key));
}
BENCHMARK(key_hash);

// A footer of kKeys records, its blocks in the cache: what a lookup below the memtables costs.
void table_get(benchmark::State& state) {
  Scratch store;
  for (uint64_t i = 0; i < kKeys; ++i) put(*store, i, std::string(1024, 'v'));
  value_of(store->seal());
  value_of(store->settle());
  uint64_t i = 0;
  for (auto _ : state) benchmark::DoNotOptimize(value_of(store->value_size(key_of(scrambled(i++) % kKeys))));
}
BENCHMARK(table_get);

}  // namespace
}  // namespace cairn

BENCHMARK_MAIN();
