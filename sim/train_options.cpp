#include "sim/train_options.h"

#include <fmt/format.h>

#include <functional>
#include <limits>

#include "common/diagnostics.h"
#include "common/text.h"
#include "sim/operating_options.h"

namespace kintsugi::sim {
namespace {

namespace po = boost::program_options;
using common::InputError;

constexpr std::int64_t kMaxSteps = std::int64_t{1} << 40;

[[noreturn]] void fail(const std::string& message) {
  throw InputError(
      fmt::format("kintsugi train: error: {}\n'kintsugi train --help' lists all options", message));
}

void add_options(OptionParser& parser) {
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  parser.own().add_options()                                                                  //
      ("network", text("FILE")->required(), "network description (configs/networks/*.yaml)")  //
      ("dataset", text("NAME"),
       "fashion-mnist or cifar-10; its training images are split, its test images are "
       "for the final figures")                                                                           //
      ("images", text("FILE"), "instead of --dataset: training images, .npy, uint8, N x C x H x W")       //
      ("labels", text("FILE"), "their labels, .npy")                                                      //
      ("test-images", text("FILE"), "with --images: test images, .npy")                                   //
      ("test-labels", text("FILE"), "their labels, .npy")                                                 //
      ("weights", text("FILE"), "start from these weights (.safetensors); default: random, from --seed")  //
      ("epochs", text("X"), "how long to train (default 8); 0 measures only")                             //
      ("steps", text("N"), "the same, counted in mini-batches")                                           //
      ("batch", text("N"), "images in a mini-batch (default 128)")                                        //
      ("learning-rate", text("X"), "default 0.05")                                                        //
      ("momentum", text("X"), "default 0.9")                                                              //
      ("weight-decay", text("X"), "default 0.0005")                                                       //
      ("schedule", text("WORD"), "of the learning rate: constant, step, linear or cosine (default)")      //
      ("milestones", text("X,X"),
       "for step: shares of the run after which the rate falls (default 0.5,0.75)")                //
      ("gamma", text("X"), "for step: factor at each milestone (default 0.1)")                     //
      ("augment", po::bool_switch(), "random crop (padding 4) and horizontal flip")                //
      ("backward", text("WORD"), "matrix products of the backward pass: f32 (default) or bf16")    //
      ("chip", text("FILE"), "train for this chip (configs/chips/*.yaml); needs --weights")        //
      ("fault-map", text("FILE"), "what is broken on it")                                          //
      ("bypass-map", text("FILE"), "bypass the PEs named here instead of those of the fault map")  //
      ("no-bypass", po::bool_switch(), "bypass nothing: train with the faults' effects")           //
      ("forward", text("WORD"),
       "forward pass with --chip: chip (default), or masked_float, which only masks "
       "the weights of bypassed PEs")                                                                     //
      ("calibration-images", text("N"), "held-out images that fix the activation scales (default 1000)")  //
      ("scale-method", text("WORD"), "of the activation scales: minmax (default) or percentile")          //
      ("percentile", text("X"), "for percentile (default 99.99)")                                         //
      ("decision-images", text("N"),
       "training images held out, on which the accuracy of log.csv is measured "
       "(default 5000)")                                                                      //
      ("split-seed", text("N"), "hold out a random choice; default: the last ones")           //
      ("evaluate-every", text("N"), "measure accuracy every N steps (default: every epoch)")  //
      ("checkpoint-every", text("N"), "save what is needed to continue every N steps (default: every epoch)");
}

class Reader {
 public:
  explicit Reader(const OptionParser& parser) : parser_(parser) {}

  bool has(const std::string& name) const { return parser_.has(name); }
  bool on(const std::string& name) const { return parser_.values()[name].as<bool>(); }
  std::string text(const std::string& name) const { return parser_.text(name); }

