#include "common/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>
#include <zlib.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <fstream>
#include <sstream>
#include <vector>

#include "common/diagnostics.h"
#include "common/sha256.h"
#include "common/text.h"

namespace kintsugi::common {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what, int error) {
  std::string next;
  if (error == ENOSPC || error == EDQUOT)
    next = "; make room and give the command again: nothing that was finished is lost";
  if ((error == EROFS || error == EACCES) && what == "cannot write")
    next = "; make the folder writable or choose another";
  throw InputError({path.string()}, fmt::format("{}: {}{}", what, std::strerror(error), next));
}

// Closes on scope exit.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

// Machines that share a folder may have processes of the same number.
std::string host_tag() {
  return sha256(host_name()).substr(0, 8);
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  std::error_code code;
  if (std::filesystem::is_directory(path, code)) fail(path, "cannot read", EISDIR);
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (file.get() < 0) fail(path, "cannot open", errno);
  std::string bytes;
  const auto size = std::filesystem::file_size(path, code);
  if (!code) bytes.reserve(size);
  char buffer[1 << 16];
  for (;;) {
    const ssize_t n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail(path, "cannot read", errno);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
  }
}

std::string read_file_maybe_gzip(const std::filesystem::path& path) {
  std::string raw = read_file(path);
  if (raw.size() < 2 || raw[0] != '\x1f' || raw[1] != '\x8b') return raw;
  z_stream stream{};
  if (inflateInit2(&stream, 15 + 16) != Z_OK) throw std::bad_alloc();
  stream.next_in = reinterpret_cast<Bytef*>(raw.data());
  stream.avail_in = static_cast<uInt>(raw.size());
  std::string bytes;
  char buffer[1 << 16];
  int status = Z_OK;
  while (status == Z_OK) {
    stream.next_out = reinterpret_cast<Bytef*>(buffer);
    stream.avail_out = sizeof buffer;
    status = inflate(&stream, Z_NO_FLUSH);
    bytes.append(buffer, sizeof buffer - stream.avail_out);
    // gzip allows several members one after another.
    if (status == Z_STREAM_END && stream.avail_in > 0) status = inflateReset(&stream);
  }
  inflateEnd(&stream);
  if (status != Z_STREAM_END)
    throw InputError({path.string()}, "the gzip data is damaged or truncated; get the file again");
  return bytes;
}

std::string gzip(std::string_view bytes) {
  z_stream stream{};
  if (deflateInit2(&stream, Z_BEST_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
    throw std::bad_alloc();
  std::string out(deflateBound(&stream, bytes.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(bytes.data()));
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = reinterpret_cast<Bytef*>(out.data());
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

namespace {

void write_whole(const std::filesystem::path& path, std::string_view bytes, bool sync) {
  static std::atomic<unsigned> counter{0};
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::error_code code;
  std::filesystem::create_directories(folder, code);
  if (code) throw InputError({folder.string()}, "cannot create the folder: " + code.message());

  const std::string temporary =
      (folder / fmt::format(".{}.{}.{}.{}.tmp", path.filename().string(), host_tag(), ::getpid(), counter++))
          .string();
  {
    const Descriptor file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
    if (file.get() < 0) fail(path, "cannot write", errno);
    const auto give_up = [&](int error) {
      ::unlink(temporary.c_str());
      fail(path, "cannot write", error);
    };
    while (!bytes.empty()) {
      const ssize_t n = ::write(file.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) give_up(errno);
      bytes.remove_prefix(static_cast<std::size_t>(n));
    }
    if (sync && ::fsync(file.get()) != 0) give_up(errno);
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) {
    const int error = errno;
    ::unlink(temporary.c_str());
    fail(path, "cannot write", error);
  }
  if (!sync) return;
  const Descriptor parent(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent.get() >= 0) ::fsync(parent.get());
}

}  // namespace

void write_file_atomic(const std::filesystem::path& path, std::string_view bytes) {
  write_whole(path, bytes, true);
}

void write_file_unsynced(const std::filesystem::path& path, std::string_view bytes) {
  write_whole(path, bytes, false);
}

void sync_files(const std::filesystem::path& folder) {
  const Descriptor file(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (file.get() < 0) fail(folder, "cannot open", errno);
  if (::syncfs(file.get()) != 0) fail(folder, "cannot write", errno);
}

bool is_abandoned_temporary(const std::filesystem::path& path) {
  // ".name.host.pid.counter.tmp"
  const std::string name = path.filename().string();
  if (!name.starts_with('.') || !name.ends_with(".tmp")) return false;
  std::vector<std::string> parts;
  std::istringstream text(name);
  for (std::string part; std::getline(text, part, '.');) parts.push_back(part);
  const auto pid = parts.size() >= 5 ? parse_integer(parts[parts.size() - 3]) : std::nullopt;
  if (pid && *pid > 0 && parts[parts.size() - 4] == host_tag()) return !process_runs(*pid);
  std::error_code code;
  const auto written = std::filesystem::last_write_time(path, code);
  return !code && std::filesystem::file_time_type::clock::now() - written > std::chrono::hours(1);
}

bool process_runs(std::int64_t pid) {
  if (pid < 1 || (::kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH)) return false;
  // "1234 (name) S ...", and the name may hold anything.
  std::ifstream file(fmt::format("/proc/{}/stat", pid));
  std::string stat;
  std::getline(file, stat);
  const std::size_t end = stat.rfind(')');
  const char state = end == std::string::npos || end + 2 >= stat.size() ? 'S' : stat[end + 2];
  return state != 'Z' && state != 'X';
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 && name[0] != '\0' ? name.data() : "unknown";
}

}  // namespace kintsugi::common
