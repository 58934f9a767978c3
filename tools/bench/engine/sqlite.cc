// SQLite: blobs in a table, with a write-ahead log.
#include "tools/bench/engine/peer.h"

#if CAIRNFS_BENCH_SQLITE
#include <mutex>
#include <stdexcept>

#include <sqlite3.h>

namespace cairn::bench {
namespace {

constexpr const char* kSetUp =
    "PRAGMA page_size=16384;"  // what its authors found best for large blobs
    "PRAGMA journal_mode=WAL;"
    "PRAGMA synchronous=OFF;"  // nobody else syncs before sync() either
    "PRAGMA mmap_size=17179869184;"
    "CREATE TABLE IF NOT EXISTS blobs(key BLOB PRIMARY KEY, value BLOB NOT NULL);";

void ok(int result, sqlite3* db, int expected = SQLITE_OK) {
  if (result != expected) throw std::runtime_error(std::string("sqlite: ") + sqlite3_errmsg(db));
}

// A connection is for one thread at a time.
class Connection {
 public:
  explicit Connection(const std::string& path) {
    ok(sqlite3_open(path.c_str(), &db_), db_);
    ok(sqlite3_busy_timeout(db_, 60000), db_);
    run(kSetUp);
    put_ = prepare("INSERT OR REPLACE INTO blobs VALUES(?, ?)");
    get_ = prepare("SELECT value FROM blobs WHERE key = ?");
    scan_ = prepare("SELECT value FROM blobs ORDER BY key");
  }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() {
    for (sqlite3_stmt* statement : {put_, get_, scan_}) sqlite3_finalize(statement);
    sqlite3_close(db_);
  }

  void run(const char* sql) { ok(sqlite3_exec(db_, sql, nullptr, nullptr, nullptr), db_); }
  void put(std::string_view key, std::string_view value) {
    bind(put_, 1, key);
    bind(put_, 2, value);
    ok(sqlite3_step(put_), db_, SQLITE_DONE);
    ok(sqlite3_reset(put_), db_);
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) {
    bind(get_, 1, key);
    return rows(get_, look) != 0;
  }
  void scan(const std::function<void(std::string_view)>& look) { rows(scan_, look); }

 private:
  sqlite3_stmt* prepare(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    ok(sqlite3_prepare_v3(db_, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, nullptr), db_);
    return statement;
  }
  void bind(sqlite3_stmt* statement, int at, std::string_view bytes) {
    ok(sqlite3_bind_blob64(statement, at, bytes.data(), bytes.size(), SQLITE_STATIC), db_);
  }
  uint64_t rows(sqlite3_stmt* statement, const std::function<void(std::string_view)>& look) {
    uint64_t seen = 0;
    int result = sqlite3_step(statement);
    for (; result == SQLITE_ROW; result = sqlite3_step(statement), ++seen) {
      const auto* data = static_cast<const char*>(sqlite3_column_blob(statement, 0));
      look({data, static_cast<size_t>(sqlite3_column_bytes(statement, 0))});
    }
    ok(result, db_, SQLITE_DONE);
    ok(sqlite3_reset(statement), db_);
    return seen;
  }

  sqlite3* db_ = nullptr;
  sqlite3_stmt* put_ = nullptr;
  sqlite3_stmt* get_ = nullptr;
  sqlite3_stmt* scan_ = nullptr;
};

class Sqlite final : public Peer {
 public:
  explicit Sqlite(std::string directory) : directory_(std::move(directory)) {}
  void put(std::string_view key, std::string_view value) override {
    const std::lock_guard lock(writer_);  // it allows one; waiting for it by polling would measure the polling
    with([&](Connection& connection) { connection.put(key, value); });
  }
  bool get(std::string_view key, const std::function<void(std::string_view)>& look) override {
    bool found = false;
    with([&](Connection& connection) { found = connection.get(key, look); });
    return found;
  }
  void scan(const std::function<void(std::string_view)>& look) override {
    with([&](Connection& connection) { connection.scan(look); });
  }
  void sync() override {
    with([](Connection& connection) { connection.run("PRAGMA wal_checkpoint(TRUNCATE)"); });
    sync_directory(directory_);
  }

 private:
  // Connections are kept: opening one costs more than a get.
  void with(const std::function<void(Connection&)>& use) {
    std::unique_ptr<Connection> mine;
    {
      const std::lock_guard lock(idle_mutex_);
      if (!idle_.empty()) {
        mine = std::move(idle_.back());
        idle_.pop_back();
      }
    }
    if (!mine) mine = std::make_unique<Connection>(directory_ + "/blobs.sqlite");
    use(*mine);
    const std::lock_guard lock(idle_mutex_);
    idle_.push_back(std::move(mine));
  }

  const std::string directory_;
  std::mutex writer_;
  std::mutex idle_mutex_;
  std::vector<std::unique_ptr<Connection>> idle_;
};

}  // namespace

std::unique_ptr<Peer> make_sqlite(const Place& place) { return std::make_unique<Sqlite>(place.directory); }

}  // namespace cairn::bench

#else

namespace cairn::bench {
std::unique_ptr<Peer> make_sqlite(const Place&) { return nullptr; }
}  // namespace cairn::bench

#endif