  std::optional<std::filesystem::path> path(const std::string& name) const {
    return has(name) ? std::optional<std::filesystem::path>(text(name)) : std::nullopt;
  }
  std::int64_t integer(const std::string& name, std::int64_t low, std::int64_t high,
                       std::int64_t fallback) const {
    if (!has(name)) return fallback;
    const auto value = common::parse_integer(text(name));
    if (!value || *value < low || *value > high) {
      fail(fmt::format("--{} must be an integer from {} to {}, but is '{}'", name, low, high, text(name)));
    }
    return *value;
  }
  double real(const std::string& name, double low, double high, double fallback) const {
    if (!has(name)) return fallback;
    return real_of(name, text(name), low, high);
  }
  std::vector<double> reals(const std::string& name, double low, double high,
                            std::vector<double> fallback) const {
    if (!has(name)) return fallback;
    std::vector<double> values;
    std::string rest = text(name);
    for (std::size_t comma = 0; comma != std::string::npos;) {
      comma = rest.find(',');
      values.push_back(real_of(name, rest.substr(0, comma), low, high));
      if (comma != std::string::npos) rest = rest.substr(comma + 1);
    }
    return values;
  }
  template <class T>
  T choice(const std::string& name, const std::vector<std::pair<std::string, T>>& words, T fallback) const {
    if (!has(name)) return fallback;
    std::vector<std::string> known;
    for (const auto& [word, value] : words) {
      if (word == text(name)) return value;
      known.push_back(word);
    }
    fail(fmt::format("--{} must be {}, but is '{}'", name, common::join_or(known), text(name)));
  }

 private:
  static double real_of(const std::string& name, const std::string& text, double low, double high) {
    const auto value = common::parse_real(text);
    if (!value || *value < low || *value > high) {
      fail(fmt::format("--{} must be a number from {} to {}, but is '{}'", name, common::format_number(low),
                       common::format_number(high), text));
    }
    return *value;
  }

