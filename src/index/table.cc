#include "index/table.h"

#include <utility>

#include <fmt/format.h>

#include "base/check.h"
#include "base/try.h"
#include "format/checksum.h"
#include "index/table_block.h"
#include "index/table_index.h"
#include "index/table_reader.h"

namespace cairn::index {

class Table::Impl final : public TableReader {
  using TableReader::TableReader;
};

namespace {

// Part of the format, through the filter. A seed of its own, so that keys which collide here do not collide in
// checksums.
constexpr uint64_t kKeyHashSeed = 0x4853'4148'5945'4b;  // "KEYHASH"

class TableIterator final : public Iterator {
 public:
  TableIterator(const TableReader& table, Caching caching) : table_(table), caching_(caching) {}

  Result<void> seek(ByteView target, SeqNo max_seq) override {
    cursor_ = {};
    if (index_ == nullptr) {
      TRY_ASSIGN(index_, table_.index(caching_));
    }
    const BlockIndex index(*index_);
    if (index.blocks() == 0) return {};
    // The index block is fetched once and held: blocks of the table do not change.
    // More than one step only where newer versions of the target's key fill whole blocks.
    for (size_t number = index.find(target); !cursor_.valid() && number < index.blocks(); ++number) {
      TRY(load(index, number));
      cursor_.seek(target, max_seq);
    }
    return {};
  }

  Result<void> next() override {
    CHECK(valid());
    // The entry's key is not kept: that blocks are in order by key the block index has shown.
    const SeqNo seq = cursor_.entry().seq;
    cursor_.next();
    return cursor_.valid() ? Result<void>{} : cross(BlockIndex(*index_), seq);
  }

  [[nodiscard]] bool valid() const override { return cursor_.valid(); }
  [[nodiscard]] ByteView key() const override { return cursor_.key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return cursor_.entry(); }

 private:
  Result<void> load(const BlockIndex& index, size_t number) {
    cursor_ = {};
    // On an error the iterator stays invalid: cursor_ was cleared first.
    DCHECK(number < index.blocks());
    TRY_ASSIGN(block_, table_.entries(index, number, caching_));
    number_ = number;
    cursor_ = BlockCursor(*block_);
    return {};
  }

  // From the end of a block, whose last entry has `last_seq`, to the beginning of the next one, if there is one.
  Result<void> cross(const BlockIndex& index, SeqNo last_seq) {
    const size_t next = number_ + 1;
    if (next == index.blocks()) return {};
    const BlockHandle handle = index.at(next);
    TRY(load(index, next));
    cursor_.seek_first();
    // Bounds keep the keys of neighbouring blocks in order, but not the versions of a key that both of them hold.
    if (handle.continues && last_seq <= cursor_.entry().seq) {
      cursor_ = {};
      return fail(table_.corrupt("block", handle.offset, "versions of a key out of order"));
    }
    return {};
  }

  const TableReader& table_;
  const Caching caching_;
  Block index_;
  Block block_;
  size_t number_ = 0;   // of block_
  BlockCursor cursor_;  // in block_
};

Error named(const Table::Identity& identity, Error error) {
  error.message = fmt::format("{}: {}", identity.name, error.message);
  return error;
}

}  // namespace

Result<std::shared_ptr<const Table>> Table::open(OpenFile open_file, Identity identity,
                                                 std::shared_ptr<BlockCache> cache) {
  // One read of 256 bytes. Filter and block index follow when somebody asks.
  TRY_ASSIGN(const std::shared_ptr<const io::File> file, open_file());
  TRY_ASSIGN(const io::FileStat stat, file->stat());
  const auto bad = [&identity](const char* what) {
    return fail(ErrorCode::kCorrupt, fmt::format("{}: table trailer: {}", identity.name, what));
  };
  if (stat.size < format::kTableTrailerSize) return bad("file too short");
  Bytes bytes(format::kTableTrailerSize, '\0');
  TRY_ASSIGN(const size_t got, file->pread(stat.size - bytes.size(), bytes));
  if (got != bytes.size()) return bad("file ends inside it");
  auto trailer = format::decode_table_trailer(bytes, stat.size);
  if (!trailer) return fail(named(identity, std::move(trailer).error()));
  // A sound trailer of another table: a file that was renamed or misdirected, so damage to this one.
  if (trailer->kind != identity.kind || trailer->id != identity.id) return bad("belongs to another file");
  if (identity.salt && trailer->salt != *identity.salt) return bad("belongs to another file");
  DCHECK(open_file && cache);
  auto impl = std::make_unique<Impl>(std::move(open_file), std::move(identity), std::move(cache), *trailer);
  return std::shared_ptr<const Table>(new Table(std::move(impl)));
}

Table::Table(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Table::~Table() = default;

uint64_t Table::hash(ByteView key) { return format::checksum(key, kKeyHashSeed); }

const format::TableTrailer& Table::trailer() const { return impl_->trailer(); }

bool Table::Filter::may_contain(uint64_t key_hash) const {
  return bits_ ? filter_may_contain(*bits_, key_hash) : otherwise_;
}

Table::Filter Table::filter() const {
  Filter filter;
  if (trailer().filter_length == 0) {
    // A table without a filter has no keys, or comes from a version that made none.
    filter.otherwise_ = trailer().entries != 0;
  } else if (Result<Block> bits = impl_->filter(Caching::kFill)) {
    filter.bits_ = std::move(*bits);
  }
  return filter;
}

Result<std::optional<Table::Found>> Table::get(ByteView key, SeqNo max_seq) const {
  TRY_ASSIGN(const Block index_block, impl_->index(Caching::kFill));
  const BlockIndex index(*index_block);
  if (index.blocks() == 0) return std::nullopt;
  // Goes on only where versions of this very key fill a block to its end.
  for (size_t number = index.find(key);; ++number) {
    DCHECK(number < index.blocks());
    TRY_ASSIGN(const Block block, impl_->entries(index, number, Caching::kFill));
    BlockCursor cursor(*block);
    cursor.seek(key, max_seq);
    if (cursor.valid()) {
      if (cursor.key() != key) return std::nullopt;
      return Found{cursor.entry(), block};
    }
    if (number + 1 == index.blocks()) return std::nullopt;
    const BlockHandle next = index.at(number + 1);
    if (!next.continues || next.bound != key) return std::nullopt;
  }
}

std::unique_ptr<Iterator> Table::iterate(bool fill_cache) const {
  return std::make_unique<TableIterator>(*impl_, fill_cache ? Caching::kFill : Caching::kUse);
}

Result<void> Table::verify(const std::function<void(const std::string&)>& damage) const {
  return verify_table(*impl_, damage);
}

}  // namespace cairn::index
