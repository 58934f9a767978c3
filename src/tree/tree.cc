#include "tree/tree.h"

#include <bit>
#include <optional>
#include <utility>

#include "base/check.h"
#include "base/try.h"
#include "io/env.h"

namespace cairn::tree {
namespace {

constexpr uint64_t kInodeObjects = 65536;   // at about 500 bytes each; what the kernel merely knows takes a tenth
constexpr uint64_t kAttributesKeySize = 9;  // bytes
static_assert(kAttributesKeySize == sizeof(uint64_t) + 1, "ino 'A'");
static_assert(kMaxNameSize + 17 <= kMaxKeySize, "the longest key: a back link");
static_assert(kMaxXattrSize < 1ull << 31);

}  // namespace

void DirtyList::update(Inode& inode) {
  const bool is_dirty = inode.dirty || !inode.chunks.empty();
  const MutexLock lock(mutex_);
  if (is_dirty) {
    inodes_.emplace(inode.ino, inode.shared_from_this());
  } else {
    inodes_.erase(inode.ino);
  }
}

std::vector<InodeRef> DirtyList::all() const {
  const MutexLock lock(mutex_);
  std::vector<InodeRef> out;
  out.reserve(inodes_.size());
  for (const auto& [ino, inode] : inodes_) out.push_back(inode);
  return out;
}

Tree::Tree(Store& engine, const FsOptions& choices)
    : store(engine),
      options(choices),
      logger(choices.logger ? choices.logger : null_logger()),
      cache_mode(engine.stats().mode == Mode::kCache),
      chunk_bits(static_cast<uint8_t>(std::bit_width(engine.stats().chunk_size) - 1)),
      inodes(engine, kInodeObjects),
      sweeper(*this),
      write_behind(*this),
      hand_over(*this),
      evictor(*this) {}

Time Tree::now() const {
  const io::Timestamp time = store.env().now();
  return {.seconds = time.seconds, .nanoseconds = time.nanoseconds};
}

bool Tree::in_use(const Inode& inode) const {
  // The mount is gone: counts that the kernel did not give back mean nothing any more.
  if (closing) return false;
  // The kernel opens everything but regular files without telling us.
  const bool opens_told = options.opens_counted && inode.attributes.is_regular();
  return inodes.opens(inode) != 0 || (!opens_told && inodes.lookups(inode) != 0);
}

void Tree::note_use(Inode& directory) const {
  if (cache_mode) directory.used_s = store.env().now().seconds;
}

void Tree::note_error(std::string_view event, Ino ino, const Error& error) {
  ++background_errors;
  logger->error("{} ino={} error=\"{}\" message=\"{}\"", event, ino, to_string(error.code), error.message);
}

uint64_t attributes_cost(const format::Attributes& attributes) {
  return log_cost(kAttributesKeySize,
                  sizeof(format::AttributesDisk) + attributes.name.size() + attributes.target.size());
}

uint64_t attributes_cost_max(uint64_t target_length) {
  return log_cost(kAttributesKeySize, format::attributes_size_max(target_length));
}

Result<void> write_back(Tree& tree, Store::Operation& operation, Inode& inode) {
  WriteBatch batch;
  // Chunks by reference: the mutex is held until the write has returned.
  std::optional<KnownPatches> known = inode.known_patches;
  for (const auto& [index, chunk] : inode.chunks)
    known = {.index = index, .patches = log_chunk(batch, inode.ino, index, chunk)};
  if (inode.dirty) batch.put(format::attributes_key(inode.ino), format::encode_attributes(inode.attributes));
  if (batch.empty()) return {};
  // Its room was kept for exactly this, so it always fits (kept_for(), attributes_cost()).
  TRY(operation.write(batch));
  inode.known_patches = known;
  inode.chunks.clear();
  inode.attributes_kept = 0;
  inode.dirty = false;
  tree.dirty.update(inode);
  return {};
}

Result<void> write_back_now(Tree& tree, Inode& inode) {
  TRY_ASSIGN(auto operation, tree.store.begin(attributes_cost_max(), Store::OperationKind::kFree));
  const WriteLock lock(inode.mutex);
  uint64_t kept = inode.attributes_kept;
  for (const auto& [index, chunk] : inode.chunks) kept += chunk.kept;
  // Into this operation; begin() promised a little besides, which goes back unused.
  operation.reclaim(kept);
  auto written = write_back(tree, operation, inode);
  if (written) return {};
  // Nothing was written: it waits on, with its room. A store that takes no writes has no use for room either.
  if (!operation.keep(kept)) {
    inode.attributes_kept = 0;
    for (auto& [index, chunk] : inode.chunks) chunk.kept = 0;
  }
  return written;
}

Result<void> write_back_all(Tree& tree, Store::Operation& operation) {
  for (const InodeRef& inode : tree.dirty.all()) {
    const WriteLock lock(inode->mutex);
    TRY(write_back(tree, operation, *inode));
  }
  return {};
}

void drop_chunks(Store::Operation& operation, Inode& inode, uint64_t first, uint64_t last) {
  const auto begin = inode.chunks.lower_bound(first);
  const auto end = inode.chunks.lower_bound(last);
  // Their room goes back with the operation.
  for (auto it = begin; it != end; ++it) operation.reclaim(it->second.kept);
  inode.chunks.erase(begin, end);
}

}  // namespace cairn::tree
