// kintsugi reduce curves
#include <fmt/format.h>

#include "common/diagnostics.h"
#include "common/files.h"
#include "sim/options.h"
#include "sim/resilience_curves.h"

namespace kintsugi::sim {

namespace po = boost::program_options;

int curves_command(const std::vector<std::string>& arguments) {
  OptionParser parser("kintsugi reduce curves NAME=FOLDER[@STEPS] ... --out D",
                      "Resilience curves of campaigns that were characterised: accuracy against the share of "
                      "faulty PEs, with\n"
                      "no retraining or after STEPS steps of it. Writes curves.csv and curves.svg.",
                      "kintsugi reduce curves FAP=campaign/fap FAP+T=campaign/fap@100 --out curves");
  parser.own().add_options()("curve", po::value<std::vector<std::string>>(), "NAME=FOLDER[@STEPS]")(
      "title", po::value<std::string>()->value_name("TEXT")->default_value("Resilience"), "of the picture");
  parser.positional("curve", -1);
  for (const char* unused : {"seed", "threads", "data-dir", "set"}) parser.without(unused);
  if (!parser.parse(arguments)) return kExitDone;
  if (!parser.has("curve"))
    throw common::InputError("kintsugi reduce curves needs at least one curve, like FAP=campaign/fap");
  const CommonOptions& common = parser.common();
  if (common.out.empty()) throw common::InputError("kintsugi reduce curves needs --out DIR");
  std::vector<ResilienceCurve> curves;
  for (const std::string& text : parser.values()["curve"].as<std::vector<std::string>>())
    curves.push_back(read_curve(parse_curve(text)));
  common::write_file_atomic(common.out / "curves.csv", curves_csv(curves));
  common::write_file_atomic(common.out / "curves.svg", curves_svg(curves, parser.text("title")));
  if (!common.quiet) fmt::print("{}", curves_table(curves));
  return kExitDone;
}

}  // namespace kintsugi::sim
