// CairnFS's engine, one file for each blob, RocksDB with BlobDB, LMDB; the latter two if their packages are there.
#include "tools/bench/engine/peer.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <stdexcept>
#include <system_error>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cairn/filesystem.h"
#include "cairn/store.h"

#if CAIRNFS_BENCH_ROCKSDB
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#endif
#if CAIRNFS_BENCH_LMDB
#include <lmdb.h>
#endif

namespace cairn::bench {
namespace {

namespace fs = std::filesystem;

void check(bool truth, const std::string& what) {
  if (!truth) throw std::system_error(errno, std::generic_category(), what);
}

template <class T>
T value_of(Result<T> result) {
  if (!result) throw std::runtime_error(result.error().message.empty() ? "cairn" : result.error().message);
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

// ---- CairnFS ----

class Cairn final : public Peer {
 public:
  explicit Cairn(const std::string& directory) {
    StoreGeometry geometry;
    geometry.compression = "none";  // the values are random
    value_of(make_store(directory + "/store", geometry, false));
    Options options;
    options.commit_interval_ms = 0;
    store_ = value_of(Store::open(directory + "/store", options));
  }
  void put(std::string_view key, std::string_view value) override {
    WriteBatch batch;
    batch.put_ref(key, value);
    value_of(store_->write(batch, Durability::kNone));
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const auto value = store_->get(key);
    if (!value && value.error().code == ErrorCode::kNotFound) return false;
    look(value_of(value).view());
    return true;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    Cursor cursor = store_->scan({});
    for (; cursor.valid(); cursor.next()) look(value_of(cursor.value()).view());
    value_of(cursor.status());
  }
  void sync() override { value_of(store_->sync()); }

 private:
  std::unique_ptr<Store> store_;
};

// A blob is a file of the tree, as in a mount, but without the kernel.
class CairnCache final : public Peer {
 public:
  CairnCache(const std::string& directory, uint64_t limit) {
    StoreGeometry geometry;
    geometry.mode = Mode::kCache;
    geometry.limit = limit;
    geometry.compression = "none";
    value_of(make_store(directory + "/store", geometry, false));
    FsOptions options;
    options.min_age_s = 0;
    tree_ = value_of(FileSystem::open(value_of(Store::open(directory + "/store", Options())), options));
  }
  ~CairnCache() override { (void)tree_->close(); }  // it is thrown away
  void put(std::string_view key, std::string_view value) override {
    const Attr made = value_of(tree_->create(kRootIno, key, 0600, Caller()));
    value_of(tree_->write(made.ino, 0, value, false, false));
    tree_->release(made.ino);
    tree_->forget(made.ino, 1);
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const auto found = tree_->lookup(kRootIno, key);
    if (!found && found.error().code == ErrorCode::kNotFound) return false;
    const Attr attr = value_of(found);
    const auto opened = tree_->open(attr.ino, false, false);
    if (opened) {
      for (const Value& piece : value_of(tree_->read(attr.ino, 0, attr.size))) look(piece.view());
      tree_->release(attr.ino);
    }
    tree_->forget(attr.ino, 1);
    return opened.has_value();  // else it was evicted in between
  }
  void scan(const std::function<void(std::string_view)>&) override { throw std::logic_error("a cache is not scanned"); }
  void sync() override { value_of(tree_->sync()); }

 private:
  std::unique_ptr<FileSystem> tree_;
};

// ---- One file for each blob ----

class Files final : public Peer {
 public:
  explicit Files(std::string directory) : directory_(std::move(directory)) {
    for (int i = 0; i < 256; ++i) fs::create_directory(directory_ + "/" + std::to_string(i));
  }
  void put(std::string_view key, std::string_view value) override {
    const std::string path = path_of(key);
    const int fd = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    check(fd >= 0, path);
    while (!value.empty()) {
      const ssize_t n = ::write(fd, value.data(), value.size());
      check(n > 0, path);
      value.remove_prefix(static_cast<size_t>(n));
    }
    check(::close(fd) == 0, path);
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    const std::string path = path_of(key);
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return false;
    check(fd >= 0, path);
    look(read_all(fd, path));
    return true;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    for (const auto& entry : fs::recursive_directory_iterator(directory_)) {
      if (!entry.is_regular_file()) continue;
      const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
      check(fd >= 0, entry.path());
      look(read_all(fd, entry.path()));
    }
  }
  void sync() override {
    const int fd = ::open(directory_.c_str(), O_RDONLY | O_CLOEXEC);
    check(fd >= 0 && ::syncfs(fd) == 0 && ::close(fd) == 0, directory_);
  }

 private:
  [[nodiscard]] std::string path_of(std::string_view key) const {
    return directory_ + "/" + std::to_string(std::hash<std::string_view>{}(key) % 256) + "/" + std::string(key);
  }
  static std::string_view read_all(int fd, const std::string& path) {
    thread_local std::string buffer;
    struct stat st = {};
    check(::fstat(fd, &st) == 0, path);
    buffer.resize(std::max(buffer.size(), static_cast<size_t>(st.st_size)));
    size_t done = 0;
    while (done < static_cast<size_t>(st.st_size)) {
      const ssize_t n = ::read(fd, buffer.data() + done, static_cast<size_t>(st.st_size) - done);
      check(n > 0, path);
      done += static_cast<size_t>(n);
    }
    check(::close(fd) == 0, path);
    return {buffer.data(), done};
  }

  std::string directory_;
};

// ---- RocksDB ----

#if CAIRNFS_BENCH_ROCKSDB
class Rocks final : public Peer {
 public:
  Rocks(const std::string& directory, rocksdb::Options options) {
    options.create_if_missing = true;
    options.compression = rocksdb::kNoCompression;
    options.IncreaseParallelism(2);
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = rocksdb::NewLRUCache(96 << 20);  // what ours has
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10));
    options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    rocksdb::DB* db = nullptr;
    ok(rocksdb::DB::Open(options, directory + "/rocksdb", &db));
    db_.reset(db);
  }
  static rocksdb::Options blob_options() {
    rocksdb::Options options;
    options.enable_blob_files = true;
    options.min_blob_size = 1024;
    options.enable_blob_garbage_collection = true;
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
#endif

// ---- LMDB ----

#if CAIRNFS_BENCH_LMDB
class Lmdb final : public Peer {
 public:
  explicit Lmdb(const std::string& directory) {
    ok(mdb_env_create(&env_));
    ok(mdb_env_set_mapsize(env_, 16ull << 30));
    ok(mdb_env_open(env_, directory.c_str(), MDB_NOSYNC | MDB_NORDAHEAD, 0600));
    MDB_txn* txn = nullptr;
    ok(mdb_txn_begin(env_, nullptr, 0, &txn));
    ok(mdb_dbi_open(txn, nullptr, 0, &dbi_));
    ok(mdb_txn_commit(txn));
  }
  Lmdb(const Lmdb&) = delete;
  Lmdb& operator=(const Lmdb&) = delete;
  ~Lmdb() override { mdb_env_close(env_); }
  void put(std::string_view key, std::string_view value) override {
    MDB_txn* txn = nullptr;
    ok(mdb_txn_begin(env_, nullptr, 0, &txn));
    MDB_val k = to_val(key);
    MDB_val v = to_val(value);
    ok(mdb_put(txn, dbi_, &k, &v, 0));
    ok(mdb_txn_commit(txn));
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    MDB_txn* txn = nullptr;
    ok(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn));
    MDB_val k = to_val(key);
    MDB_val v = {};
    const int result = mdb_get(txn, dbi_, &k, &v);
    if (result == 0) look({static_cast<const char*>(v.mv_data), v.mv_size});
    mdb_txn_abort(txn);
    if (result != MDB_NOTFOUND) ok(result);
    return result == 0;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    MDB_txn* txn = nullptr;
    MDB_cursor* cursor = nullptr;
    ok(mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn));
    ok(mdb_cursor_open(txn, dbi_, &cursor));
    MDB_val k = {};
    MDB_val v = {};
    while (mdb_cursor_get(cursor, &k, &v, MDB_NEXT) == 0) look({static_cast<const char*>(v.mv_data), v.mv_size});
    mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
  }
  void sync() override { ok(mdb_env_sync(env_, 1)); }

