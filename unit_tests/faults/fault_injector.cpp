// SPDX-License-Identifier: Apache-2.0
// A library for LD_PRELOAD that makes calls to the file system fail, or kills the process in one.
//
//   ELASTIC_FAULTS="path=.tmp call=write error=EIO at=7 rank=1" LD_PRELOAD=... elastic.x ...
//
//   path=TEXT     only files whose path contains it (files in memory never count); default: all
//   call=NAME     write (write, pwrite, writev, pwritev), fsync (and fdatasync), rename, ftruncate
//                 (and truncate), fallocate, close, link, or any: all of these together
//   error=NAME    EIO, ENOSPC, EDQUOT, EROFS, EACCES; `short`: a write of half the bytes; `kill`:
//                 SIGKILL before the call
//   at=N          the N-th such call of the process, from 1; without it none fails
//   persistent=1  that call and all after it
//   fallocate=no  fallocate answers EOPNOTSUPP, as many parallel file systems do
//   rank=N        only the process of this rank of Open MPI or PMI
//   count=FILE    at its end the process appends a line "RANK CALLS": how many such calls it made
//
// The names are checked: what is unknown ends the process with exit code 99.
// With 64, headers give pwrite and pwrite64 one symbol; here they are two.
#undef _FILE_OFFSET_BITS
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

namespace {

enum class Outcome { pass, fail, half };

struct Faults {
  std::string path, call = "any", error = "EIO", count;
  long at = 0, rank = -1;
  bool persistent = false, can_fallocate = true;
};

[[noreturn]] void refuse(const std::string& what) {
  std::fprintf(stderr, "fault injector: %s\n", what.c_str());
  std::_Exit(99);
}

long own_rank() {
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "SLURM_PROCID"})
    if (const char* text = std::getenv(name)) return std::atol(text);
  return 0;
}

void read_word(const std::string& key, const std::string& value, Faults& faults) {
  if (key == "path")
    faults.path = value;
  else if (key == "call")
    faults.call = value;
  else if (key == "error")
    faults.error = value;
  else if (key == "count")
    faults.count = value;
  else if (key == "at")
    faults.at = std::atol(value.c_str());
  else if (key == "rank")
    faults.rank = std::atol(value.c_str());
  else if (key == "persistent")
    faults.persistent = value == "1";
  else if (key == "fallocate")
    faults.can_fallocate = value != "no";
  else
    refuse("unknown word " + key);
}

const std::map<std::string, int>& errors() {
  static const auto* const codes = new std::map<std::string, int>{
      {"EIO", EIO},       {"ENOSPC", ENOSPC}, {"EDQUOT", EDQUOT}, {"EROFS", EROFS},
      {"EACCES", EACCES}, {"short", 0},       {"kill", 0}};
  return *codes;
}

Faults read_faults() {
  Faults faults;
  const char* text = std::getenv("ELASTIC_FAULTS");
  std::string rest = text == nullptr ? "" : text;
  while (!rest.empty()) {
    const std::string word = rest.substr(0, rest.find(' '));
    rest.erase(0, word.size() + 1);
    if (word.empty()) continue;
    const auto equals = word.find('=');
    if (equals == std::string::npos) refuse("expected KEY=VALUE, got " + word);
    read_word(word.substr(0, equals), word.substr(equals + 1), faults);
  }
  if (!errors().contains(faults.error)) refuse("unknown error " + faults.error);
  return faults;
}

/// Never destroyed: files are closed until the very end of the process.
const Faults& faults() {
  static const Faults* const value = new Faults(read_faults());
  return *value;
}

std::atomic<long> g_calls = 0;

/// Writes the number of calls at the end of the process.
struct Counter {
  ~Counter() {
    if (faults().count.empty()) return;
    if (std::FILE* file = std::fopen(faults().count.c_str(), "a")) {
      std::fprintf(file, "%ld %ld\n", own_rank(), g_calls.load());
      std::fclose(file);
    }
  }
} g_counter;

std::string path_of(int file) {
  char name[64], path[4096];
  std::snprintf(name, sizeof name, "/proc/self/fd/%d", file);
  const ssize_t size = ::readlink(name, path, sizeof path);
  return size <= 0 ? "" : std::string(path, static_cast<std::size_t>(size));
}

/// What becomes of this call.
Outcome judge(const char* call, const std::string& path) {
  const Faults& f = faults();
  if (path.empty() || path[0] != '/' || path.starts_with("/memfd:") || path.starts_with("/dev/") ||
      path.find(f.path) == std::string::npos)
    return Outcome::pass;
  if (f.call != "any" && f.call != call) return Outcome::pass;
  const long number = ++g_calls;
  const bool hit = f.at > 0 && (f.persistent ? number >= f.at : number == f.at);
  if (!hit || (f.rank >= 0 && f.rank != own_rank())) return Outcome::pass;
  if (f.error == "kill") ::raise(SIGKILL);
  if (f.error == "short") return std::strcmp(call, "write") == 0 ? Outcome::half : Outcome::pass;
  errno = errors().at(f.error);
  return Outcome::fail;
}

