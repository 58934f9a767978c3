// All crashes of a short epoch: short workloads, tried completely, find most bugs (Mohan et al., "Finding
// Crash-Consistency Bugs with Bounded Black-Box Crash Testing", OSDI '18: three operations or fewer).
//
// The problem: n unsynced operations have 2^n subsets, and each write of s sectors can be torn in 2^s ways. The idea:
// whole operations in every subset; tears one write at a time, at each sector, in the two orders that disks have (front
// first, back first) and with one sector left out. Most of these give equal bytes, and a hash of names and contents
// drops those before anybody recovers them.

#include <algorithm>
#include <string>
#include <utility>

#include "base/check.h"
#include "format/checksum.h"
#include "io/sim_crash.h"

namespace cairn::io {
namespace {

// Twice as many operations take a thousand times as long.
constexpr size_t kAllSubsetsUpTo = 10;  // operations: 1,024 subsets
static_assert(kAllSubsetsUpTo < 20, "every subset is tried");

// An unsynced operation; `data` is null for one on names.
struct OpenOp {
  uint64_t order = 0;
  const DataOp* data = nullptr;
};

// Tries plans, and passes on each state that it has not seen yet.
class Enumerator {
 public:
  Enumerator(const SimDisk& disk, CrashSearch search, StateHash& hash, SimRandom& random, const CrashFound& found)
      : disk_(disk), order_(search.order), limit_(search.limit), hash_(hash), random_(random), found_(found) {
    for (const auto& [node, file] : disk.files()) {
      hash_.remember(file.durable);
      for (const auto& op : file.pending) ops_.push_back({op->order, op.get()});
    }
    for (const NameOp& op : disk.pending_names()) ops_.push_back({op.order, nullptr});
    std::sort(ops_.begin(), ops_.end(), [](const OpenOp& a, const OpenOp& b) { return a.order < b.order; });
  }

  bool run() {
    const bool all = ops_.size() <= kAllSubsetsUpTo;
    const bool whole = (all ? try_subsets() : try_samples()) && try_tears();
    return whole && all;
  }

 private:
  // False once the limit is reached.
  bool try_plan(CrashPlan plan) {
    if (!is_possible(plan)) return true;
    // Without newly covered, unwritten bytes both are the same state, which the hash finds.
    for (const bool stale : {false, true}) {
      plan.stale = stale;
      SimDisk state = crash_as_planned(disk_, plan);
      const uint64_t hash = hash_.of(state);
      if (!seen_.insert(hash).second) continue;
      if (seen_.size() > limit_) return false;
      found_(std::move(state), hash);
    }
    return true;
  }

  // In order means: no name operation lands after one that does not.
  bool is_possible(const CrashPlan& plan) const {
    if (order_ == NameOrder::kAnything) return true;
    bool missing = false;
    for (const OpenOp& op : ops_) {
      if (op.data != nullptr) continue;
      if (missing && plan.landed(op.order)) return false;
      missing = missing || !plan.landed(op.order);
    }
    return true;
  }

  CrashPlan plan_of(const std::function<bool(size_t)>& lands) const {
    CrashPlan plan;
    for (size_t i = 0; i < ops_.size(); ++i) {
      if (lands(i)) plan.landing.insert(ops_[i].order);
    }
    return plan;
  }

  bool try_subsets() {
    CHECK(ops_.size() <= kAllSubsetsUpTo);
    for (uint64_t subset = 0; subset < (uint64_t{1} << ops_.size()); ++subset) {
      if (!try_plan(plan_of([&](size_t i) { return (subset >> i & 1) != 0; }))) return false;
    }
    return true;
  }

  bool try_samples() {
    // As many as kAllSubsetsUpTo operations have. Prefixes, single operations and all but one come first: bugs are
    // mostly about one write that is there without another.
    constexpr int kRandomSubsets = 1024;
    for (size_t k = 0; k <= ops_.size(); ++k) {
      if (!try_plan(plan_of([&](size_t i) { return i < k; }))) return false;
    }
    for (size_t k = 0; k < ops_.size(); ++k) {
      if (!try_plan(plan_of([&](size_t i) { return i == k; }))) return false;
      if (!try_plan(plan_of([&](size_t i) { return i != k; }))) return false;
    }
    for (int n = 0; n < kRandomSubsets; ++n) {
      // Data freely; names as far as their order allows.
      const uint64_t names_until = random_.below(ops_.size() + 1);
      const bool by_prefix = order_ == NameOrder::kOrdered;
      const CrashPlan plan =
          plan_of([&](size_t i) { return by_prefix && ops_[i].data == nullptr ? i < names_until : random_.coin(); });
      if (!try_plan(plan)) return false;
    }
    return true;
  }

