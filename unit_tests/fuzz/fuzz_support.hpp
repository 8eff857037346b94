// SPDX-License-Identifier: Apache-2.0
// Shared by the fuzzers: bytes as a file, and the one way in which bad input may end.
#pragma once
#include <fcntl.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "base/error.hpp"

namespace elastic::fuzz {

/// A folder of this process, in memory where the system has such a place.
inline const std::filesystem::path& scratch() {
  static const std::filesystem::path folder = [] {
    const std::filesystem::path memory = "/dev/shm";
    std::error_code none;
    auto where = std::filesystem::is_directory(memory, none)
                     ? memory
                     : std::filesystem::temp_directory_path();
    where /= "elastic_fuzz_" + std::to_string(::getpid());
    std::filesystem::create_directories(where);
    std::atexit([] {
      std::error_code ignored;
      std::filesystem::remove_all(scratch(), ignored);
    });
    return where;
  }();
  return folder;
}

/// Replaces the file of this name in scratch() by these bytes.
inline std::filesystem::path file_of(const std::string& name, const void* data, std::size_t size) {
  const auto path = scratch() / name;
  const int file = ::open(path.c_str(), O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
  if (file < 0 || ::write(file, data, size) != static_cast<ssize_t>(size)) std::abort();
  ::close(file);
  return path;
}

/// Runs `read`, which takes the input or refuses it with an InputError. Any other exception ends
/// the fuzzer, as a crash does.
template <class Read>
void accept_or_refuse(const Read& read) {
  try {
    read();
  } catch (const InputError&) {
  }
}

}  // namespace elastic::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);
