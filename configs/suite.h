// A regression suite (configs/suites/*.yaml): cases with their recorded results.
//
//   suite:
//     name: shipped
//     cases:
//       - {name: clean, chip: ../chips/tiny8.yaml, workload: gemm.yaml, fault_map: maps/a.yaml,
//          bypass_map: maps/b.yaml, fidelities: [pe, cycle, functional]}
// The records stand in a file of their own beside it (<suite>.expected.yaml), written by --update.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "configs/fidelity.h"
#include "configs/yaml_reader.h"

namespace kintsugi::configs {

struct SuiteCase {
  std::string name;
  std::filesystem::path chip;
  std::filesystem::path workload;
  std::optional<std::filesystem::path> fault_map;
  std::optional<std::filesystem::path> bypass_map;
  bool no_bypass = false;
  std::vector<Fidelity> fidelities;  // default: functional
  common::Location where;
};

struct SuiteConfig {
  std::filesystem::path file;
  std::string name;
  std::vector<SuiteCase> cases;
};

SuiteConfig read_suite(const std::filesystem::path& file, const Overrides& overrides = {});

}  // namespace kintsugi::configs
