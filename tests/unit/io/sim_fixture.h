// A simulated world with one durable directory "store" for the tests of SimEnv.
#pragma once

#include <algorithm>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "io/sim_env.h"

namespace cairn::io {

class SimTest : public testing::Test {
 protected:
  SimTest() {
    EXPECT_TRUE(env_.make_dir("store").has_value());
    env_.sync_all();
    dir_ = env_.open_dir("store").value();
  }

  static void ok(const Result<void>& result) { EXPECT_TRUE(result.has_value()) << result.error().message; }
  std::unique_ptr<File> create(const std::string& name, ByteView content = {}) {
    auto file = dir_->open(name, {.mode = OpenMode::kCreate});
    EXPECT_TRUE(file.has_value()) << file.error().message;
    ok((*file)->pwrite(0, content));
    return std::move(*file);
  }
  // With content and name durable.
  std::unique_ptr<File> create_durable(const std::string& name, ByteView content = {}) {
    auto file = create(name, content);
    ok(file->sync());
    ok(dir_->sync());
    return file;
  }
  static Bytes read(const File& file) {
    Bytes bytes(file.stat().value().size, '?');
    const auto n = file.pread(0, bytes);
    EXPECT_TRUE(n.has_value()) << n.error().message;
    return bytes;
  }

  // The names in the store and what is in them, for example "a=1 b=2".
  static std::string picture(const SimEnv& env) {
    std::string text;
    for (const std::string& name : env.list("store")) {
      text += (text.empty() ? "" : " ") + name + "=" + env.content("store/" + name);
    }
    return text;
  }
  static std::set<std::string> pictures(const SimEnv::States& states) {
    std::set<std::string> all;
    for (const SimEnv& env : states.envs) all.insert(picture(env));
    return all;
  }

  SimEnv env_{42};
  std::unique_ptr<Directory> dir_;
};

}  // namespace cairn::io
