// Resilience curves: accuracy against the share of faulty PEs, out of the characterisation of one or several
// Reduce campaigns, side by side as a table, a CSV and a picture.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kintsugi::sim {

// What to show: NAME=FOLDER[@STEPS], the accuracies of that campaign folder after so many steps (0).
struct CurveChoice {
  std::string name;
  std::filesystem::path folder;
  std::int64_t steps = 0;
};
// Throws common::InputError if `text` is not of that form.
CurveChoice parse_curve(const std::string& text);

// Over the maps of one fault rate; accuracies are fractions of 1.
struct CurvePoint {
  double fault_rate = 0;
  int maps = 0;
  double mean = 0, lowest = 0, highest = 0;
};

struct ResilienceCurve {
  CurveChoice choice;
  std::vector<CurvePoint> points;        // by ascending fault rate
  std::optional<double> without_faults;  // accuracy of the original weights, if the folder knows
  std::string decided_on;                // of a campaign that decides on the test set; else empty
};

// Reads characterization.csv of the folder. Throws common::InputError if there is none, it cannot be read, or
// these steps were not evaluated.
ResilienceCurve read_curve(const CurveChoice& choice);

std::string curves_csv(const std::vector<ResilienceCurve>& curves);
std::string curves_table(const std::vector<ResilienceCurve>& curves);
std::string curves_svg(const std::vector<ResilienceCurve>& curves, const std::string& title);

// kintsugi reduce curves
int curves_command(const std::vector<std::string>& arguments);

}  // namespace kintsugi::sim
