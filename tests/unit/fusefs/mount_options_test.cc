#include "fusefs/mount_options.h"

#include <cstdio>
#include <fstream>

#include <gtest/gtest.h>

namespace cairn::fusefs {
namespace {

constexpr bool kRoot = true;
constexpr bool kUser = false;

TEST(MountOptions, WhatRootMountsIsForEverybodyUnlessSheSaysOtherwise) {
  EXPECT_TRUE(parse_mount_options("", kRoot)->allow_other);
  EXPECT_FALSE(parse_mount_options("noallow_other", kRoot)->allow_other);
  EXPECT_FALSE(parse_mount_options("", kUser)->allow_other);
  EXPECT_TRUE(parse_mount_options("allow_other", kUser)->allow_other);
}

TEST(MountOptions, SetuidProgramsAndDevicesNeedAskingFor) {
  EXPECT_FALSE(parse_mount_options("", kRoot)->suid);
  EXPECT_FALSE(parse_mount_options("", kRoot)->dev);
  const auto asked = parse_mount_options("suid,dev", kRoot);
  EXPECT_TRUE(asked->suid);
  EXPECT_TRUE(asked->dev);
  EXPECT_FALSE(parse_mount_options("suid,nosuid", kRoot)->suid) << "the last word counts";
}

TEST(MountOptions, ValuesAreParsed) {
  const auto options = parse_mount_options("ro,noatime,noexec,commit_interval=250,cache_size=64M,max_threads=3", kUser);
  ASSERT_TRUE(options);
  EXPECT_TRUE(options->read_only);
  EXPECT_FALSE(options->relatime);
  EXPECT_FALSE(options->exec);
  EXPECT_EQ(options->commit_interval_ms, 250u);
  EXPECT_EQ(options->cache_bytes, 64u << 20);
  EXPECT_EQ(options->max_threads, 3u);
}

TEST(MountOptions, IoUringIsUsedWhereLibraryAndKernelCanUnlessItIsSwitchedOff) {
  const MountOptions automatic;
  EXPECT_TRUE(choose_transport(automatic, "Y", true)->io_uring);
  EXPECT_TRUE(choose_transport(automatic, "Y", true)->hint.empty());
  EXPECT_FALSE(choose_transport(automatic, "Y", false)->io_uring);
  EXPECT_FALSE(choose_transport(automatic, std::nullopt, true)->io_uring);
  EXPECT_FALSE(choose_transport(*parse_mount_options("io_uring=off", kUser), "Y", true)->io_uring);
}

TEST(MountOptions, OnlyAKernelThatCouldGetsTheHintToSwitchIoUringOn) {
  const auto transport = choose_transport(MountOptions(), "N", true);
  EXPECT_FALSE(transport->io_uring);
  EXPECT_NE(transport->hint.find("echo Y >/sys/module/fuse/parameters/enable_uring"), std::string::npos);
  EXPECT_TRUE(choose_transport(MountOptions(), "N", false)->hint.empty()) << "the library cannot";
  EXPECT_TRUE(choose_transport(MountOptions(), std::nullopt, true)->hint.empty()) << "the kernel cannot";
  EXPECT_TRUE(choose_transport(*parse_mount_options("io_uring=off", kUser), "N", true)->hint.empty());
}

TEST(MountOptions, IoUringThatWasAskedForAndCannotBeHadIsAnErrorWithTheRemedy) {
  const MountOptions on = *parse_mount_options("io_uring=on", kUser);
  EXPECT_TRUE(choose_transport(on, "Y", true)->io_uring);
  const auto switched_off = choose_transport(on, "N", true);
  ASSERT_FALSE(switched_off);
  EXPECT_NE(switched_off.error().message.find("echo Y >"), std::string::npos);
  const auto old_kernel = choose_transport(on, std::nullopt, true);
  ASSERT_FALSE(old_kernel);
  EXPECT_NE(old_kernel.error().message.find("Linux 6.14"), std::string::npos);
  const auto old_library = choose_transport(on, "Y", false);
  ASSERT_FALSE(old_library);
  EXPECT_NE(old_library.error().message.find("-Dlibfuse=wrap"), std::string::npos);
}

TEST(MountOptions, WhatMountAndFstabSayToOthersIsSkipped) {
  const auto options =
      parse_mount_options("rw,defaults,noauto,user,_netdev,nofail,x-systemd.automount,comment=mine,,async", kUser);
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_FALSE(options->read_only);
}

TEST(MountOptions, AnUnknownOptionIsRefusedWithTheValidOnes) {
  const auto options = parse_mount_options("ro,write_back", kUser);
  ASSERT_FALSE(options);
  EXPECT_EQ(options.error().code, ErrorCode::kInvalid);
  EXPECT_NE(options.error().message.find("'write_back'"), std::string::npos);
  EXPECT_NE(options.error().message.find("commit_interval=MS"), std::string::npos);
}

TEST(MountOptions, BadValuesAreRefused) {
  for (const char* text :
       {"commit_interval=", "commit_interval", "commit_interval=-1", "commit_interval=1s", "commit_interval=3600001",
        "io_uring", "io_uring=yes", "max_threads=0", "max_threads=65", "cache_size=x", "cache_size=1K", "ro=1"}) {
    EXPECT_FALSE(parse_mount_options(text, kUser)) << text;
  }
}

TEST(MountOptions, TheKernelAlwaysChecksPermissions) {
  EXPECT_NE(libfuse_arguments(MountOptions{}, "/s").back().find("default_permissions"), std::string::npos);
}

TEST(MountOptions, ACommaInTheStoresPathDoesNotBecomeAnOption) {
  const auto arguments = libfuse_arguments(MountOptions{}, "/a,suid\\b");
  EXPECT_NE(arguments.back().find("fsname=/a\\,suid\\\\b"), std::string::npos) << arguments.back();
}

class AllowOther : public testing::Test {
 protected:
  void write(const std::string& text) { std::ofstream(path_) << text; }
  Result<void> check(bool is_root) {
    MountOptions options;
    options.allow_other = true;
    return check_allow_other(options, is_root, path_);
  }
  void TearDown() override { std::remove(path_.c_str()); }
  const std::string path_ = testing::TempDir() + "cairn_fuse.conf";
};

TEST_F(AllowOther, NeedsTheLineInFuseConfUnlessRoot) {
  write("# user_allow_other\nuser_allow_otherwise\n");
  EXPECT_TRUE(check(kRoot));
  const auto refused = check(kUser);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find(path_), std::string::npos);
  EXPECT_NE(refused.error().message.find("user_allow_other"), std::string::npos);
  write("mount_max = 5\n  user_allow_other \t\n");
  EXPECT_TRUE(check(kUser));
}

TEST_F(AllowOther, IsRefusedWithoutFuseConf) { EXPECT_FALSE(check(kUser)); }

}  // namespace
}  // namespace cairn::fusefs
