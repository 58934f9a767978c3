// Bytes and views of bytes, as every interface of CairnFS passes them. A ByteView that is passed in is needed until the
// call returns, unless the function says otherwise; one that is handed out says how long it lives.
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
// Cheap to copy: 32 bytes and a reference count. Thread-safe as any const object is. The bytes never change, so a Value
// that was read stays what it was whatever happens to its key. Holding one holds its memory, which may be more than the
// view: a chunk for a few bytes of it.
class Value {
 public:
  // No bytes.
  Value() = default;
  // `view` lies in what `pin` keeps alive; an empty pin is for bytes that live for ever.
  Value(ByteView view, std::shared_ptr<const void> pin) : view_(view), pin_(std::move(pin)) {}
  // A value that owns `bytes`. Moves them, and allocates a reference count.
  static Value own(Bytes bytes) {
    auto owner = std::make_shared<const Bytes>(std::move(bytes));
    const ByteView view = *owner;
    return {view, std::move(owner)};
  }

  // Lives as long as this Value or any copy or slice of it.
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
