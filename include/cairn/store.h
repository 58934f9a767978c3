// The engine: an ordered, durable map from keys to values in log segments. What the file system (filesystem.h) stands on.
//
// Keys are ordered bytewise. Every change is a record in a log, numbered by a sequence that never goes back; a read
// finds the newest. How it works inside is src/README.md, the bytes are src/format/FORMAT.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "cairn/bytes.h"
#include "cairn/options.h"
#include "cairn/result.h"

namespace cairn {

namespace io {
class Env;
}

// Keys are any bytes, but for those that begin with eight zero bytes and 'H' or 'M': these are the store's own. Writing
// them is kInvalid, and scans pass them over.
inline constexpr uint64_t kMaxKeySize = 1024;  // bytes, at least 1
// Bytes. A value over an eighth of a segment goes to a segment of its own.
inline constexpr uint64_t kMaxValueSize = 1ull << 31;

// Changes that become visible and durable together, or not at all. For one thread; may be written more than once. Sizes
// are checked by the write, not here.
class WriteBatch {
 public:
  // Later changes of one key win. put() copies key and value; put_ref() copies only the key: `value` must stay unchanged
  // until the write has returned.
  void put(ByteView key, ByteView value);
  void put_ref(ByteView key, ByteView value);
  void erase(ByteView key);
  void clear();

  WriteBatch() = default;
  // What was moved from is empty.
  WriteBatch(WriteBatch&& other) noexcept;
  WriteBatch& operator=(WriteBatch&& other) noexcept;
  [[nodiscard]] bool empty() const { return changes_.empty(); }
  // Room in the log that writing this batch takes at most, bytes.
  [[nodiscard]] uint64_t log_cost() const { return cost_; }

  struct Change {
    ByteView key;    // into the batch
    ByteView value;  // into the batch or the caller's bytes
    bool is_erase = false;
  };
  // In the order they were made.
  [[nodiscard]] const std::vector<Change>& changes() const { return changes_; }

 private:
  void add(ByteView key, ByteView value, bool is_erase);
  // A copy that lives as long as the batch.
  ByteView copy(ByteView bytes);

  std::vector<Change> changes_;
  uint64_t cost_ = 0;
  // Keys and values, one behind the other. A batch of the tree fits one block.
  std::vector<std::unique_ptr<char[]>> blocks_;
  char* free_ = nullptr;  // in the last block
  size_t left_ = 0;       // bytes from there
};

// Room in the log that one record takes at most (header, padding, its entries in footer and index), bytes.
uint64_t log_cost(uint64_t key_size, uint64_t value_size);

enum class Durability : uint8_t {
  kNone,  // visible; durable with the next commit
  kSync,  // durable when the call returns (cas mode; in cache mode the same as kNone)
};

struct ReadRange {
  uint64_t offset = 0;
  uint64_t length = UINT64_MAX;  // clipped to the end of the value
  // False: what is read whole is not put into the cache of values, as whoever asks keeps it himself. A part puts all of it there.
  bool fill_cache = true;
};

struct GetRequest {
  ByteView key;
  ReadRange range;
};

// Entries whose key starts with a prefix, in key order, as they were when the cursor was made. One thread at a time; must not
// outlive the store, and keeps what it walks over from being reclaimed while it lives. Errors end the walk: check
// status() once valid() is false (kCorrupt, kIo).
class Cursor {
 public:
  class Impl;
  explicit Cursor(std::unique_ptr<Impl> impl);
  Cursor(Cursor&&) noexcept;
  Cursor& operator=(Cursor&&) noexcept;
  ~Cursor();
  // Stands on the first entry after construction, if there is one. key(), value_size(), value() and next() need
  // valid().
  [[nodiscard]] bool valid() const;
  [[nodiscard]] ByteView key() const;  // until the next call
  [[nodiscard]] Result<uint64_t> value_size() const;
  [[nodiscard]] Result<Value> value() const;
  void next();
  void seek(ByteView key);  // to the first entry of the prefix not before `key`
  [[nodiscard]] Result<void> status() const;

 private:
  std::unique_ptr<Impl> impl_;
};

// A consistent view of a moment: everything whose write() had returned is in it. Keeps what it needs from being
// reclaimed until it goes, so that a store at its limit may run out of room behind an old one. Thread-safe, cheap to
// copy. Must not outlive the store.
class Snapshot {
 public:
  class Impl;
  explicit Snapshot(std::shared_ptr<const Impl> impl);
  Snapshot(const Snapshot&);
  ~Snapshot();
  [[nodiscard]] Result<Value> get(ByteView key, ReadRange range = {}) const;
  [[nodiscard]] Cursor scan(ByteView prefix) const;

