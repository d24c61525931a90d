// What the bench says of the work it does.
#include "training/reduce/chip_bench.h"

#include <gtest/gtest.h>

#include "common/thread_pool.h"
#include "tests/support/repair_cases.h"
#include "workloads/float_forward.h"

namespace kintsugi {
namespace {

using namespace kintsugi::testing;  // builders of small networks
using namespace training::reduce;

// Retrains to the marks 0, 3 and 5 and expects every step in the progress, once.
void expect_each_step_reported(configs::ScheduleKind schedule, std::int64_t steps) {
  const workloads::Network network = networks().front().second;
  const configs::ChipConfig chip = small_chip(configs::ConvolutionMapping::im2col);
  const workloads::ImageSet images = random_images(64, network.input_shape(), network.classes, 3);
  const workloads::Parameters parameters = random_parameters(network, 3);
  BenchInputs inputs{&chip, &network, &images, {}};
  inputs.sgd.batch = 8;
  inputs.sgd.learning_rate = 0.01;
  inputs.sgd.schedule.kind = schedule;
  common::ThreadPool pool(1);
  ChipBench bench(inputs, pool);
  bench.insert_chip(random_bypass(chip, 0.1, 3));
  std::int64_t reported = 0;
  std::vector<std::int64_t> marks;
  const std::int64_t done = bench.retrain(
      parameters, workloads::calibrate(network, parameters, images, {}), "test", each_of({0, 3, 5}),
      [&](std::int64_t mark, const workloads::Parameters&) { marks.push_back(mark); },
      [&](std::int64_t more) { reported += more; }, {});
  EXPECT_EQ(done, steps);
  EXPECT_EQ(reported, steps);
  EXPECT_EQ(marks, (std::vector<std::int64_t>{0, 3, 5}));
}

// One run passes every mark.
TEST(ChipBench, ReportsEachStepOfAConstantSchedule) {
  expect_each_step_reported(configs::ScheduleKind::constant, 5);
}

// Every mark is a run of its own.
TEST(ChipBench, ReportsEachStepOfAFallingSchedule) {
  expect_each_step_reported(configs::ScheduleKind::linear, 8);
}

}  // namespace
}  // namespace kintsugi
