// Seeded mutations of valid bytes, for fuzz targets that run as tests.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "cairn/bytes.h"

namespace cairn::fuzz {

using Random = std::mt19937_64;

// Changes `bytes` in one to four places: bits, bytes, numbers, and cut, copied, moved, zeroed or grown ranges.
void mutate(Bytes& bytes, Random& random);

// Runs `target` on every corpus entry as it is and on mutations of it, until a test failure, which names seed and run.
void run_mutations(const std::vector<Bytes>& corpus, const std::function<void(ByteView)>& target);

}  // namespace cairn::fuzz
