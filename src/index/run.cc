#include "index/run.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"

namespace cairn::index {
namespace {

using Parts = std::vector<Run::Part>;

// The only part that may hold `key`, or the first one behind it, or the end.
Parts::const_iterator part_for(const Parts& parts, ByteView key) {
  return std::partition_point(parts.begin(), parts.end(),
                              [key](const Run::Part& part) { return part.described.last_key < key; });
}

// One table after the other.
class RunIterator final : public Iterator {
 public:
  RunIterator(const Parts& parts, bool fill_cache) : parts_(parts), fill_cache_(fill_cache), part_(parts.end()) {}

  Result<void> seek(ByteView target, SeqNo max_seq) override {
    current_.reset();
    part_ = part_for(parts_, target);
    return part_ == parts_.end() ? Result<void>{} : enter(target, max_seq);
  }

  Result<void> next() override {
    CHECK(valid());
    TRY(current_->next());
    return leave_finished();
  }

  [[nodiscard]] bool valid() const override { return current_ != nullptr && current_->valid(); }
  [[nodiscard]] ByteView key() const override { return current_->key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return current_->entry(); }

 private:
  // Into `part_`, to the target or to where the part begins to count.
  Result<void> enter(ByteView target, SeqNo max_seq) {
    const ByteView clip = part_->described.clip;
    current_ = part_->table->iterate(fill_cache_);
    TRY(target < clip ? current_->seek(clip, kMaxSeq) : current_->seek(target, max_seq));
    return leave_finished();
  }

  Result<void> leave_finished() {
    while (!current_->valid()) {
      if (++part_ == parts_.end()) break;
      current_ = part_->table->iterate(fill_cache_);
      TRY(current_->seek(part_->described.clip, kMaxSeq));
    }
    return {};
  }

  const Parts& parts_;
  const bool fill_cache_;
  Parts::const_iterator part_;
  std::unique_ptr<Iterator> current_;  // over part_; null before the first seek
};

}  // namespace

Run::Run(std::vector<Part> parts) : parts_(std::move(parts)) {
  CHECK(!parts_.empty());
  for (size_t i = 1; i < parts_.size(); ++i) CHECK(parts_[i - 1].described.last_key < parts_[i].described.first_key);
}

Result<std::optional<Table::Found>> Run::get(ByteView key, uint64_t key_hash, SeqNo max_seq) const {
  const auto part = part_for(parts_, key);
  if (part == parts_.end() || key < part->described.first_key || key < part->described.clip) return std::nullopt;
  if (!part->table->may_contain(key_hash)) return std::nullopt;
  return part->table->get(key, max_seq);
}

std::unique_ptr<Iterator> Run::iterate(bool fill_cache) const {
  return std::make_unique<RunIterator>(parts_, fill_cache);
}

uint64_t Run::bytes() const {
  uint64_t sum = 0;
  for (const Part& part : parts_) sum += part.described.file_size;
  return sum;
}

}  // namespace cairn::index