 private:
  static MDB_val to_val(std::string_view text) { return {text.size(), const_cast<char*>(text.data())}; }
  static void ok(int result) {
    if (result != 0) throw std::runtime_error(std::string("lmdb: ") + mdb_strerror(result));
  }
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
};
#endif

}  // namespace

std::vector<PeerKind> peers() {
  std::vector<PeerKind> all;
  all.push_back({"cairn", [](const std::string& directory) { return std::make_unique<Cairn>(directory); }});
  all.push_back({"files", [](const std::string& directory) { return std::make_unique<Files>(directory); }});
#if CAIRNFS_BENCH_ROCKSDB
  all.push_back({"rocksdb-blob", [](const std::string& directory) {
                   return std::make_unique<Rocks>(directory, Rocks::blob_options());
                 }});
#endif
#if CAIRNFS_BENCH_LMDB
  all.push_back({"lmdb", [](const std::string& directory) { return std::make_unique<Lmdb>(directory); }});
#endif
  return all;
}

std::unique_ptr<Peer> make_cairn_cache(const std::string& directory, uint64_t limit) {
  return std::make_unique<CairnCache>(directory, limit);
}

std::unique_ptr<Peer> make_rocksdb_fifo([[maybe_unused]] const std::string& directory,
                                        [[maybe_unused]] uint64_t limit) {
#if CAIRNFS_BENCH_ROCKSDB
  return std::make_unique<Rocks>(directory, Rocks::fifo_options(limit));
#else
  return nullptr;
#endif
}

}  // namespace cairn::bench