 private:
  std::shared_ptr<const Impl> impl_;
};

// Numbers of one moment or of slightly different ones: they are read without stopping anybody. Since the open unless
// something else is said.
struct StoreStats {
  Mode mode = Mode::kCas;
  uint64_t limit = 0;            // bytes; 0 = none
  uint64_t segment_size = 0;     // bytes
  uint64_t chunk_size = 0;       // bytes
  uint64_t allocated_bytes = 0;  // of the store directory: segments, tables, open segment
  uint64_t live_bytes = 0;       // of records not known to be dead
  uint64_t disk_total = 0;       // bytes of the file system around the store
  uint64_t disk_available = 0;   // bytes
  uint64_t segments = 0, tables = 0, runs = 0, unmerged_footers = 0;
  uint64_t seals = 0, commits = 0, merges = 0, compactions = 0;
  // The newest number that can be seen, and up to which everything survives a crash.
  uint64_t last_seq = 0, durable_seq = 0;
  // Since the store was opened, bytes:
  uint64_t bytes_in = 0;       // of values as they were given
  uint64_t bytes_logged = 0;   // of sealed segments: values as stored, and everything around them
  uint64_t bytes_copied = 0;   // written by merges and compaction
  uint64_t punched_bytes = 0;  // given back inside segments
  // On disk for each byte that lives; and written for each byte logged. 0: not known yet.
  double space_amplification = 0, write_amplification = 0;
  uint64_t room_deficit = 0;   // bytes, see Store::room_deficit()
  uint64_t corrupt_reads = 0;  // reads that failed verification
  bool read_only = false;
  std::string read_only_reason;  // why, if it became so by itself
  // Cache mode: the disk does not take what is written. Reads go on, and writes, as long as there is memory for them.
  bool degraded = false;
  std::string degraded_reason;
  uint64_t unwritten_bytes = 0;  // of the log, only in memory: what a crash would lose
};

// An open store. Thread-safe: any number of readers and writers; writers wait for each other only at commit points and
// when a segment is full. Every stored value is verified on every read from disk.
// Durability (cas): after sync(), a write with kSync, seal() or close(), everything that was written before survives
// any crash. Of the rest a crash keeps a prefix, at commit granularity: never a part of a batch, never a later change
// without an earlier one. In cache mode the same, but only what was sealed survives.
// Errors: a failed write or sync of the log is final: the store turns read-only, everybody who waits gets the error, nothing
// later is acknowledged; reads go on. kNoSpace loses nothing and is not final. A cache does not turn read-only: it is degraded
// (StoreStats) until the disk is back, keeps what is written in memory as long as there is room, and answers kNoSpace then.
class Store {
 public:
  // Locks the store for the life of the object. kNotFound / kInvalid (not a store), kUnsupported (newer format), kBusy (who
  // has it), kCorrupt (what and which fsck command). One line each, naming the path and the remedy.
  static Result<std::unique_ptr<Store>> open(const std::filesystem::path& path, const Options& options);
  // The same on another Env (simulation, tests).
  static Result<std::unique_ptr<Store>> open(io::Env& env, const std::string& path, const Options& options);
  // The object outlives its cursors, snapshots and operations.
  ~Store();  // close() without its error

  // Applies `batch` as one: readers see all of it or nothing, and once it has returned they see it. An empty batch does
  // nothing. May wait: for a commit point, for room, and with kSync for the disk. kInvalid (a key of 0 or more than
  // kMaxKeySize bytes), kTooLarge (a value, or what is left of the batch when large values are taken out, is more than
  // max_operation_room()), kNoSpace, kReadOnly. After an error nothing of it is visible; with kSync it may be, and is
  // then not known to be durable.
  Result<void> write(const WriteBatch& batch, Durability durability);
  // The value as it is now, or a part of it. kNotFound if the key is absent; kCorrupt if what is stored does not
  // verify, kIo if it cannot be read. Never waits for writers. A small or cached value costs no read.
  [[nodiscard]] Result<Value> get(ByteView key, ReadRange range = {}) const;
  // get() of each, in their order, each by itself: they are of no common moment, and one that fails takes no other with it.
  // Those that were written one after the other mostly lie side by side, and are then read from the disk at once.
  [[nodiscard]] std::vector<Result<Value>> get_all(std::span<const GetRequest> requests) const;
  // Bytes, without reading the value. Errors as get().
  [[nodiscard]] Result<uint64_t> value_size(ByteView key) const;
  // Of this moment: what is written meanwhile is not in them.
  [[nodiscard]] Cursor scan(ByteView prefix) const;
  [[nodiscard]] Snapshot snapshot() const;
  // Everything written before the call is durable afterwards (cas). In cache mode it does nothing and succeeds. Calls
  // that come together share one write to the disk. An error is final: kReadOnly, or what made the store so.
  Result<void> sync();
  // Seals the open segment (both modes): everything is on disk when it returns. Used by close() and tests. A cache
  // whose disk fails answers kIo, and goes on.
  Result<void> seal();
  // Seals, waits for background work and releases the lock. Afterwards only the destructor may be called, whatever it
  // answered: what could not be written is what a crash would have lost. Needs every operation ended, and hooks taken
  // away.
  Result<void> close();