  bool try_tears() {
    std::vector<CrashPlan> plans;
    for (size_t k = 0; k < ops_.size(); ++k) {
      const DataOp* op = ops_[k].data;
      if (op == nullptr || op->kind != DataOp::Kind::kWrite) continue;
      const CrashPlan before = plan_of([&](size_t i) { return i <= k; });
      // A torn write with what came before it, and with everything: later writes may have landed first.
      const CrashPlan all = plan_of([](size_t) { return true; });
      for (uint64_t tear = op->offset / kSectorSize; tear < sector_count(op->offset + op->length); ++tear) {
        for (CrashPlan plan : {before, all}) {
          plan.torn = op->order;
          plan.tear = tear;
          plans.push_back(plan);
          plan.cut_size = true;
          plans.push_back(plan);
          plan.cut_size = false;
          plan.tail_lands = true;
          plans.push_back(plan);
          plan.hole = true;
          plans.push_back(std::move(plan));
        }
      }
    }
    if (plans.size() > limit_) {  // then a fair sample, not only the first writes
      for (size_t i = plans.size() - 1; i > 0; --i) std::swap(plans[i], plans[random_.below(i + 1)]);
    }
    return std::all_of(plans.begin(), plans.end(), [&](const CrashPlan& plan) { return try_plan(plan); });
  }

  const SimDisk& disk_;
  const NameOrder order_;
  const size_t limit_;
  StateHash& hash_;
  SimRandom& random_;
  const CrashFound& found_;
  std::vector<OpenOp> ops_;
  std::set<uint64_t> seen_;
};

uint64_t mix(uint64_t hash, uint64_t number) {
  return format::checksum(ByteView(reinterpret_cast<const char*>(&number), sizeof number), hash);
}

}  // namespace

void StateHash::remember(const std::shared_ptr<SimContent>& content) { contents_[content] = of(*content); }

uint64_t StateHash::of(const SimContent& content) {
  uint64_t hash = mix(0, content.size());
  for (uint64_t index = 0; index < content.page_limit(); ++index) {
    const PagePtr page = content.page(index);
    // Pages are shared between states, so each is hashed once: a state then costs its directory, not its bytes.
    if (page == nullptr) continue;  // as if it were zeros
    const auto [found, is_new] = pages_.try_emplace(page, 0);
    if (is_new) found->second = *page == Page{} ? 0 : format::checksum(ByteView(page->data(), page->size()));
    if (found->second != 0) hash = mix(mix(hash, index), found->second);
  }
  return hash;
}

uint64_t StateHash::of(const SimDisk& disk) {
  uint64_t hash = 0;
  DCHECK(disk.dirs().contains(kRootNode));
  // By path: the numbers of nodes tell only in which order they were made.
  std::vector<std::pair<std::string, NodeId>> todo{{"", kRootNode}};
  while (!todo.empty()) {
    const auto [path, id] = std::move(todo.back());
    todo.pop_back();
    hash = format::checksum(path, hash);
    if (const auto file = disk.files().find(id); file != disk.files().end()) {
      const auto& content = file->second.current;
      const auto known = contents_.find(content);
      hash = mix(hash, known != contents_.end() ? known->second : of(*content));
      continue;
    }
    for (const auto& [name, node] : disk.dirs().at(id).current) {
      std::string child = path;
      child.append("/").append(name);
      todo.emplace_back(std::move(child), node);
    }
  }
  return hash;
}

bool enumerate_crashes(const SimDisk& disk, CrashSearch search, StateHash& hash, SimRandom& random,
                       const CrashFound& found) {
  return Enumerator(disk, search, hash, random, found).run();
}

}  // namespace cairn::io
