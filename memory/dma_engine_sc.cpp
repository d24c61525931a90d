#include "memory/dma_engine_sc.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <stdexcept>
#include <utility>

#include "memory/origin.h"

namespace kintsugi::memory {
namespace {

const char* to_string(TransferKind kind) {
  switch (kind) {
    case TransferKind::weights:
      return "weights";
    case TransferKind::activations:
      return "activations";
    case TransferKind::outputs:
      return "outputs";
  }
  return "?";
}

std::uint64_t now() {
  return sc_core::sc_time_stamp().value();
}

}  // namespace

DmaEngine::DmaEngine(sc_core::sc_module_name name, int outstanding, std::uint64_t cycle)
    : sc_core::sc_module(name), outstanding_(static_cast<std::size_t>(outstanding)), cycle_(cycle) {
  if (outstanding < 1) throw std::invalid_argument(fmt::format("{}: no transfers allowed", this->name()));
  if (cycle < 4) throw std::invalid_argument(fmt::format("{}: a cycle of {} fs", this->name(), cycle));
  SC_METHOD(arbitrate);
  sensitive << arbitrate_;
  dont_initialize();
  buffers_.resize(outstanding_);
  for (std::vector<std::byte>& buffer : buffers_) {
    sc_core::sc_spawn([this, &buffer] { work(buffer); },
                      fmt::format("worker_{}", &buffer - buffers_.data()).c_str());
  }
}

void DmaEngine::attach(TransferSource* source, std::function<void()> on_failure) {
  source_ = source;
  on_failure_ = std::move(on_failure);
  failure_.reset();
}

void DmaEngine::poke() {
  const std::uint64_t quarter = cycle_ / 4;
  const std::uint64_t phase = now() % cycle_;
  const std::uint64_t wait_for = phase <= quarter ? quarter - phase : cycle_ + quarter - phase;
  arbitrate_.notify(sc_core::sc_time::from_value(wait_for));
}

void DmaEngine::arbitrate() {
  const auto cycle = static_cast<std::int64_t>(now() / cycle_);
  while (source_ != nullptr && jobs_.size() < outstanding_) {
    std::optional<Transfer> transfer = source_->next(cycle);
    if (!transfer) break;
    jobs_.push_back({std::move(*transfer), source_, std::nullopt});
    queue_.push_back(std::prev(jobs_.end()));
  }
  // Whichever thread wakes first takes the first transfer, so their order is that of the source.
  if (!queue_.empty()) work_.notify(sc_core::SC_ZERO_TIME);
}

void DmaEngine::work(std::vector<std::byte>& data) {
  for (;;) {
    while (queue_.empty()) sc_core::wait(work_);
    const JobHandle job = queue_.front();
    queue_.pop_front();
    serve(job, data);
    poke();
  }
}

void DmaEngine::serve(JobHandle job, std::vector<std::byte>& data) {
  const Transfer& transfer = job->transfer;
  std::uint64_t end = 0;
  if (job->source == nullptr || !issue(transfer, data, end)) {
    jobs_.erase(job);
    return;
  }
  const std::uint64_t cycle = (end + cycle_ - 1) / cycle_;
  job->due = static_cast<std::int64_t>(cycle);
  if (cycle * cycle_ > now()) sc_core::wait(sc_core::sc_time::from_value(cycle * cycle_ - now()));
  while (must_let_pass(job)) sc_core::wait(sc_core::SC_ZERO_TIME);

  const bool arrived =
      transfer.kind == TransferKind::outputs || job->source == nullptr || move_on_chip(transfer, data);
  const Job done = std::move(*job);
  jobs_.erase(job);
  if (arrived && done.source != nullptr)
    done.source->complete(done.transfer, static_cast<std::int64_t>(cycle));
}

bool DmaEngine::must_let_pass(JobHandle job) {
  return std::any_of(jobs_.begin(), job, [&](const Job& earlier) { return earlier.due == job->due; });
}

bool DmaEngine::issue(const Transfer& transfer, std::vector<std::byte>& data, std::uint64_t& end) {
  const bool write = transfer.kind == TransferKind::outputs;
  std::int64_t bytes = 0;
  for (const Run& run : transfer.runs) bytes += run.bytes;
  data.resize(static_cast<std::size_t>(bytes));
  if (write && !move_on_chip(transfer, data)) return false;
  std::byte* at = data.data();
  end = now();
  for (const Run& run : transfer.runs) {
    sc_core::sc_time delay;
    if (!transport(dram, write ? tlm::TLM_WRITE_COMMAND : tlm::TLM_READ_COMMAND, run.dram, at, run.bytes,
                   transfer, delay)) {
      return false;
    }
    end = std::max<std::uint64_t>(end, now() + delay.value());
    at += run.bytes;
  }
  return true;
}

bool DmaEngine::move_on_chip(const Transfer& transfer, std::vector<std::byte>& data) {
  const bool from_chip = transfer.kind == TransferKind::outputs;
  std::byte* at = data.data();
  for (const Run& run : transfer.runs) {
    sc_core::sc_time delay;
    if (!transport(chip, from_chip ? tlm::TLM_READ_COMMAND : tlm::TLM_WRITE_COMMAND, run.chip, at, run.bytes,
                   transfer, delay)) {
      return false;
    }
    at += run.bytes;
  }
  return true;
}

bool DmaEngine::transport(Socket& socket, tlm::tlm_command command, std::uint64_t address, std::byte* data,
                          std::int64_t bytes, const Transfer& transfer, sc_core::sc_time& delay) {
  tlm::tlm_generic_payload transaction;
  transaction.set_command(command);
  transaction.set_address(address);
  transaction.set_data_ptr(reinterpret_cast<unsigned char*>(data));
  transaction.set_data_length(static_cast<unsigned int>(bytes));
  transaction.set_streaming_width(static_cast<unsigned int>(bytes));
  transaction.set_response_status(tlm::TLM_INCOMPLETE_RESPONSE);
  Origin origin;
  origin.initiator = name();
  const OriginScope scope(transaction, origin);
  socket->b_transport(transaction, delay);
  if (transaction.get_response_status() == tlm::TLM_OK_RESPONSE) return true;
  fail(fmt::format("DMA transfer of {} (request {}) failed: {}", to_string(transfer.kind), transfer.request,
                   describe_refusal(transaction, origin)));
  return false;
}

void DmaEngine::fail(std::string reason) {
  if (failure_) return;
  failure_ = std::move(reason);
  source_ = nullptr;
  for (Job& job : jobs_) job.source = nullptr;
  if (const auto tell = std::exchange(on_failure_, nullptr)) tell();
}

}  // namespace kintsugi::memory
