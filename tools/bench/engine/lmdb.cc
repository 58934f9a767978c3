// LMDB: a B+ tree in one mapped file. Gets copy nothing.
#include "tools/bench/engine/peer.h"

#if CAIRNFS_BENCH_LMDB
#include <stdexcept>

#include <lmdb.h>

namespace cairn::bench {
namespace {

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

}  // namespace

std::unique_ptr<Peer> make_lmdb(const Place& place) { return std::make_unique<Lmdb>(place.directory); }

}  // namespace cairn::bench

#else

namespace cairn::bench {
std::unique_ptr<Peer> make_lmdb(const Place&) { return nullptr; }
}  // namespace cairn::bench

#endif
