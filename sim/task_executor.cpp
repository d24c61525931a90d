#include "sim/task_executor.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "common/diagnostics.h"

namespace kintsugi::sim {
namespace {

constexpr int kAttempts = 2;

enum class Kind : std::uint32_t { progress, done, input_error, failure };

struct Header {
  Kind kind = Kind::progress;
  std::uint32_t task = 0;
  std::int64_t value = 0;
  std::uint64_t length = 0;  // of the text that follows
};

// Whole message or false (the other side is gone).
bool receive(int socket, void* data, std::size_t size) {
  char* to = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t n = ::recv(socket, to, size, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool deliver(int socket, const void* data, std::size_t size) {
  const char* from = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t n = ::send(socket, from, size, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    from += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

void answer(int socket, Kind kind, std::uint32_t task, std::int64_t value, const std::string& text = {}) {
  const Header header{kind, task, value, text.size()};
  if (!deliver(socket, &header, sizeof header) || !deliver(socket, text.data(), text.size())) std::_Exit(1);
}

// The life of a worker. Leaves by _Exit: destructors and exit handlers belong to the coordinator.
[[noreturn]] void work(int socket, const StartWorker& start) {
  RunTask run;
  std::uint32_t task = 0;
  while (receive(socket, &task, sizeof task)) {
    try {
      if (!run) run = start();
      run(task, [&](std::int64_t units) { answer(socket, Kind::progress, task, units); });
      answer(socket, Kind::done, task, 0);
    } catch (const common::InputError& error) {
      answer(socket, Kind::input_error, task, 0, error.what());
    } catch (const std::exception& error) {
      answer(socket, Kind::failure, task, 0, error.what());
    }
  }
  std::fflush(nullptr);
  std::_Exit(0);
}

struct Worker {
  pid_t pid = -1;
  int socket = -1;
  std::optional<std::uint32_t> task;
};

class Coordinator {
 public:
  Coordinator(const std::vector<Task>& tasks, const StartWorker& start, const ExecutorOptions& options)
      : tasks_(tasks),
        start_(start),
        options_(options),
        attempts_(tasks.size()),
        done_units_(tasks.size()),
        progress_(options.label, total_work(tasks), options.progress, options.unit),
        began_(std::chrono::steady_clock::now()) {
    for (std::uint32_t i = 0; i < tasks.size(); ++i) waiting_.push_back(i);
  }

  // On every way out: no worker is left behind.
  ~Coordinator() {
    for (Worker& worker : workers_) {
      if (worker.task) ::kill(worker.pid, SIGKILL);
      ::close(worker.socket);
    }
    for (Worker& worker : workers_) ::waitpid(worker.pid, nullptr, 0);
  }

  void run() {
    const std::size_t wanted =
        std::min<std::size_t>(static_cast<std::size_t>(std::max(1, options_.workers)), tasks_.size());
    while (finished_ < tasks_.size()) {
      while (workers_.size() < wanted && !waiting_.empty()) spawn();
      for (Worker& worker : workers_)
        if (!worker.task && !waiting_.empty()) assign(worker);
      listen();
    }
  }

 private:
  static std::int64_t total_work(const std::vector<Task>& tasks) {
    std::int64_t total = 0;
    for (const Task& task : tasks) total += task.work;
    return total;
  }

  void spawn() {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
      throw std::system_error(errno, std::generic_category(), "socketpair");
    std::fflush(nullptr);  // or the child would print what is buffered once more
    const pid_t parent = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) {
      ::close(ends[0]);
      ::close(ends[1]);
      throw std::system_error(errno, std::generic_category(), "fork");
    }
    if (pid == 0) {
      ::prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (::getppid() != parent) std::_Exit(1);
      // Other workers' sockets and the campaign's lock must not be held open from here.
      const unsigned keep = static_cast<unsigned>(ends[1]);
      if (keep > 3) ::close_range(3, keep - 1, 0);
      ::close_range(keep + 1, ~0U, 0);
      work(ends[1], start_);
    }
    ::close(ends[1]);
    workers_.push_back({pid, ends[0], std::nullopt});
  }

  void assign(Worker& worker) {
    const std::uint32_t task = waiting_.front();
    waiting_.pop_front();
    worker.task = task;
    ++attempts_[task];
    deliver(worker.socket, &task, sizeof task);  // a failure shows as the worker's end in listen()
  }

  void listen() {
    std::vector<pollfd> sockets;
    for (const Worker& worker : workers_) sockets.push_back({worker.socket, POLLIN, 0});
    if (::poll(sockets.data(), sockets.size(), -1) < 0) {
      if (errno == EINTR) return;
      throw std::system_error(errno, std::generic_category(), "poll");
    }
    for (std::size_t i = workers_.size(); i-- > 0;)
      if (sockets[i].revents != 0) hear(i);
  }

  void hear(std::size_t index) {
    Worker& worker = workers_[index];
    Header header;
    std::string text;
    bool alive = receive(worker.socket, &header, sizeof header);
    if (alive && header.length > 0) {
      text.resize(header.length);
      alive = receive(worker.socket, text.data(), text.size());
    }
    if (!alive) return bury(index);
    switch (header.kind) {
      case Kind::progress:
        count(header.task, header.value);
        break;
      case Kind::done:
        count(header.task, tasks_[header.task].work - done_units_[header.task]);
        worker.task.reset();
        ++finished_;
        break;
      case Kind::input_error:
        throw common::InputError(text);
      case Kind::failure:
        throw std::runtime_error(fmt::format("{}: {}", tasks_[header.task].name, text));
    }
  }

  void count(std::uint32_t task, std::int64_t units) {
    units = std::min(units, tasks_[task].work - done_units_[task]);
    if (units <= 0) return;  // the bar shows its end once
    done_units_[task] += units;
    done_ += units;
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    progress_.set(done_, seconds > 0
                             ? fmt::format("{:.0f} {}/s", static_cast<double>(done_) / seconds, options_.unit)
                             : std::string());
  }

  void bury(std::size_t index) {
    const Worker worker = workers_[index];
    workers_.erase(workers_.begin() + static_cast<std::ptrdiff_t>(index));
    ::close(worker.socket);
    int status = 0;
    ::waitpid(worker.pid, &status, 0);
    const std::string how = WIFSIGNALED(status) ? fmt::format("was killed by signal {} ({})",
                                                              WTERMSIG(status), strsignal(WTERMSIG(status)))
                                                : fmt::format("ended with status {}", WEXITSTATUS(status));
    if (!worker.task) {
      // It was idle; a worker that cannot even wait for work will not do any.
      if (waiting_.empty()) return;
      throw std::runtime_error(fmt::format("an idle worker process {}", how));
    }
    const std::uint32_t task = *worker.task;
    if (attempts_[task] >= kAttempts)
      throw std::runtime_error(fmt::format(
          "task '{}': its worker process {} in {} attempts; finished tasks are kept, so once the cause is "
          "mended (memory?) the same command goes on from here",
          tasks_[task].name, how, attempts_[task]));
    fmt::print(
        stderr, "{}a worker process {} during task '{}'; trying that task once more\n",
        ::isatty(STDERR_FILENO) == 1 && options_.progress == common::ProgressOutput::people ? "\n" : "", how,
        tasks_[task].name);
    done_ -= done_units_[task];
    done_units_[task] = 0;
    waiting_.push_front(task);
  }

  const std::vector<Task>& tasks_;
  const StartWorker& start_;
  const ExecutorOptions& options_;
  std::vector<int> attempts_;
  std::vector<std::int64_t> done_units_;
  common::Progress progress_;
  std::chrono::steady_clock::time_point began_;
  std::deque<std::uint32_t> waiting_;
  std::vector<Worker> workers_;
  std::size_t finished_ = 0;
  std::int64_t done_ = 0;
};

}  // namespace

void run_tasks(const std::vector<Task>& tasks, const StartWorker& start, const ExecutorOptions& options) {
  if (tasks.empty()) return;
  Coordinator(tasks, start, options).run();
}

}  // namespace kintsugi::sim