std::string absolute(const char* path) {
  if (path[0] == '/') return path;
  char folder[4096];
  return ::getcwd(folder, sizeof folder) == nullptr ? "" : std::string(folder) + "/" + path;
}

template <class F>
F* next(const char* name) {
  void* symbol = ::dlsym(RTLD_NEXT, name);
  if (symbol == nullptr) refuse(std::string("no function ") + name);
  return reinterpret_cast<F*>(symbol);
}

}  // namespace

#define ELASTIC_NEXT(name) static auto* const real = next<decltype(name)>(#name)

// Hidden declarations of the C library say noexcept; definitions must agree with the headers.
extern "C" {

ssize_t write(int file, const void* data, size_t bytes) {
  ELASTIC_NEXT(write);
  const Outcome outcome = judge("write", path_of(file));
  if (outcome == Outcome::fail) return -1;
  return real(file, data, outcome == Outcome::half ? (bytes + 1) / 2 : bytes);
}

ssize_t pwrite(int file, const void* data, size_t bytes, off_t offset) {
  ELASTIC_NEXT(pwrite);
  const Outcome outcome = judge("write", path_of(file));
  if (outcome == Outcome::fail) return -1;
  return real(file, data, outcome == Outcome::half ? (bytes + 1) / 2 : bytes, offset);
}
ssize_t pwrite64(int file, const void* data, size_t bytes, off64_t offset) {
  return pwrite(file, data, bytes, offset);
}

ssize_t writev(int file, const struct iovec* parts, int count) {
  ELASTIC_NEXT(writev);
  const Outcome outcome = judge("write", path_of(file));
  if (outcome == Outcome::fail) return -1;
  return real(file, parts, outcome == Outcome::half ? std::min(count, 1) : count);
}

ssize_t pwritev(int file, const struct iovec* parts, int count, off_t offset) {
  ELASTIC_NEXT(pwritev);
  const Outcome outcome = judge("write", path_of(file));
  if (outcome == Outcome::fail) return -1;
  return real(file, parts, outcome == Outcome::half ? std::min(count, 1) : count, offset);
}
ssize_t pwritev64(int file, const struct iovec* parts, int count, off64_t offset) {
  return pwritev(file, parts, count, offset);
}

int fsync(int file) {
  ELASTIC_NEXT(fsync);
  return judge("fsync", path_of(file)) == Outcome::fail ? -1 : real(file);
}
int fdatasync(int file) {
  ELASTIC_NEXT(fdatasync);
  return judge("fsync", path_of(file)) == Outcome::fail ? -1 : real(file);
}

int rename(const char* from, const char* to) noexcept {
  ELASTIC_NEXT(rename);
  return judge("rename", absolute(from)) == Outcome::fail ? -1 : real(from, to);
}

int link(const char* from, const char* to) noexcept {
  ELASTIC_NEXT(link);
  return judge("link", absolute(to)) == Outcome::fail ? -1 : real(from, to);
}

int ftruncate(int file, off_t size) noexcept {
  ELASTIC_NEXT(ftruncate);
  return judge("ftruncate", path_of(file)) == Outcome::fail ? -1 : real(file, size);
}
int ftruncate64(int file, off64_t size) noexcept { return ftruncate(file, size); }

int truncate(const char* path, off_t size) noexcept {
  ELASTIC_NEXT(truncate);
  return judge("ftruncate", absolute(path)) == Outcome::fail ? -1 : real(path, size);
}
int truncate64(const char* path, off64_t size) noexcept { return truncate(path, size); }

int fallocate(int file, int mode, off_t offset, off_t size) {
  ELASTIC_NEXT(fallocate);
  if (!faults().can_fallocate) {
    errno = EOPNOTSUPP;
    return -1;
  }
  return judge("fallocate", path_of(file)) == Outcome::fail ? -1 : real(file, mode, offset, size);
}
int fallocate64(int file, int mode, off64_t offset, off64_t size) {
  return fallocate(file, mode, offset, size);
}

// The file is closed all the same, as Linux does.
int close(int file) {
  ELASTIC_NEXT(close);
  const Outcome outcome = judge("close", path_of(file));
  const int status = real(file);
  if (outcome != Outcome::fail) return status;
  errno = errors().at(faults().error);
  return -1;
}
}
