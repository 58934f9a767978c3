// fsck, pass 3: the index against the segments, liveness bits, counters.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "cairn/result.h"
#include "format/superblock.h"
#include "io/env.h"
#include "store/recover.h"
#include "store/segment_set.h"

namespace cairn::store {

// Walks all footers and all runs side by side: for each key the newest record that is not dead must be what the index gives, and
// bits must agree with what newer records killed. `finding` gets one line each. Errors: kCorrupt or kIo if levels
// cannot be read. Memory: the versions of one key, and the liveness bits of the store. Time: one pass over all footers
// and runs.
Result<void> check_index(io::Directory& directory, const std::string& path, const format::Superblock& superblock,
                         const std::shared_ptr<const SegmentFiles>& files,
                         const std::function<void(const std::string&)>& finding);

// The keys of which the newest version is among the sequence numbers of `lost`, a segment's, and nowhere else: small values are
// in the index too, and are left out. In order of keys; the store's own are left out. Errors: kCorrupt or kIo if the index
// cannot be read.
Result<void> find_lost_keys(const Version& version, SeqRange lost, const std::function<void(ByteView key)>& found);

// The store as the next mount would see it. Writes nothing: what recovery would seal is sealed in memory. Errors as
// recover().
Result<Recovered> recover_for_check(io::Directory& directory, const std::string& path,
                                    const format::Superblock& superblock,
                                    const std::shared_ptr<const SegmentFiles>& files);

}  // namespace cairn::store
