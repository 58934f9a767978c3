#include <algorithm>
#include <utility>

#include "base/bloom_probe.h"
#include "base/check.h"
#include "format/decode.h"
#include "index/table.h"
#include "index/table_block.h"
#include "index/table_index.h"

namespace cairn::index {
namespace {

// Bytes of the filter for each key, rounded up (10 bits).
constexpr uint64_t kFilterShare = 2;
static_assert(kFilterShare < format::kEntryOverhead);
static_assert(kFilterShare * 8 >= kBloomBitsPerKey);

}  // namespace

// The log reserves max_entry_size() + kEntryOverhead for each entry before it accepts it, so a table must never take
// more (a seal that does not fit has nowhere to go). Fields are within that bound by themselves, but the index repeats
// a bound of up to 1024 bytes for each block. So the builder keeps account of what was reserved and what was used, and
// a block is closed only once it has paid for itself: with keys of 1024 bytes that is after 20 to 60 KiB instead of 8.
class TableBuilder::Impl {
 public:
  explicit Impl(const format::TableTrailer& trailer) : trailer_(trailer) {
    trailer_.entries = trailer_.erases = trailer_.record_bytes = 0;
  }

  void add(ByteView key, const format::IndexEntry& entry) {
    CHECK(!finished_ && entry.seq != SeqNo{});
    const bool first = trailer_.entries == 0;
    CHECK(first || entry_before(last_key_, last_seq_, key, entry.seq));
    // Versions of one key are one key to the filter.
    if (first || last_key_ != key) hashes_.push_back(Table::hash(key));
    if (block_.empty()) begin_block(key);
    block_.add(key, entry);
    count(key, entry);
    last_key_ = key;
    last_seq_ = entry.seq;
    if (block_.entry_bytes() >= kBlockTarget && reserved_ >= used_ + block_.size()) end_block();
  }

  [[nodiscard]] size_t size_estimate() const {
    const uint64_t open = block_.empty() ? 0 : block_.size() + IndexBuilder::cost(bound_.size());
    return out_.size() + open + index_.size() + filter_size(hashes_.size()) + format::kTableTrailerSize;
  }

  [[nodiscard]] uint64_t entries() const { return trailer_.entries; }

  Bytes finish() {
    CHECK(!finished_);
    finished_ = true;
    if (!block_.empty()) end_block();
    // Blocks, filter, index, trailer: the trailer says where the others are, so it is found first and written last.
    trailer_.filter_offset = position();
    build_filter(hashes_, place(), out_);
    trailer_.filter_length = position() - trailer_.filter_offset;
    trailer_.index_offset = position();
    index_.finish(place(), out_);
    trailer_.index_length = position() - trailer_.index_offset;
    if (trailer_.kind == format::TableKind::kRun) trailer_.range = seen_;
    out_.append(format::bytes_of(format::encode_table_trailer(trailer_, position())));
    // What the log promised when it accepted these entries. A footer that did not fit would leave a segment that cannot
    // be sealed.
    CHECK(out_.size() <= reserved_ + trailer_.entries * kFilterShare + format::kTableOverhead);
    return std::move(out_);
  }

 private:
  [[nodiscard]] uint64_t position() const { return trailer_.base + out_.size(); }
  [[nodiscard]] BlockPlace place() const { return {trailer_.salt, trailer_.id, position()}; }

  void begin_block(ByteView key) {
    // The bound is as short as it can be and still tell the blocks apart; the whole key where it goes on with one.
    continues_ = trailer_.entries > 0 && last_key_ == key;
    if (trailer_.entries == 0) {
      bound_.clear();
    } else {
      bound_ = continues_ ? key : shortest_bound(last_key_, key);
    }
    used_ += IndexBuilder::cost(bound_.size());
  }

  void end_block() {
    const uint64_t offset = position();
    const uint64_t length = block_.size();
    CHECK(length <= kMaxBlockLength);
    block_.finish(place(), out_);
    index_.add({bound_, continues_, offset, length});
    used_ += length;
  }

  void count(ByteView key, const format::IndexEntry& entry) {
    seen_.first = trailer_.entries == 0 ? entry.seq : std::min(seen_.first, entry.seq);
    seen_.last = std::max(seen_.last, entry.seq);
    ++trailer_.entries;
    if (entry.type == format::RecordType::kErase) ++trailer_.erases;
    trailer_.record_bytes += format::record_size(key.size(), entry.stored_length);
    const uint64_t small = entry.has_small ? entry.small.size() : 0;
    reserved_ += format::max_entry_size(key.size(), small) + format::kEntryOverhead - kFilterShare;
  }

  format::TableTrailer trailer_;
  Bytes out_;  // finished blocks
  BlockBuilder block_;
  IndexBuilder index_;
  std::vector<uint64_t> hashes_;  // of distinct keys
  SeqRange seen_;                 // of the entries
  Bytes last_key_;
  SeqNo last_seq_;
  Bytes bound_;  // of the open block
  bool continues_ = false;
  bool finished_ = false;
  uint64_t reserved_ = 0;  // bytes the caller has reserved for the entries so far, the filter's share taken off
  uint64_t used_ = 0;      // bytes of closed blocks and of the index
};

TableBuilder::TableBuilder(const format::TableTrailer& trailer) : impl_(std::make_unique<Impl>(trailer)) {}
TableBuilder::~TableBuilder() = default;
void TableBuilder::add(ByteView key, const format::IndexEntry& entry) { impl_->add(key, entry); }
size_t TableBuilder::size_estimate() const { return impl_->size_estimate(); }
uint64_t TableBuilder::entries() const { return impl_->entries(); }
Bytes TableBuilder::finish() { return impl_->finish(); }

}  // namespace cairn::index
