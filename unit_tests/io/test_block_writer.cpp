// SPDX-License-Identifier: Apache-2.0
// A disk that fails: every single call of a save, of a text file, of a history fails, is short,
// interrupted or writes something else. The calls of the C library are replaced in this program.
#include "io/block_writer.hpp"

#include <dlfcn.h>
#include <fcntl.h>

#include <cerrno>
#include <cstdio>
#include <functional>

#include "io/content_hash.hpp"
#include "io/durable_file.hpp"
#include "io/history.hpp"
#include "unit_tests/io/small_checkpoint.hpp"

namespace elastic::test {
namespace {

enum class Call { pwrite, write, fsync, ftruncate, fallocate, rename, close, none };
enum class Fault { error, half, garbage };

/// What happens to the calls of one kind.
struct Plan {
  Call call = Call::none;
  int first = 0;         ///< the first call that it hits
  bool for_ever = true;  ///< or that one alone
  Fault fault = Fault::error;
  int error = EIO;
  bool with_fallocate = true;
  int seen = 0;
  bool hit() {
    ++seen;
    return for_ever ? seen >= first : seen == first;
  }
} plan;

bool fails(Call call) {
  if (plan.call != call || !plan.hit()) return false;
  errno = plan.error;
  return true;
}
template <class F>
F* original(const char* name) {
  return reinterpret_cast<F*>(dlsym(RTLD_NEXT, name));
}

template <class F>
ssize_t faulty_write(Call call, const void* data, size_t bytes, const F& write) {
  if (!fails(call)) return write(data, bytes);
  if (plan.fault == Fault::error) return -1;
  if (plan.fault == Fault::half) return write(data, (bytes + 1) / 2);
  std::string other(static_cast<const char*>(data), bytes);
  other[bytes / 2] ^= 1;
  return write(other.data(), bytes);
}

}  // namespace
}  // namespace elastic::test

extern "C" {
using namespace elastic::test;

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  static auto* const real = original<ssize_t(int, const void*, size_t, off_t)>("pwrite");
  return faulty_write(Call::pwrite, data, bytes,
                      [&](const void* d, size_t n) { return real(file, d, n, offset); });
}
ssize_t write(int file, const void* data, size_t bytes) {
  static auto* const real = original<ssize_t(int, const void*, size_t)>("write");
  return faulty_write(Call::write, data, bytes,
                      [&](const void* d, size_t n) { return real(file, d, n); });
}
int fsync(int file) {
  static auto* const real = original<int(int)>("fsync");
  return fails(Call::fsync) ? -1 : real(file);
}
int ftruncate(int file, off_t bytes) noexcept {
  static auto* const real = original<int(int, off_t)>("ftruncate");
  return fails(Call::ftruncate) ? -1 : real(file, bytes);
}
int fallocate(int file, int mode, off_t offset, off_t bytes) {
  static auto* const real = original<int(int, int, off_t, off_t)>("fallocate");
  if (!plan.with_fallocate) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return fails(Call::fallocate) ? -1 : real(file, mode, offset, bytes);
}
int rename(const char* from, const char* to) noexcept {
  static auto* const real = original<int(const char*, const char*)>("rename");
  return fails(Call::rename) ? -1 : real(from, to);
}
int close(int file) {
  static auto* const real = original<int(int)>("close");
  const int status = real(file);
  return fails(Call::close) ? -1 : status;
}
}

