// What fsck says of a store that is not open.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "cairn/fsck.h"
#include "io/sim_env.h"
#include "store/check_store.h"

namespace cairn {

// Fails the test with each finding of a check of all structures and all values.
inline void expect_clean(io::SimEnv& env, const std::string& path) {
  auto directory = env.open_dir(path);
  ASSERT_TRUE(directory.has_value());
  FsckOptions options;
  options.scrub = true;
  const auto checked = store::check_store(env, **directory, path, options);
  ASSERT_TRUE(checked.has_value()) << checked.error().message;
  for (const FsckFinding& f : checked->report.findings)
    ADD_FAILURE() << "pass " << f.pass << " " << f.file << " " << f.structure << " at " << f.offset << ": "
                  << f.message;
}

}  // namespace cairn
