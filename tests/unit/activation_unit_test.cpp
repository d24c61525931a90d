// The activation unit's arithmetic against plain loops.
#include "array/activation_unit.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "common/random.h"
#include "tests/support/random_cases.h"

namespace kintsugi {
namespace {

TEST(ActivationUnit, pools_the_maximum_of_what_lies_inside_the_map) {
  common::RandomStream random(4, "pool");
  const auto up_to = [&](std::int64_t most) {
    return 1 + static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most)));
  };
  for (int round = 0; round < 200; ++round) {
    const std::int64_t batch = up_to(3), height = up_to(9), width = up_to(9), channels = up_to(5);
    array::MaxPool window;
    window.kernel = up_to(4);
    window.stride = up_to(3);
    window.padding = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(window.kernel)));
    // As far as windows begin inside the map: the last may stick out.
    window.out_h = up_to((height - 1 + window.padding) / window.stride + 1);
    window.out_w = up_to((width - 1 + window.padding) / window.stride + 1);
    const auto in = test::random_int8(random, batch * height * width * channels);
    std::vector<std::int8_t> out(static_cast<std::size_t>(batch * window.out_h * window.out_w * channels),
                                 99);
    array::max_pool(window, batch, height, width, channels, in, out);
    for (std::int64_t i = 0; i < static_cast<std::int64_t>(out.size()); ++i) {
      const std::int64_t c = i % channels, ox = i / channels % window.out_w,
                         oy = i / channels / window.out_w % window.out_h,
                         b = i / channels / window.out_w / window.out_h;
      int best = -1000;
      for (std::int64_t y = 0; y < height; ++y)
        for (std::int64_t x = 0; x < width; ++x) {
          const std::int64_t ky = y - (oy * window.stride - window.padding),
                             kx = x - (ox * window.stride - window.padding);
          if (ky < 0 || kx < 0 || ky >= window.kernel || kx >= window.kernel) continue;
          best = std::max<int>(best, in[((b * height + y) * width + x) * channels + c]);
        }
      ASSERT_EQ(out[i], best) << "round " << round << ", value " << i;
    }
  }
}

TEST(ActivationUnit, normalises_by_the_neighbouring_channels) {
  common::RandomStream random(5, "norm");
  for (const std::int64_t size : {1, 2, 3, 4, 5, 9}) {
    const std::int64_t channels = 6, rows = 40;
    const array::LocalResponseNorm norm{size, 0.5, 0.75, 2};
    const double in_scale = 0.03, out_scale = 0.02;
    const auto in = test::random_int8(random, rows * channels);
    std::vector<std::int8_t> out(in.size());
    array::local_response_norm(norm, channels, in_scale, out_scale, in, out);
    for (std::int64_t i = 0; i < rows * channels; ++i) {
      long double squares = 0;
      for (std::int64_t j = 0; j < channels; ++j) {
        const std::int64_t apart = j - i % channels;
        if (apart < -(size / 2) || apart > (size - 1) / 2) continue;
        const long double v = in[i - i % channels + j] * static_cast<long double>(in_scale);
        squares += v * v;
      }
      const long double y = in[i] * static_cast<long double>(in_scale) /
                            std::pow(2 + 0.5L / static_cast<long double>(size) * squares, 0.75L) /
                            static_cast<long double>(out_scale);
      ASSERT_EQ(out[i], std::clamp(std::nearbyint(y), -127.0L, 127.0L)) << "size " << size << ", " << i;
    }
  }
}

TEST(ActivationUnit, refuses_maps_that_do_not_fit) {
  std::vector<std::int8_t> four(4), three(3);
  EXPECT_THROW(array::max_pool({2, 2, 0, 1, 1}, 1, 2, 2, 1, four, three), std::invalid_argument);
  EXPECT_THROW(array::residual_add(four, three, {}, false, four), std::invalid_argument);
  EXPECT_THROW(array::local_response_norm({}, 3, 1, 1, four, four), std::invalid_argument);
}

}  // namespace
}  // namespace kintsugi
