// SPDX-License-Identifier: Apache-2.0
// Wishes by calls and by files: each is heard, a wish to save once, and files are gone then.
#include "base/stop_request.hpp"

#include <gtest/gtest.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace elastic::test {
namespace {

class StopRequestTest : public testing::Test {
 protected:
  void SetUp() override {
    stop_request::forget();
    std::filesystem::create_directories(folder);
  }
  void TearDown() override {
    stop_request::watch_folder({});
    stop_request::forget();
    std::filesystem::remove_all(folder);
  }
  void touch(const char* name) const { std::ofstream{folder / name}; }
  const std::filesystem::path folder =
      std::filesystem::path(testing::TempDir()) / "elastic_stop_request";
};

TEST_F(StopRequestTest, AStopStaysAndASaveIsTakenOnce) {
  EXPECT_FALSE(stop_request::stop_asked());
  EXPECT_FALSE(stop_request::take_save());
  EXPECT_NO_THROW(stop_request::go_on_alone());
  stop_request::ask_to_save();
  stop_request::ask_to_save();
  EXPECT_FALSE(stop_request::stop_asked());
  EXPECT_TRUE(stop_request::take_save());
  EXPECT_FALSE(stop_request::take_save());
  stop_request::ask_to_stop();
  EXPECT_TRUE(stop_request::stop_asked());
  EXPECT_TRUE(stop_request::stop_asked());
  EXPECT_THROW(stop_request::go_on_alone(), Stopped);
  stop_request::forget();
  EXPECT_FALSE(stop_request::stop_asked());
}

TEST_F(StopRequestTest, FilesAskAndAreRemoved) {
  touch("save");
  stop_request::watch_folder(folder);
  EXPECT_FALSE(stop_request::stop_asked());
  EXPECT_TRUE(stop_request::take_save());
  EXPECT_FALSE(std::filesystem::exists(folder / "save"));
  EXPECT_FALSE(stop_request::take_save());
  touch("stop");
  EXPECT_FALSE(stop_request::stop_asked());  // not looked for twice in a second
  EXPECT_TRUE(std::filesystem::exists(folder / "stop"));
  std::this_thread::sleep_for(std::chrono::milliseconds(1100));
  EXPECT_TRUE(stop_request::stop_asked());
  EXPECT_FALSE(std::filesystem::exists(folder / "stop"));
}

TEST_F(StopRequestTest, AFolderThatIsGoneAsksForNothing) {
  std::filesystem::remove_all(folder);
  stop_request::watch_folder(folder);
  EXPECT_FALSE(stop_request::stop_asked());
}

}  // namespace
}  // namespace elastic::test
