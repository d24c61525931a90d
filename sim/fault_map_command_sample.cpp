// `kintsugi fault-map sample`.
#include <fmt/format.h>

#include <algorithm>
#include <iostream>

#include "common/files.h"
#include "common/text.h"
#include "common/thread_pool.h"
#include "faults/lot_io.h"
#include "faults/sampler.h"
#include "sim/fault_map_command.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;

std::optional<faults::SiteWeights> sites_of(const std::string& text) {
  if (text == "unknown") return std::nullopt;
  if (text == "area") return faults::area_weights();
  faults::SiteWeights weights{};
  std::vector<std::string> known;
  for (int i = 0; i < pe::kSites; ++i) known.push_back(faults::to_string(static_cast<pe::Site>(i)));
  for (const std::string& part : split_commas(text)) {
    const auto colon = part.find(':');
    const std::string name = part.substr(0, colon);
    const auto site = faults::site_from(name);
    if (!site) {
      const auto near = common::nearest(name, known);
      option_error(fmt::format(
          "--sites names '{}'{}; allowed are unknown, area, or a list like multiplier:5,adder:3 of {}", name,
          near ? fmt::format(", did you mean '{}'?", *near) : "", common::join_or(known)));
    }
    double& weight = weights[static_cast<std::size_t>(*site)];
    if (weight != 0) option_error(fmt::format("--sites names {} twice; keep one of the two", name));
    weight =
        colon == std::string::npos ? 1.0 : real_value("sites " + name, part.substr(colon + 1), 1e-9, 1e9);
  }
  return weights;
}

struct Rates {
  bool range = false;
  double low = 0, high = 0;
  bool log_uniform = true;
};

Rates rates_of(const OptionParser& parser) {
  Rates rates;
  const int given = parser.has("rate") + parser.has("faults") + parser.has("rate-range");
  if (given != 1)
    option_error("give one of --rate R, --faults N and --rate-range LOW,HIGH to say how many PEs are faulty");
  if (parser.has("rate")) rates.low = rates.high = real_option(parser, "rate", 0, 1, 0);
  if (parser.has("rate-distribution")) {
    const std::string word = parser.text("rate-distribution");
    if (word != "log-uniform" && word != "uniform")
      option_error(fmt::format("--rate-distribution must be log-uniform or uniform, but is '{}'", word));
    if (!parser.has("rate-range")) option_error("--rate-distribution goes with --rate-range LOW,HIGH");
    rates.log_uniform = word == "log-uniform";
  }
  if (parser.has("rate-range")) {
    const auto parts = split_commas(parser.text("rate-range"));
    if (parts.size() != 2)
      option_error(fmt::format("--rate-range must be LOW,HIGH, like 0.001,0.3, but is '{}'",
                               parser.text("rate-range")));
    rates.range = true;
    rates.low = real_value("rate-range", parts[0], rates.log_uniform ? 1e-9 : 0, 1);
    rates.high = real_value("rate-range", parts[1], rates.low, 1);
  }
  return rates;
}

faults::SampleSpec spec_of(const OptionParser& parser) {
  faults::SampleSpec spec;
  const auto geometry = required_geometry(parser, "a sample needs the array's size");
  spec.rows = geometry.rows;
  spec.cols = geometry.cols;
  spec.accumulator_bits = geometry.accumulator_bits;
  std::string model = parser.has("faults") ? "exact" : "iid";
  if (parser.has("model")) model = parser.text("model");
  const auto known = faults::sample_model_from(model);
  if (!known)
    option_error(
        fmt::format("--model must be iid, exact, clustered, rows, columns or radial, but is '{}'", model));
  spec.model = *known;
  const auto only_with = [&](const char* option, faults::SampleModel owner) {
    if (parser.has(option) && spec.model != owner)
      option_error(
          fmt::format("--{} goes with --model {}, not with {}", option, faults::to_string(owner), model));
  };
  only_with("clustering", faults::SampleModel::clustered);
  only_with("block", faults::SampleModel::clustered);
  only_with("edge-factor", faults::SampleModel::radial);
  only_with("die-size", faults::SampleModel::radial);
  only_with("die", faults::SampleModel::radial);
  if (parser.has("faults")) spec.faulty = integer_option(parser, "faults", 0, 1 << 20, 0);
  spec.clustering = real_option(parser, "clustering", 1e-6, 1e6, spec.clustering);
  spec.block = static_cast<int>(integer_option(parser, "block", 1, faults::kMaxArrayDimension, spec.block));
  spec.edge_factor = real_option(parser, "edge-factor", 1, 1e6, spec.edge_factor);
  spec.die_size = real_option(parser, "die-size", 0.005, 1.4, spec.die_size);
  if (parser.has("die")) {
    const auto parts = split_commas(parser.text("die"));
    if (parts.size() != 2)
      option_error(fmt::format("--die must be X,Y in wafer radii, like --die=-0.5,0.2, but is '{}'",
                               parser.text("die")));
    spec.die = std::pair(real_value("die", parts[0], -1, 1), real_value("die", parts[1], -1, 1));
  }
  if (parser.has("sites")) spec.sites = sites_of(parser.text("sites"));
  spec.escapes = integer_option(parser, "escapes", 0, 1 << 20, 0);
  spec.seed = parser.common().seed;
  return spec;
}

}  // namespace

