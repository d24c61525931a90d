// Matrix products per tap of a kernel against oneDNN's direct convolution, which knows nothing of taps.
#include <gtest/gtest.h>

#include <cmath>

#include "common/diagnostics.h"
#include "common/random.h"
#include "common/thread_pool.h"
#include "training/direct_convolution.h"
#include "training/tap_gemm.h"

namespace kintsugi {
namespace {

struct Shape {
  std::string name;
  std::int64_t in_c, out_c, height, width, kernel, stride, padding, batch;
};

struct Results {
  std::vector<float> z, dx, dw;
};

std::vector<float> random_values(std::int64_t count, const std::string& stream) {
  common::RandomStream random(1, stream);
  std::vector<float> values(count);
  for (float& v : values) v = static_cast<float>(random.uniform(-1, 1));
  return values;
}

// Relative to the length of what is expected.
double distance(const std::vector<float>& found, const std::vector<float>& expected) {
  double difference = 0, length = 0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    difference += std::pow(found[i] - expected[i], 2);
    length += std::pow(expected[i], 2);
  }
  return std::sqrt(difference / length);
}

class TapGemm : public ::testing::TestWithParam<Shape> {
 protected:
  workloads::Stage stage() const {
    const Shape& s = GetParam();
    workloads::Stage stage;
    stage.convolution = true;
    stage.kernel = s.kernel, stage.stride = s.stride, stage.padding = s.padding;
    stage.in = {s.in_c, s.height, s.width};
    const auto size = [&](std::int64_t in) { return (in + 2 * s.padding - s.kernel) / s.stride + 1; };
    stage.out = stage.gemm_out = {s.out_c, size(s.height), size(s.width)};
    return stage;
  }
  Results run(training::StageGemm& gemm, bool through_batch_norm) const {
    const workloads::Stage s = stage();
    const std::int64_t batch = GetParam().batch, channels = s.out.channels;
    const auto weight = random_values(s.weight_count(), "weight"),
               x = random_values(batch * s.in.count(), "x");
    auto dz = random_values(batch * s.out.count(), "dz");
    const auto mean = random_values(channels, "mean"), scale = random_values(channels, "scale"),
               mean_g = random_values(channels, "mean-g"), slope = random_values(channels, "slope");
    Results r{std::vector<float>(dz.size()), std::vector<float>(x.size()), std::vector<float>(weight.size())};
    gemm.forward(weight.data(), x.data(), r.z.data());
    const training::BatchNormGradient norm{r.z.data(), mean, scale, mean_g, slope};
    gemm.backward(weight.data(), x.data(), dz.data(), through_batch_norm ? &norm : nullptr, r.dx.data(),
                  r.dw.data());
    return r;
  }
};

TEST_P(TapGemm, AgreesWithTheDirectConvolution) {
  common::ThreadPool one(1), three(3);
  training::GemmWorkspace workspace;
  for (const bool norm : {false, true}) {
    const auto direct = training::make_direct_convolution(stage(), GetParam().batch, one);
    const Results expected = run(*direct, norm);
    for (const configs::Backward backward : {configs::Backward::f32, configs::Backward::bf16}) {
      std::unique_ptr<training::StageGemm> taps;
      try {
        taps = training::make_tap_gemm(stage(), GetParam().batch, one, workspace, backward);
      } catch (const common::InputError&) {
        continue;  // no bfloat16 here
      }
      const Results found = run(*taps, norm);
      const double bound = backward == configs::Backward::f32 ? 1e-6 : 6e-3;
      EXPECT_LT(distance(found.z, expected.z), 1e-6);
      EXPECT_LT(distance(found.dx, expected.dx), bound);
      EXPECT_LT(distance(found.dw, expected.dw), bound);
      const Results again =
          run(*training::make_tap_gemm(stage(), GetParam().batch, three, workspace, backward), norm);
      EXPECT_EQ(again.z, found.z);
      EXPECT_EQ(again.dx, found.dx);
      EXPECT_EQ(again.dw, found.dw);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, TapGemm,
                         ::testing::Values(Shape{"ManyLines", 16, 17, 6, 5, 3, 1, 1, 5},
                                           Shape{"FewPixels", 17, 18, 2, 3, 3, 1, 1, 6},
                                           Shape{"OnePixel", 20, 40, 1, 1, 3, 1, 1, 7},
                                           Shape{"OnePixelOfMany", 18, 16, 3, 3, 3, 1, 0, 3},
                                           Shape{"Pointwise", 24, 33, 4, 5, 1, 1, 0, 4},
                                           Shape{"Strides", 16, 16, 9, 8, 3, 2, 1, 6},
                                           Shape{"LinesNeverRead", 16, 18, 9, 9, 2, 3, 0, 6},
                                           Shape{"MostlyPadding", 16, 16, 3, 2, 5, 2, 3, 3},
                                           Shape{"ManyOutputs", 16, 520, 4, 4, 3, 1, 1, 2}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace
}  // namespace kintsugi
