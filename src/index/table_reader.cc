#include "index/table_reader.h"

#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"

namespace cairn::index {
namespace {

static_assert(kMaxBlockLength < uint64_t{256} << 20);

// No table of a segment of 1 GiB comes near it; a file with a hole of a terabyte in it must not make us allocate one.
constexpr uint64_t kMaxIndexLength = 256 << 20;  // bytes; also for the filter

}  // namespace

TableReader::TableReader(Table::OpenFile open_file, Table::Identity identity, std::shared_ptr<BlockCache> cache,
                         const format::TableTrailer& trailer)
    : open_file_(std::move(open_file)),
      identity_(std::move(identity)),
      cache_(std::move(cache)),
      owner_(cache_->next_owner()),
      trailer_(trailer) {}

// Otherwise blocks of tables that are gone would push out those of tables that are there.
TableReader::~TableReader() { cache_->erase_owner(owner_); }

Error TableReader::corrupt(const char* structure, uint64_t offset, const char* what) const {
  return {ErrorCode::kCorrupt, fmt::format("{}: table {} at {}: {}", identity_.name, structure, offset, what)};
}

template <class Check>
Result<Block> TableReader::load(const char* structure, uint64_t offset, uint64_t length, Caching caching,
                                Check&& check) const {
  if (caching != Caching::kBypass) {
    // What is in the cache was verified when it came in.
    if (Block cached = cache_->find(owner_, offset)) return cached;
  }
  if (length > kMaxIndexLength) return fail(corrupt(structure, offset, "too long"));
  CHECK(length >= kBlockChecksumSize);
  TRY_ASSIGN(const std::shared_ptr<const io::File> file, open_file_());
  Bytes block(length, '\0');
  TRY_ASSIGN(const size_t got, file->pread(offset, block));
  if (got != length) return fail(corrupt(structure, offset, "file ends inside it"));
  // Order: length, checksum, content. Nothing is decoded before the checksum that covers it (faults.md, "Hostile
  // input").
  if (!block_verifies(block, {trailer_.salt, trailer_.id, offset})) {
    return fail(corrupt(structure, offset, "checksum mismatch"));
  }
  block.resize(length - kBlockChecksumSize);
  if (const char* wrong = check(block)) return fail(corrupt(structure, offset, wrong));
  if (caching == Caching::kFill) return cache_->insert(owner_, offset, std::move(block));
  return std::make_shared<const Bytes>(std::move(block));
}

Result<Block> TableReader::index(Caching caching) const {
  // The blocks have to fill the file from the base up to the filter, exactly.
  return load("block index", trailer_.index_offset, trailer_.index_length, caching,
              [this](ByteView block) { return check_index(block, trailer_.base, trailer_.filter_offset); });
}

Result<Block> TableReader::filter(Caching caching) const {
  return load("filter", trailer_.filter_offset, trailer_.filter_length, caching, check_filter);
}

Result<Block> TableReader::entries(const BlockIndex& index, size_t number, Caching caching) const {
  DCHECK(number < index.blocks());
  const BlockHandle handle = index.at(number);
  const bool last = number + 1 == index.blocks();
  const BlockHandle after = last ? BlockHandle{} : index.at(number + 1);
  return load("block", handle.offset, handle.length, caching, [&](ByteView block) -> const char* {
    BlockSummary summary;
    if (const char* wrong = check_block(block, summary)) return wrong;
    // Bounds and blocks are checked against each other here, so a lookup that lands in one block need not look at its
    // neighbours.
    const bool starts_well = handle.continues ? summary.first_key == handle.bound : summary.first_key >= handle.bound;
    const bool ends_well = last || (after.continues ? summary.last_key == after.bound : summary.last_key < after.bound);
    return starts_well && ends_well ? nullptr : "keys outside the bounds that the block index gives";
  });
}

}  // namespace cairn::index
