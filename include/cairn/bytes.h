// Bytes and views of bytes, as every interface of CairnFS passes them.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace cairn {

// Any bytes, not text. Comparison is bytewise and unsigned (as memcmp), which is the order of keys everywhere.
using ByteView = std::string_view;
using Bytes = std::string;

// A read-only view together with whatever keeps its bytes alive (a slab, a cached chunk, a buffer of its own).
// Cheap to copy. Thread-safe as any const object is.
class Value {
 public:
  Value() = default;
  Value(ByteView view, std::shared_ptr<const void> pin) : view_(view), pin_(std::move(pin)) {}
  // A value that owns `bytes`.
  static Value own(Bytes bytes) {
    auto owner = std::make_shared<const Bytes>(std::move(bytes));
    const ByteView view = *owner;
    return {view, std::move(owner)};
  }

  [[nodiscard]] ByteView view() const { return view_; }
  [[nodiscard]] size_t size() const { return view_.size(); }
  // The same bytes, fewer of them. Needs offset + length <= size().
  [[nodiscard]] Value slice(size_t offset, size_t length) const { return {view_.substr(offset, length), pin_}; }
  [[nodiscard]] const std::shared_ptr<const void>& pin() const { return pin_; }

 private:
  ByteView view_;
  std::shared_ptr<const void> pin_;
};

}  // namespace cairn