  // Cache mode: another limit, durable when it returns. A greater one holds at once; a smaller one once enough is evicted, for which
  // it waits. After an error the limit is the old one, but for an error of the disk at the very end: then it is the smaller of
  // both until the store is closed, and either afterwards. kUnsupported (cas), kInvalid (too small for the segments), kNoSpace
  // (what may not be evicted does not fit it), kBusy (another change is under way), kReadOnly.
  Result<void> set_limit(uint64_t limit);

  // A fresh number (inode, cookie), never given out before in this store, even across crashes; not always the next one.
  // Above 1023.
  uint64_t next_number();
  [[nodiscard]] StoreStats stats() const;
  [[nodiscard]] io::Env& env() const;
  // Merges footers, reclaims and compacts until nothing more is worth it, in this thread. For tests and `cairnfs
  // compact`. Nothing is lost after an error: reclaiming goes on later.
  Result<void> settle();

  // ---- For a layer that buffers changes in memory (the tree) ----
  //
  // A crash keeps a prefix of what was done, so nothing that was buffered may be missing from a commit that holds something
  // done later. Hence: every change is made inside an Operation. A commit waits until no operation is open, lets the
  // layer's commit hook write what it buffers, and puts its mark behind that, before the next operation begins.

  class Operation {
   public:
    // For one thread at a time; ends with the object. What it moved from owns nothing.
    Operation(Operation&&) noexcept;
    Operation& operator=(Operation&&) = delete;
    ~Operation();  // gives back the room that was neither written nor kept
    // Needs batch.log_cost() <= room() (CHECK). Visible when it returns. Never waits for the disk, but to write a value
    // of more than an eighth of a segment. Errors as Store::write(); after one the room is as before.
    Result<void> write(const WriteBatch& batch);
    // Keeps `bytes` of the room for buffered changes, beyond the end of the operation. False if too much is kept already
    // (kept_max()): then write now instead. Needs bytes <= room().
    [[nodiscard]] bool keep(uint64_t bytes);
    // Takes kept room back into this operation, to write buffered changes early. Needs that much kept (CHECK), by
    // whichever operation.
    void reclaim(uint64_t bytes);
    // Bytes that are neither written nor kept.
    [[nodiscard]] uint64_t room() const;

   private:
    friend class Store;
    Operation(Store* store, uint64_t room) : store_(store), room_(room) {}
    Store* store_;
    uint64_t room_;
  };
  enum class OperationKind : uint8_t {
    kGrow,  // adds data: refused with kNoSpace when the store is full
    kFree,  // frees space (unlink, truncate): may use the reserve, so deleting works on a full store
  };
  // Waits while a commit point is taken or the segment is changed, then promises `room` bytes of log (at most
  // max_operation_room()). The caller holds no lock that the commit hook takes and opens no second operation in the thread.
  Result<Operation> begin(uint64_t room, OperationKind kind = OperationKind::kGrow);
  [[nodiscard]] uint64_t max_operation_room() const;  // bytes: a quarter of a segment
  [[nodiscard]] uint64_t kept_max() const;            // bytes: min(16 MiB, a quarter of a segment)
  // `hook` writes everything buffered, through the Operation it is given (whose room is all that was kept). Set once,
  // before the first operation; cleared (empty function) after the last. Called from whatever thread leads a commit,
  // with no operation open and every begin() waiting: it must not begin one, nor wait for a thread that does. An error
  // from it is final, like a failed sync.
  void set_commit_hook(std::function<Result<void>(Operation&)> hook);

  // ---- Room, in cache mode (design §6) ----
  //
  // The store never takes more than its limit. begin(kGrow) waits while there is no room, until the layer above has erased
  // enough and what was erased is reclaimed; kNoSpace only when nothing can be evicted and nothing reclaimed any more.

  // Bytes (logged size: log_cost() of what is erased) that ought to be erased now, so that the store gets a little below its
  // limit, one slab ahead; what is dead already and on its way out is taken into account. 0: nothing has to go.
  [[nodiscard]] uint64_t room_deficit() const;
  // `hook` is called from a background thread, without locks, whenever room_deficit() has become more than 0, and not again
  // before evicted(). It erases about that much through Operations of kind kFree, here or elsewhere, and then calls evicted().
  // Set once, before the first operation; an empty function takes it away, and returns when no call is under way. Without a
  // hook nothing is evicted.
  void set_room_hook(std::function<void()> hook);
  // The answer to the hook. `more` false: nothing is left that may be evicted, so whoever waits for room gets kNoSpace once
  // nothing can be reclaimed either. `more` true without a call of the hook: something has become evictable (a pin or an
  // open file is gone).
  void evicted(bool more);

  class Impl;

 private:
  explicit Store(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// mkfs: makes an empty store at `path` (created if missing; must be empty unless `force`, which replaces only a directory that
// already is a store). kInvalid for bad geometry (says which value and what is allowed), kNotEmpty.
Result<void> make_store(const std::filesystem::path& path, const StoreGeometry& geometry, bool force);
Result<void> make_store(io::Env& env, const std::string& path, const StoreGeometry& geometry, bool force);

}  // namespace cairn