namespace elastic::test {
namespace {

class FailingDiskTest : public InFolder {
 protected:
  void TearDown() override {
    plan = {};
    InFolder::TearDown();
  }
  /// The message of a RunError of `work` under a plan; nothing if it succeeds.
  static std::optional<std::string> failure(const Plan& faults, const std::function<void()>& work) {
    plan = faults;
    std::optional<std::string> message;
    try {
      work();
    } catch (const RunError& error) {
      message = error.what();
    }
    hits = plan.seen >= plan.first;
    plan = {};
    return message;
  }
  static inline bool hits = false;  ///< whether the last plan came to pass
};

// Old file or new file, never another; an error whenever a call has failed; nothing left behind.
TEST_F(FailingDiskTest, ASaveIsWholeOrTold) {
  const auto path = folder / "a.h5";
  write_small(path, 2);
  const std::string fresh = bytes_of(path);
  write_small(path, 1);
  const std::string old = bytes_of(path);
  int failures = 0;
  for (const Call call :
       {Call::pwrite, Call::fsync, Call::ftruncate, Call::fallocate, Call::rename, Call::close})
    for (const int error : {EIO, ENOSPC})
      for (const bool for_ever : {true, false})
        for (const bool with_fallocate : {true, false})
          for (int first = 1;; ++first) {
            const auto message = failure({.call = call,
                                          .first = first,
                                          .for_ever = for_ever,
                                          .error = error,
                                          .with_fallocate = with_fallocate},
                                         [&] { write_small(path, 2); });
            EXPECT_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
            if (!hits) {
              EXPECT_FALSE(message) << *message;
              EXPECT_EQ(bytes_of(path), fresh);
              write_small(path, 1);
              break;
            }
            ++failures;
            ASSERT_TRUE(message) << static_cast<int>(call) << " " << first;
            contains(*message, folder.string());
            contains(*message, std::strerror(error));
            // Once it has its name, the new file is complete; the folder alone was not forced to
            // disk.
            const std::string now = bytes_of(path);
            EXPECT_TRUE(now == old || now == fresh);
            write_small(path, 1);
          }
  EXPECT_GT(failures, 100);
}

TEST_F(FailingDiskTest, ShortAndInterruptedCallsAreGoneOnWith) {
  const auto path = folder / "a.h5";
  write_small(path);
  const std::string whole = bytes_of(path);
  for (const Call call : {Call::pwrite, Call::fsync, Call::ftruncate, Call::fallocate})
    for (int first = 1; first < 8; ++first)
      EXPECT_FALSE(failure({.call = call, .first = first, .for_ever = false, .error = EINTR},
                           [&] { write_small(path); }));
  EXPECT_FALSE(failure({.call = Call::pwrite, .first = 1, .fault = Fault::half},
                       [&] { write_small(path); }));
  EXPECT_TRUE(hits);
  EXPECT_EQ(bytes_of(path), whole);
}

// A disk that says that all is well and stores something else.
TEST_F(FailingDiskTest, WhatIsReadBackIsCompared) {
  const auto path = folder / "a.h5";
  write_small(path);
  const std::string old = bytes_of(path);
  int found = 0;
  for (int first = 1;; ++first) {
    const auto message =
        failure({.call = Call::pwrite, .first = first, .for_ever = false, .fault = Fault::garbage},
                [&] { write_small(path, 2); });
    if (!hits) break;
    ASSERT_TRUE(message) << first;
    contains(*message, "a.h5.tmp: bytes ");
    contains(*message, "read back from disk are not those that were written");
    EXPECT_EQ(bytes_of(path), old);
    EXPECT_FALSE(std::filesystem::exists(folder / "a.h5.tmp"));
    ++found;
  }
  EXPECT_GE(found, 8);
}

TEST_F(FailingDiskTest, AFailedTextFileLeavesTheOldOne) {
  const auto path = folder / "resolved.in";
  for (const Call call : {Call::pwrite, Call::fsync, Call::rename, Call::close})
    for (int first = 1;; ++first) {
      write_file_durably(path, "old");
      const auto message =
          failure({.call = call, .first = first}, [&] { write_file_durably(path, "new text"); });
      if (!hits) break;
      ASSERT_TRUE(message);
      contains(*message, folder.string());
      const std::string now = read_file(path);
      EXPECT_TRUE(now == "old" || now == "new text") << now;
      EXPECT_FALSE(std::filesystem::exists(folder / "resolved.in.tmp"));
    }
}

TEST_F(FailingDiskTest, AFailedRowIsAnError) {
  const auto path = folder / "history.csv";
  HistoryWriter history(path, {"step"});
  history.append({index_t(1)});
  for (const int error : {EIO, ENOSPC}) {
    const auto message = failure({.call = Call::write, .first = 1, .error = error},
                                 [&] { history.append({index_t(2)}); });
    ASSERT_TRUE(message);
    contains(*message, "history.csv: cannot write: ");
  }
  EXPECT_FALSE(failure({.call = Call::write, .first = 1, .fault = Fault::half},
                       [&] { history.append({index_t(2)}); }));
  EXPECT_EQ(bytes_of(path), "step\n1\n2\n");
  EXPECT_TRUE(failure({.call = Call::fsync, .first = 1}, [&] { history.sync(); }));
}

class BlockWriterTest : public InFolder {};

TEST_F(BlockWriterTest, SeveralWritersFillOneFile) {
  const auto path = folder / "x.tmp";
  BlockWriter first(path, BlockWriter::Mode::create), second(path, BlockWriter::Mode::join);
  EXPECT_EQ(second.write(4, "efgh", 4), content_hash("efgh"));
  EXPECT_EQ(first.write(0, "abcd", 4), content_hash("abcd"));
  second.sync_and_verify();
  first.sync_and_verify();
  EXPECT_EQ(bytes_of(path), "abcdefgh");
  // Someone else has overwritten a block.
  first.write(0, "abcd", 4);
  write_bytes(path, "abXdefgh");
  contains(message_of<RunError>([&] { first.sync_and_verify(); }), "x.tmp: bytes 0 to 4 read back");
  contains(message_of<RunError>([&] { BlockWriter(folder / "none", BlockWriter::Mode::join); }),
           "none: cannot open: No such file or directory");
}

}  // namespace
}  // namespace elastic::test
