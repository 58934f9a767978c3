#include "tree/content.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "tree/chunks.h"

namespace cairn::tree {
namespace {

constexpr int64_t kDay = 86400;  // seconds

// What holes read as.
// Shared by all reads, never written; the pieces need no pin.
std::array<char, 128 << 10> zeros;

// Chunks of this size and more are read one by one if a file is read from front to back.
constexpr uint64_t kLargeChunk = 64 << 10;  // bytes

// What is wanted of a file.
struct ReadRequest {
  uint64_t offset = 0;
  uint64_t size = 0;
  bool in_order = false;  // it goes on where the last read ended
};

template <class Take>
void take_zeros(uint64_t size, Take& take) {
  while (size > 0) {
    const uint64_t n = std::min<uint64_t>(size, zeros.size());
    take(Value(ByteView(zeros.data(), n), nullptr));
    size -= n;
  }
}

// Bytes of one chunk that are wanted. `logged`: it is asked of the log with others, and answered in `value`.
struct ChunkPart {
  uint64_t index = 0;
  ReadRange range;
  bool logged = false;
  Result<Value> value = {};
};

// What the log has of those that are nowhere else, together: they mostly lie side by side.
void load_together(const Tree& tree, const Inode& inode, std::span<ChunkPart> parts) REQUIRES_SHARED(inode.mutex) {
  if (parts.size() < 2 || inode.attributes.patched) return;
  std::vector<Bytes> keys;
  std::vector<GetRequest> requests;
  keys.reserve(parts.size());
  for (ChunkPart& part : parts) {
    part.logged = !inode.chunks.contains(part.index);
    if (!part.logged) continue;
    keys.push_back(format::chunk_key(inode.ino, part.index));
    requests.push_back({keys.back(), part.range});
  }
  auto values = tree.store.get_all(requests);
  size_t next = 0;
  for (ChunkPart& part : parts)
    if (part.logged) part.value = std::move(values[next++]);
  CHECK(next == values.size());
}

Result<Value> value_of(const Tree& tree, const Inode& inode, ChunkPart& part) REQUIRES_SHARED(inode.mutex) {
  const auto& [index, range, logged, value] = part;
  const bool dense = is_dense(inode.attributes);
  const bool absent = logged && !value && value.error().code == ErrorCode::kNotFound;
  if (absent && !dense) return Value();
  // What is not as it ought to be is looked at alone.
  if (!logged || absent || (value && dense && value->size() < range.length)) {
    return load_chunk(tree, inode, index, range);
  }
  return std::move(part.value);
}

// Hands what there is of the range to `take`, piece by piece, in order.
template <class Take>
Result<void> read_locked(const Tree& tree, const Inode& inode, const ReadRequest& request, Take take)
    REQUIRES_SHARED(inode.mutex) {
  constexpr size_t kTogether = 64;  // chunks
  const format::Attributes& a = inode.attributes;
  uint64_t offset = request.offset;
  if (offset >= a.size) return {};
  // Neither sum overflows: `offset` is below the size here.
  const uint64_t end = offset + std::min(request.size, a.size - offset);
  std::vector<ChunkPart> parts;
  while (offset < end) {
    parts.clear();
    for (; offset < end && parts.size() < kTogether; offset += parts.back().range.length) {
      const uint64_t begin = offset & (a.chunk_size() - 1);
      const uint64_t length = std::min(a.chunk_size() - begin, end - offset);
      parts.push_back({.index = offset >> a.chunk_bits,
                       .range = {.offset = begin, .length = length, .fill_cache = !tree.options.caller_caches}});
    }
    // In order the kernel reads the segment ahead, and a chunk that is taken at once is still in the processor's cache.
    if (!request.in_order || a.chunk_size() < kLargeChunk) load_together(tree, inode, parts);
    for (ChunkPart& part : parts) {
      TRY_ASSIGN(Value value, value_of(tree, inode, part));
      CHECK(value.size() <= part.range.length);
      const uint64_t hole = part.range.length - value.size();
      if (value.size() != 0) take(std::move(value));
      take_zeros(hole, take);
    }
  }
  return {};
}

// read_locked() of a file that is not locked, and the time of access.
template <class Take>
Result<void> read_pieces(Tree& tree, Inode& inode, const ReadRequest& request, Take take) EXCLUDES(inode.mutex) {
  inode.content_known = true;
  bool touch = false;
  {
    const ReadLock lock(inode.mutex);
    TRY(require_regular(inode));
    TRY(read_locked(tree, inode, request, take));
    touch = tree.options.relatime && atime_is_old(inode.attributes, tree.now());
  }
  if (touch) touch_atime(tree, inode);
  return {};
}

struct WriteRequest {
  uint64_t offset = 0;
  ByteView data;
  bool append = false;
  bool kill_suidgid = false;
};

// Writes as much from the front of the data as goes into one operation of the store; `chunks` is how many that may be.
Result<uint64_t> write_locked(Tree& tree, Edit& edit, Inode& inode, const WriteRequest& request, uint64_t chunks)
    REQUIRES(inode.mutex) {
  const uint64_t chunk_size = inode.attributes.chunk_size();
  const uint64_t offset = request.append ? inode.attributes.size : request.offset;
  // EFBIG, before anything is planned. Below it the sums stay far from 2^64.
  if (offset >= kMaxFileSize) return fail(ErrorCode::kTooLarge);
  CHECK(chunks != 0);
  const uint64_t room_end = (offset / chunk_size + chunks) * chunk_size;
  const uint64_t end = std::min({offset + request.data.size(), room_end, kMaxFileSize});
  // Old chunks that wait to be erased would show up again inside the larger file.
  if (sweep_in_the_way(inode.attributes, end)) return 0;

  CHECK(offset < end);
  ChunkWrites writes(tree, edit);
  for (uint64_t at = offset; at < end;) {
    const uint64_t begin = at % chunk_size;
    const uint64_t length = std::min(chunk_size - begin, end - at);
    TRY(writes.plan(inode, at / chunk_size, begin, request.data.substr(at - offset, length)));
    at += length;
  }
  // Size, `stored` and content in one batch: after a crash the file has all of it or nothing.
  format::Attributes& next = edit.draft(inode);
  next.size = std::max(next.size, end);
  next.mtime = next.ctime = edit.now();
  if (request.kill_suidgid) kill_suidgid(next);
  TRY(writes.commit(inode));
  CHECK(end > offset);
  return end - offset;
}

// 0: a sweep was in the way, try again.
Result<uint64_t> write_piece(Tree& tree, Inode& inode, const WriteRequest& request, uint64_t chunk_size) {
  const uint64_t room_max = tree.store.max_operation_room();
  const uint64_t rest = attributes_cost_max();
  const uint64_t most = room_max > rest ? (room_max - rest) / chunk_cost(chunk_size) : 0;
  // One at each end may be touched in part.
  const uint64_t touched = request.data.size() / chunk_size + 2;  // at most
  // At least one, also where the promised room is less than its worst case: the edit then finds out whether it fits.
  const uint64_t chunks = std::clamp<uint64_t>(touched, 1, std::max<uint64_t>(1, most));
  uint64_t written = 0;
  {
    // A new operation for each piece: commits get their turn in between.
    TRY_ASSIGN(auto edit, Edit::begin(tree, chunks * chunk_cost(chunk_size) + rest));
    const WriteLock lock(inode.mutex);
    TRY(require_regular(inode));
    TRY_ASSIGN(written, write_locked(tree, edit, inode, request, chunks));
  }
  if (written == 0) TRY(finish_sweep(tree, inode));
  return written;
}

}  // namespace

bool atime_is_old(const format::Attributes& a, const Time& now) {
  const auto key = [](const Time& time) { return std::pair(time.seconds, time.nanoseconds); };
  return key(a.atime) <= key(a.mtime) || key(a.atime) <= key(a.ctime) || now.seconds - a.atime.seconds >= kDay;
}

void touch_atime(Tree& tree, Inode& inode) {
  // After the read has given its lock back: begin() may wait for a commit, which needs that lock.
  auto edit = Edit::begin(tree, attributes_cost_max());
  if (!edit) return;
  const WriteLock lock(inode.mutex);
  if (!require_usable(inode)) return;
  edit->draft(inode).atime = edit->now();
  (void)edit->commit();  // unchanged, then; a store that cannot be written says so to those who write
}

void kill_suidgid(format::Attributes& a) {
  if (a.is_directory()) return;
  a.mode &= ~uint32_t{S_ISUID};
  if ((a.mode & S_IXGRP) != 0) a.mode &= ~uint32_t{S_ISGID};
}

Result<Attr> open(Tree& tree, Inode& inode) {
  TRY(require_usable(inode));
  if (tree.options.opens_counted) tree.inodes.count_open(inode);
  tree.evictor.used(inode.ino);
  ++tree.traffic.hits;
  return to_attr(inode.ino, inode.attributes);
}

Result<std::vector<Value>> read_all(const Tree& tree, const Inode& inode) {
  std::vector<Value> pieces;
  TRY(read_locked(tree, inode, {.size = inode.attributes.size},
                  [&pieces](Value piece) { pieces.push_back(std::move(piece)); }));
  return pieces;
}

Result<std::vector<Value>> read(Tree& tree, Ino ino, uint64_t offset, uint64_t size) {
  std::vector<Value> pieces;
  TRY(read_pieces(tree, *tree.inodes.get(ino), {.offset = offset, .size = size},
                  [&pieces](Value piece) { pieces.push_back(std::move(piece)); }));
  return pieces;
}

Result<uint64_t> read_into(Tree& tree, Ino ino, uint64_t offset, std::span<char> out) {
  const InodeRef inode = tree.inodes.get(ino);
  const bool in_order = inode->read_end.exchange(offset + out.size()) == offset;
  uint64_t done = 0;
  const auto copy = [&done, out](const Value& piece) {
    CHECK(piece.size() <= out.size() - done);
    std::memcpy(out.data() + done, piece.view().data(), piece.size());
    done += piece.size();
  };
  TRY(read_pieces(tree, *inode, {.offset = offset, .size = out.size(), .in_order = in_order}, copy));
  return done;
}

Result<uint64_t> write(Tree& tree, Ino ino, uint64_t offset, ByteView data, bool append, bool kill_suidgid) {
  const InodeRef inode = tree.inodes.get(ino);
  inode->content_known = true;
  uint64_t chunk_size = 0;
  {
    const ReadLock lock(inode->mutex);
    TRY(require_regular(*inode));
    chunk_size = inode->attributes.chunk_size();
  }
  uint64_t done = 0;
  while (done < data.size()) {
    const WriteRequest request{
        .offset = offset + done, .data = data.substr(done), .append = append, .kill_suidgid = kill_suidgid};
    const auto written = write_piece(tree, *inode, request, chunk_size);
    // A short count, as write(2): what was written before is there.
    if (!written && done == 0) return fail(written.error());
    if (!written) break;
    CHECK(*written <= data.size() - done);
    done += *written;
  }
  return done;
}

}  // namespace cairn::tree