int fault_map_sample(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi fault-map sample (--chip FILE | --rows N --cols N) (--rate R | --faults N | --rate-range "
      "LOW,HIGH) (--out DIR | --lot FILE)",
      "Draws random fault maps: chip after chip from streams of their own, so that the same seed always "
      "gives the same lot,\nand chip 7 of 10 is chip 7 of 1000. Every map records how it was drawn.",
      "kintsugi fault-map sample --rows 256 --cols 256 --count 100 --rate-range 0.001,0.3 --seed 7 --out "
      "lot7");
  add_geometry_options(parser);
  const auto word = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()("count", word("N"), "number of chips (default 1)")(
      "model", word("MODEL"),
      "iid (default), exact (default with --faults), clustered, rows, columns or radial; see "
      "docs/fault-map.md")("rate", word("R"),
                           "expected share of faulty PEs, 0 to 1 (models rows and columns: of faulty lines)")(
      "faults", word("N"), "exact number of faulty PEs (models rows and columns: of faulty lines)")(
      "rate-range", word("LOW,HIGH"), "every chip its own rate between the two")(
      "rate-distribution", word("NAME"), "log-uniform (default) or uniform, for --rate-range")(
      "sites", word("SITES"),
      "unknown (default), area, or weights like multiplier:5,adder:3: one random stuck-at per faulty PE")(
      "escapes", word("N"), "live, undetected faulty PEs per chip, beside the others (default 0)")(
      "clustering", word("A"),
      "clustered: alpha of the negative binomial, smaller is more clustered (default 2)")(
      "block", word("N"), "clustered: side of a block of PEs that share a rate (default 16)")(
      "edge-factor", word("E"), "radial: rate at the wafer's edge over that at its centre (default 4)")(
      "die-size", word("S"), "radial: side of a die in wafer radii (default 0.08)")(
      "die", word("X,Y"), "radial: the die's centre in wafer radii; default: die after die over the wafer")(
      "prefix", word("NAME"), "chips are named NAME-0001 and so on (default chip)")("gzip", po::bool_switch(),
                                                                                    "write *.yaml.gz")(
      "lot", word("FILE"), "write all chips into one long CSV file, instead of --out DIR");
  parser.without("data-dir");
  parser.reads({"chip"});
  if (!parser.parse(arguments)) return kExitDone;

  const auto& options = parser.common();
  if (options.out.empty() != parser.has("lot"))
    option_error("give one of --out DIR and --lot FILE to say where the maps go");
  if (parser.has("lot") && parser.values()["gzip"].as<bool>()) option_error("--gzip goes with --out DIR");
  const faults::SampleSpec base = spec_of(parser);
  const Rates rates = rates_of(parser);
  const std::int64_t count = integer_option(parser, "count", 1, 1'000'000, 1);
  const std::string prefix = parser.has("prefix") ? parser.text("prefix") : "chip";
  if (rates.range && base.model == faults::SampleModel::clustered && rates.high >= 1)
    option_error("the clustered model needs rates below 1");

  std::vector<faults::FaultMap> maps(static_cast<std::size_t>(count));
  common::ThreadPool pool(options.threads);
  const std::size_t digits = std::max<std::size_t>(4, std::to_string(count).size());
  pool.parallel_for(count, [&](std::int64_t i) {
    faults::SampleSpec spec = base;
    spec.index = static_cast<std::uint64_t>(i);
    spec.chip = fmt::format("{}-{:0{}}", prefix, i + 1, digits);
    spec.rate = rates.range
                    ? faults::sample_rate(rates.low, rates.high, rates.log_uniform, spec.seed, spec.index)
                    : rates.low;
    maps[i] = faults::sample(spec);
  });

  std::filesystem::path written = options.out;
  if (parser.has("lot")) {
    written = parser.text("lot");
    // A lot's CSV has no meta; what the chips' maps would say goes above as comments, of the first chip.
    std::string head = "# the sampler's record of the first chip:\n";
    for (std::size_t begin = 0; begin < maps[0].meta.size();) {
      const std::size_t end = maps[0].meta.find('\n', begin);
      head += "#   " + maps[0].meta.substr(begin, end - begin) + '\n';
      begin = end + 1;
    }
    common::write_file_atomic(written, head + faults::lot_csv(maps));
  } else {
    write_map_folder(written, maps, parser.values()["gzip"].as<bool>(), options);
  }

  double low = 1, high = 0, sum = 0;
  for (const faults::FaultMap& map : maps) {
    low = std::min(low, map.fault_rate());
    high = std::max(high, map.fault_rate());
    sum += map.fault_rate();
  }
  std::cout << fmt::format("{} fault map{} of {}x{} PEs in {}: fault rate {:.6g}", count,
                           count == 1 ? "" : "s", base.rows, base.cols, written.string(),
                           sum / static_cast<double>(count));
  if (count > 1) std::cout << fmt::format(" on average, {:.6g} to {:.6g}", low, high);
  std::cout << "\n";
  return kExitDone;
}

}  // namespace kintsugi::sim
