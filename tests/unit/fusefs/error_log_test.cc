#include "fusefs/error_log.h"

#include <sstream>

#include <gtest/gtest.h>
#include <spdlog/logger.h>
#include <spdlog/sinks/ostream_sink.h>

namespace cairn::fusefs {
namespace {

class ErrorLogTest : public testing::Test {
 protected:
  size_t lines() const {
    const std::string text = out_.str();
    return static_cast<size_t>(std::count(text.begin(), text.end(), '\n'));
  }
  std::ostringstream out_;
  ErrorLog log_{std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(out_))};
};

TEST_F(ErrorLogTest, OrdinaryAnswersAreNotLogged) {
  for (ErrorCode code : {ErrorCode::kNotFound, ErrorCode::kExists, ErrorCode::kNoSpace, ErrorCode::kStale}) {
    log_.note_at(Error(code), 0);
  }
  EXPECT_EQ(lines(), 0u);
}

TEST_F(ErrorLogTest, AFloodIsCutShortAndCounted) {
  for (uint64_t i = 0; i < ErrorLog::kPerWindow + 30; ++i) log_.note_at(Error(ErrorCode::kCorrupt, "segment 3"), 100);
  EXPECT_EQ(lines(), ErrorLog::kPerWindow);
  log_.note_at(Error(ErrorCode::kIo, "later"), 100 + ErrorLog::kWindowSeconds);
  EXPECT_EQ(lines(), ErrorLog::kPerWindow + 2);
  EXPECT_NE(out_.str().find("count=30"), std::string::npos) << out_.str();
  EXPECT_NE(out_.str().find("later"), std::string::npos);
}

}  // namespace
}  // namespace cairn::fusefs
