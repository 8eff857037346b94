// SPDX-License-Identifier: Apache-2.0
#include "run/folder/parent_copy.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "base/log.hpp"
#include "comm/all_ranks_agree.hpp"
#include "io/durable_file.hpp"
#include "io/sealed_file.hpp"

namespace elastic {
namespace fs = std::filesystem;
namespace {

/// This rank's share of the bytes; everything of a file without a seal.
void verify_contents(const fs::path& path, const std::string& hash, Shard share) {
  if (!fs::exists(path)) throw InputError(fmt::format("{}: is missing", path.string()));
  const std::string found = seal_hash(path);
  if (found != hash)
    throw InputError(
        fmt::format("{}: is not the file that this run wrote, but another one or a "
                    "damaged one: its hash is {}, expected {}",
                    path.string(), found, hash));
  if (is_sealed(path)) verify_segments(path, read_seal(path), share);
}

/// Lets two files share their blocks until one is written to; false if that cannot be done here.
bool share_blocks(const fs::path& from, const fs::path& to) {
  const int source = ::open(from.c_str(), O_RDONLY | O_CLOEXEC);
  const int target = ::open(to.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  const bool shared = source >= 0 && target >= 0 && ::ioctl(target, FICLONE, source) == 0;
  if (source >= 0) ::close(source);
  if (target >= 0) ::close(target);
  return shared;
}

void copy_bytes(const fs::path& from, const fs::path& to) {
  const DiskFile source = DiskFile::open(from);
  source.expect_sequential_reads();
  DiskFile target = DiskFile::create(to);
  const std::uint64_t size = source.size();
  target.reserve(size);
  std::vector<char> part(std::min(size, bytes_per_segment));
  for (std::uint64_t done = 0; done < size; done += part.size()) {
    part.resize(std::min<std::uint64_t>(part.size(), size - done));
    source.read_at(done, part.data(), part.size());
    target.write_at(done, part.data(), part.size());
  }
  target.close();
}

/// A copy under the name `to`, after its bytes were read back from disk and found to be right.
void copy_file_durably(const fs::path& from, const fs::path& to, const std::string& hash) {
  const fs::path made = temporary_name(to);
  try {
    if (!share_blocks(from, made)) copy_bytes(from, made);
    DiskFile written = DiskFile::modify(made);
    written.sync();
    written.drop_cache();
    written.close();
    verify_contents(made, hash, {});
    rename_durably(made, to);
  } catch (...) {
    std::error_code ignored;
    fs::remove(made, ignored);
    throw;
  }
}

}  // namespace

fs::path parent_copy(const RunFolder& folder, const std::string& hash) {
  return folder.checkpoints() / fmt::format("parent_{}.copy", hash);
}

std::string keep_parent_copy(const RunFolder& folder) {
  const std::string hash = seal_hash(folder.parent());
  make_folder(folder.checkpoints());
  copy_file_durably(folder.parent(), parent_copy(folder, hash), hash);
  return hash;
}

void require_parent(const Communicator& comm, const RunFolder& folder, const std::string& hash) {
  const auto problem_of = [&](const fs::path& path) -> std::string {
    try {
      all_ranks_agree(comm, [&] { verify_contents(path, hash, {comm.rank(), comm.size()}); });
      return "";
    } catch (const InputError& error) {
      return error.what();
    }
  };
  const std::string problem = problem_of(folder.parent());
  if (problem.empty()) return;
  const fs::path copy = parent_copy(folder, hash);
  const std::string problem_of_copy = problem_of(copy);
  if (!problem_of_copy.empty())
    throw InputError(
        fmt::format("{}; nor can its copy be used: {}. Put either file back, or go back to a "
                    "checkpoint from before the ranking (--from), which makes it anew",
                    problem, problem_of_copy));
  all_ranks_agree(comm, [&] {
    if (!comm.is_root()) return;
    log::warn("{}; it is restored from {}", problem, copy.string());
    if (fs::exists(folder.parent())) set_aside(folder, folder.parent());
    copy_file_durably(copy, folder.parent(), hash);
  });
}

}  // namespace elastic
