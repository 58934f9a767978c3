// RocksDB: with its large values in blob files, and as a cache that drops its oldest files.
#include "tools/bench/engine/peer.h"

#if CAIRNFS_BENCH_ROCKSDB
#include <stdexcept>

#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>

namespace cairn::bench {
namespace {

class Rocks final : public Peer {
 public:
  Rocks(const Place& place, rocksdb::Options options) {
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.IncreaseParallelism(2);
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(place.cache + (32 << 20), 4);  // as ours: values, and an index
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* db = nullptr;
    ok(rocksdb::DB::Open(options, place.directory + "/rocksdb", &db));
    db_.reset(db);
  }
  static rocksdb::Options blob_options(const Place& place) {
    rocksdb::Options options;
    options.enable_blob_files = true;
    options.min_blob_size = 1024;
    options.enable_blob_garbage_collection = true;
    if (place.cache != 0) options.blob_cache = rocksdb::NewLRUCache(place.cache, 4);  // as many shards as ours
    return options;
  }
  static rocksdb::Options fifo_options(uint64_t limit) {
    rocksdb::Options options;
    options.compaction_style = rocksdb::kCompactionStyleFIFO;
    options.compaction_options_fifo.max_table_files_size = limit;
    options.max_open_files = -1;
    return options;
  }
  void put(std::string_view key, std::string_view value) override { ok(db_->Put({}, slice(key), slice(value))); }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    rocksdb::PinnableSlice value;
    const auto status = db_->Get({}, db_->DefaultColumnFamily(), slice(key), &value);
    if (status.IsNotFound()) return false;
    ok(status);
    look({value.data(), value.size()});
    return true;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator({}));
    for (it->SeekToFirst(); it->Valid(); it->Next()) look({it->value().data(), it->value().size()});
    ok(it->status());
  }
  void sync() override { ok(db_->FlushWAL(true)); }

 private:
  static rocksdb::Slice slice(std::string_view text) { return {text.data(), text.size()}; }
  static void ok(const rocksdb::Status& status) {
    if (!status.ok()) throw std::runtime_error("rocksdb: " + status.ToString());
  }
  std::unique_ptr<rocksdb::DB> db_;
};

}  // namespace

std::unique_ptr<Peer> make_rocksdb_blob(const Place& place) {
  return std::make_unique<Rocks>(place, Rocks::blob_options(place));
}

std::unique_ptr<Peer> make_rocksdb_plain(const Place& place) {
  Place without = place;
  without.cache = 0;
  return make_rocksdb_blob(without);
}
std::unique_ptr<Peer> make_rocksdb_fifo(const Place& place) {
  return std::make_unique<Rocks>(place, Rocks::fifo_options(place.limit));
}

}  // namespace cairn::bench

#else

namespace cairn::bench {
std::unique_ptr<Peer> make_rocksdb_blob(const Place&) { return nullptr; }
std::unique_ptr<Peer> make_rocksdb_plain(const Place&) { return nullptr; }
std::unique_ptr<Peer> make_rocksdb_fifo(const Place&) { return nullptr; }
}  // namespace cairn::bench

#endif
