// Copies one tree into another, by several threads.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "cairn/result.h"
#include "tools/transfer/tree.h"

namespace cairn::tools {

// What has been done so far. May be read at any time.
struct TransferCount {
  std::atomic<uint64_t> files = 0;      // of every type, also those that were there
  std::atomic<uint64_t> unchanged = 0;  // of these: the content was there already
  std::atomic<uint64_t> bytes = 0;      // of content, holes not counted
  std::atomic<uint64_t> errors = 0;
  std::atomic<uint64_t> refused = 0;  // attributes that the target does not take
};

// Copies everything below the root of `from` into the root of `to`, with all attributes, links, holes and extended attributes.
//
// What is there already is completed: a regular file of the same size and time of change is taken for the same, as its
// time is set last; others are copied anew, and what is no directory is replaced. Nothing else in `to` is touched. So what
// was interrupted goes on where it stopped, when it is called again.
//
// `complain` is called with one line for each file that could not be copied, by one thread at a time; the others are copied
// all the same. Returns an error if it had to stop: the target is full, or takes nothing.
Result<void> transfer(Tree& from, Tree& to, unsigned workers, TransferCount& count,
                      const std::function<void(const std::string&)>& complain);

// How many of the files and directories below the root of `from` have no name in `to`; of a directory that has none, what is in
// it does not count, nor does what cannot be looked at.
uint64_t count_missing(Tree& from, Tree& to);

}  // namespace cairn::tools
