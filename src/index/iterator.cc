#include "index/iterator.h"

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/try.h"

namespace cairn::index {
namespace {

// A heap of the inputs that are valid, the one with the smallest (key, newest first, input number) on top. O(log
// inputs) comparisons a step. The input number breaks ties, so of equal entries that of the first input is the one that
// shows.
class MergeIterator final : public Iterator {
 public:
  explicit MergeIterator(std::vector<std::unique_ptr<Iterator>> inputs) : inputs_(std::move(inputs)) {
    heap_.reserve(inputs_.size());
  }

  Result<void> seek(ByteView target, SeqNo max_seq) override {
    heap_.clear();
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (auto done = inputs_[i]->seek(target, max_seq); !done) return broken(std::move(done).error());
      if (inputs_[i]->valid()) push(i);
    }
    return {};
  }

  Result<void> next() override {
    CHECK(valid());
    const size_t current = pop();
    // Others that stand at the same (key, seq) go on first: the views of `current` are still good to compare with.
    while (!heap_.empty() && same(*inputs_[heap_.front()], *inputs_[current])) TRY(advance(pop()));
    return advance(current);
  }

  [[nodiscard]] bool valid() const override { return !heap_.empty(); }
  // Views belong to the input on top, which moves only in next().
  [[nodiscard]] ByteView key() const override { return inputs_[heap_.front()]->key(); }
  [[nodiscard]] const format::IndexEntry& entry() const override { return inputs_[heap_.front()]->entry(); }

 private:
  static bool same(const Iterator& a, const Iterator& b) {
    return a.entry().seq == b.entry().seq && a.key() == b.key();
  }

  // For the standard heap functions, which keep the largest on top.
  [[nodiscard]] bool after(size_t a, size_t b) const {
    const int order = inputs_[a]->key().compare(inputs_[b]->key());
    if (order != 0) return order > 0;
    const SeqNo seq_a = inputs_[a]->entry().seq;
    const SeqNo seq_b = inputs_[b]->entry().seq;
    return seq_a != seq_b ? seq_a < seq_b : a > b;
  }

  void push(size_t input) {
    DCHECK(heap_.size() < inputs_.size() && inputs_[input]->valid());
    heap_.push_back(input);
    std::push_heap(heap_.begin(), heap_.end(), [this](size_t a, size_t b) { return after(a, b); });
  }

  size_t pop() {
    DCHECK(!heap_.empty());
    std::pop_heap(heap_.begin(), heap_.end(), [this](size_t a, size_t b) { return after(a, b); });
    const size_t input = heap_.back();
    heap_.pop_back();
    return input;
  }

  Result<void> advance(size_t input) {
    if (auto done = inputs_[input]->next(); !done) return broken(std::move(done).error());
    if (inputs_[input]->valid()) push(input);
    return {};
  }

  // After an error all is invalid: a merge that went on without one input would show older versions as the newest.
  Result<void> broken(Error error) {
    heap_.clear();
    return fail(std::move(error));
  }

  std::vector<std::unique_ptr<Iterator>> inputs_;
  std::vector<size_t> heap_;  // numbers of inputs
};

}  // namespace

std::unique_ptr<Iterator> merge_iterators(std::vector<std::unique_ptr<Iterator>> inputs) {
  // One level alone needs no heap, and no comparisons.
  DCHECK(std::none_of(inputs.begin(), inputs.end(), [](const auto& input) { return input == nullptr; }));
  if (inputs.size() == 1) return std::move(inputs.front());
  return std::make_unique<MergeIterator>(std::move(inputs));
}

}  // namespace cairn::index
