// SPDX-FileCopyrightText: The heed authors
// SPDX-License-Identifier: Apache-2.0

// Writing through a temporary file.
#include "tools/heed/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "lib/io/input_error.h"

namespace heed::tool {
namespace {

using io::InputError;

[[noreturn]] void Fail(const std::string& path, const char* why) {
  throw InputError("cannot write '" + path + "': " + why);
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

bool WriteAll(int file, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

void WriteDirectly(const std::string& path, std::string_view text) {
  const int file = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (file < 0) Fail(path, std::strerror(errno));
  const bool written = WriteAll(file, text);
  const int why = errno;
  close(file);
  if (!written) Fail(path, std::strerror(why));
}

// Creates an empty file beside `path` and returns it open for writing.
int CreateTemporary(const std::string& path, std::string* temporary) {
  *temporary = path + ".XXXXXX";
  const int file = mkstemp(temporary->data());
  if (file < 0) Fail(path, std::strerror(errno));
  return file;
}

namespace fs = std::filesystem;

// The file that a path leads to, which need not exist.
fs::path Resolved(fs::path path) {
  std::error_code error;
  for (int links = 0; links < 40 && fs::is_symlink(path, error); ++links) {
    // An absolute target replaces the folder.
    path = path.parent_path() / fs::read_symlink(path, error);
  }
  const fs::path absolute = fs::absolute(path, error);
  const fs::path canonical = fs::weakly_canonical(absolute, error);
  return error ? absolute : canonical;
}

bool IsSpecial(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode);
}

}  // namespace

void CheckWritable(const std::string& name) {
  if (name == "-") return;
  struct stat info;
  if (name.empty()) Fail(name, "the name is empty");
  const std::string path = Resolved(name).string();
  if (stat(name.c_str(), &info) == 0) {
    if (S_ISDIR(info.st_mode)) Fail(name, "it is a directory");
    if (access(name.c_str(), W_OK) != 0) Fail(name, std::strerror(errno));
    if (!S_ISREG(info.st_mode)) return;
  }
  const std::string folder = FolderOf(path);
  if (stat(folder.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    Fail(name, "its folder does not exist");
  }
  // Only trying says whether a folder takes files: root may write anywhere, and
  // yet not where the file system is read-only.
  std::string temporary;
  close(CreateTemporary(path, &temporary));
  unlink(temporary.c_str());
}

bool SamePlace(const std::string& a, const std::string& b) {
  if (a == "-" || b == "-") return a == b;
  std::error_code error;
  return Resolved(a) == Resolved(b) || fs::equivalent(a, b, error);
}

void CheckOutputPaths(const std::vector<std::string>& outputs,
                      const std::vector<std::string>& inputs) {
  std::vector<std::string> paths;
  for (const std::string& path : outputs) {
    if (path.empty()) continue;
    for (const std::string& other : paths) {
      if (!SamePlace(path, other)) continue;
      throw InputError("'" + other + "' and '" + path +
                       "' are one place for two outputs");
    }
    for (const std::string& input : inputs) {
      if (SamePlace(path, input)) {
        throw InputError("'" + path +
                         "' is the input, and would be overwritten");
      }
    }
    CheckWritable(path);
    paths.push_back(path);
  }
}

void WriteWhole(const std::string& name, std::string_view text) {
  if (name == "-") {
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) {
      Fail(name, std::strerror(errno));
    }
    return;
  }
  if (IsSpecial(name)) return WriteDirectly(name, text);
  const std::string path = Resolved(name).string();
  std::string temporary;
  const int file = CreateTemporary(path, &temporary);
  const mode_t mask = umask(0);
  umask(mask);
  bool written = fchmod(file, 0666 & ~mask) == 0 && WriteAll(file, text);
  int why = errno;
  if (close(file) != 0 && written) {
    written = false;
    why = errno;
  }
  if (written && std::rename(temporary.c_str(), path.c_str()) != 0) {
    written = false;
    why = errno;
  }
  if (!written) {
    unlink(temporary.c_str());
    Fail(name, std::strerror(why));
  }
}

}  // namespace heed::tool