  const OptionParser& parser_;
};

void read_data(const Reader& read, TrainOptions& options) {
  const auto need_pair = [&](const std::string& one, const std::string& other) {
    if (read.has(one) != read.has(other)) {
      fail(
          fmt::format("--{} needs --{} beside it", read.has(one) ? one : other, read.has(one) ? other : one));
    }
  };
  need_pair("images", "labels");
  need_pair("test-images", "test-labels");
  if (read.has("dataset") == read.has("images")) {
    fail("give either --dataset NAME, or --images FILE and --labels FILE");
  }
  if (read.has("dataset")) {
    if (read.has("test-images")) fail("--test-images goes with --images; --dataset has its own test images");
    options.training_data.name = read.text("dataset");
    options.training_data.where.file = "--dataset";
    options.test_data = options.training_data;
    options.test_data->split = configs::Split::test;
  } else {
    options.training_data.images = read.text("images");
    options.training_data.labels = read.text("labels");
    options.training_data.where.file = read.text("images");
    if (read.has("test-images")) {
      options.test_data.emplace();
      options.test_data->images = read.text("test-images");
      options.test_data->labels = read.text("test-labels");
      options.test_data->where.file = read.text("test-images");
      options.test_data->split = configs::Split::test;
    }
  }
  options.training_data.split = configs::Split::train;
}

void read_sgd(const Reader& read, TrainOptions& options) {
  configs::SgdConfig& sgd = options.sgd;
  sgd.batch = static_cast<int>(read.integer("batch", 1, 65536, 128));
  sgd.learning_rate = read.real("learning-rate", 0, 1000, 0.05);
  sgd.momentum = read.real("momentum", 0, 1, 0.9);
  sgd.weight_decay = read.real("weight-decay", 0, 1, 5e-4);
  using Kind = configs::ScheduleKind;
  sgd.schedule.kind = read.choice<Kind>("schedule",
                                        {{"constant", Kind::constant},
                                         {"step", Kind::step},
                                         {"cosine", Kind::cosine},
                                         {"linear", Kind::linear}},
                                        Kind::cosine);
  for (const char* name : {"milestones", "gamma"}) {
    if (read.has(name) && sgd.schedule.kind != Kind::step)
      fail(fmt::format("--{} goes with --schedule step", name));
  }
  if (sgd.schedule.kind == Kind::step) sgd.schedule.milestones = read.reals("milestones", 0, 1, {0.5, 0.75});
  sgd.schedule.gamma = read.real("gamma", 0, 1, 0.1);
  sgd.augment = read.on("augment");
  sgd.backward = read.choice<configs::Backward>(
      "backward", {{"f32", configs::Backward::f32}, {"bf16", configs::Backward::bf16}},
      configs::Backward::f32);
  if (read.has("steps") && read.has("epochs")) fail("give --epochs or --steps, not both");
  if (read.has("steps")) options.steps = read.integer("steps", 1, kMaxSteps, 1);
  options.epochs = read.real("epochs", 0, 1e6, 8);
}

void read_chip(const Reader& read, TrainOptions& options) {
  options.chip = read.path("chip");
  options.fault_map = read.path("fault-map");
  options.bypass_map = read.path("bypass-map");
  options.no_bypass = read.on("no-bypass");
  options.weights = read.path("weights");
  if (!options.chip) {
    for (const char* name :
         {"fault-map", "bypass-map", "forward", "frequency-mhz", "voltage-v", "temperature-c"}) {
      if (read.has(name)) fail(fmt::format("--{} needs --chip", name));
    }
    if (options.no_bypass) fail("--no-bypass needs --chip");
  } else if (!options.weights) {
    fail(
        "--chip needs --weights: its activation scales come from a trained network; train one without "
        "--chip first");
  }
  if (options.no_bypass && options.bypass_map) fail("give --bypass-map or --no-bypass, not both");
  using configs::Forward;
  options.forward = read.choice<Forward>(
      "forward", {{"chip", Forward::chip}, {"masked_float", Forward::masked_float}}, Forward::chip);
  if (options.no_bypass && options.forward == Forward::masked_float) {
    fail(
        "--forward masked_float sees bypassed PEs only, so with --no-bypass it would train as without a "
        "chip");
  }
}

}  // namespace

std::optional<TrainOptions> parse_train_options(const std::vector<std::string>& arguments) {
  OptionParser parser(
      "kintsugi train --network FILE --dataset NAME --out DIR [options]",
      "Trains a network in float, or with a chip's simulated outputs in the forward pass, and writes\n"
      "weights.safetensors, deployed.safetensors, log.csv and summary.yaml. Run again, it continues from "
      "the\n"
      "checkpoint in --out and ends with the same bytes.",
      "kintsugi train --network configs/networks/fap_mlp.yaml --dataset fashion-mnist --epochs 5 --out "
      "trained");
  add_options(parser);
  add_json_progress(parser);
  add_operating_options(parser);
  parser.reads({"network", "chip", "fault_map"});
  if (!parser.parse(arguments)) return std::nullopt;
  const Reader read(parser);

  TrainOptions options;
  options.common = parser.common();
  options.progress = progress_output(options.common.quiet, read.on("json-progress"));
  if (options.common.out.empty()) fail("--out DIR is needed: where weights and log go");
  options.network = read.text("network");
  read_data(read, options);
  read_sgd(read, options);
  read_chip(read, options);
  options.point = chosen_point(parser, "kintsugi train");
  options.quantization.images = read.integer("calibration-images", 1, 1'000'000'000, 1000);
  using Method = configs::ScaleMethod;
  options.quantization.method = read.choice<Method>(
      "scale-method", {{"minmax", Method::minmax}, {"percentile", Method::percentile}}, Method::minmax);
  if (read.has("percentile") && options.quantization.method != Method::percentile) {
    fail("--percentile goes with --scale-method percentile");
  }
  options.quantization.percentile = read.real("percentile", 50, 100, 99.99);
  options.decision_images = read.integer("decision-images", 1, 1'000'000'000, 5000);
  if (read.has("split-seed")) {
    options.split_seed = static_cast<std::uint64_t>(
        read.integer("split-seed", 0, std::numeric_limits<std::int64_t>::max(), 0));
  }
  options.evaluate_every = read.integer("evaluate-every", 1, kMaxSteps, 0);
  options.checkpoint_every = read.integer("checkpoint-every", 1, kMaxSteps, 0);
  return options;
}

}  // namespace kintsugi::sim
