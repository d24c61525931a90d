// The netlist model: its parts against plain evaluation, all executors against each other, and what must hold
// at every period.
#include "faults/netlist_model.h"

#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <set>
#include <thread>

#include "faults/netlist_assembler.h"
#include "faults/netlist_engine.h"
#include "tests/support/timing_statistics.h"

namespace kintsugi::faults {
namespace {

std::shared_ptr<const TimedNetlist> shipped(const std::string& pe) {
  return std::make_shared<TimedNetlist>(
      read_timed_netlist(std::string(KINTSUGI_SOURCE_DIR) + "/configs/pes/" + pe + ".pe"));
}

bool has_avx512() {
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
         __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vnni");
}

class IsaScope {
 public:
  explicit IsaScope(const char* isa) { setenv("KINTSUGI_ISA", isa, 1); }
  ~IsaScope() { unsetenv("KINTSUGI_ISA"); }
};

// Every node's value for words of inputs.
std::vector<std::uint64_t> values(const LogicGraph& graph, std::span<const std::uint64_t> inputs) {
  std::vector<std::uint64_t> value;
  std::size_t next = 0;
  const auto of = [&](Literal literal) {
    return literal.complemented() ? ~value[literal.node()] : value[literal.node()];
  };
  for (const LogicGraph::Node& node : graph.nodes()) switch (node.kind) {
      case LogicGraph::Kind::constant:
        value.push_back(0);
        break;
      case LogicGraph::Kind::input:
        value.push_back(inputs[next++]);
        break;
      case LogicGraph::Kind::conjunction:
        value.push_back(of(node.a) & of(node.b));
        break;
      case LogicGraph::Kind::difference:
        value.push_back(of(node.a) ^ of(node.b));
        break;
    }
  return value;
}

TEST(LogicGraph, BuildsEveryTruthTable) {
  const std::array<std::uint64_t, 4> words = {0xaaaa, 0xcccc, 0xf0f0, 0xff00};
  LogicGraph graph;
  std::array<Literal, 4> in;
  for (Literal& literal : in) literal = graph.input();
  std::vector<std::pair<std::uint32_t, Literal>> made;
  for (std::uint32_t truth = 0; truth < 65536; ++truth)
    made.push_back({truth, graph.function(static_cast<std::uint16_t>(truth), in)});
  const auto value = values(graph, words);
  for (const auto& [truth, literal] : made)
    ASSERT_EQ((literal.complemented() ? ~value[literal.node()] : value[literal.node()]) & 0xffff, truth);
  // With equal, opposite and constant inputs it must fold, and still be right.
  LogicGraph folded;
  const Literal x = folded.input(), y = folded.input();
  const std::array<Literal, 4> tied = {x, ~y, x, LogicGraph::kTrue};
  made.clear();
  for (std::uint32_t truth = 0; truth < 65536; ++truth)
    made.push_back({truth, folded.function(static_cast<std::uint16_t>(truth), tied)});
  EXPECT_LE(folded.nodes().size(), 400U);
  const auto again = values(folded, words);
  for (const auto& [truth, literal] : made)
    for (std::uint32_t v = 0; v < 4; ++v) {
      const std::uint32_t a = v & 1, b = v >> 1, spelled = a | (1 - b) << 1 | a << 2 | 8;
      const std::uint64_t found = again[literal.node()] ^ (literal.complemented() ? ~std::uint64_t{0} : 0);
      ASSERT_EQ(found >> v & 1, truth >> spelled & 1) << truth;
    }
}

struct Planes {
  std::uint64_t* data = nullptr;
  explicit Planes(std::size_t words)
      : data(static_cast<std::uint64_t*>(::operator new[](words * 8, std::align_val_t{64}))) {}
  ~Planes() { ::operator delete[](data, std::align_val_t{64}); }
  Planes(const Planes&) = delete;
  Planes& operator=(const Planes&) = delete;
};

TEST(Program, GivesWhatTheGraphSaysOnEveryExecutor) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    SCOPED_TRACE(seed);
    common::RandomStream random(seed, "random graph");
    LogicGraph graph;
    LogicOutputs outputs;
    std::vector<Literal> made = {LogicGraph::kTrue};
    std::vector<std::uint64_t> words;
    for (int bit = 0; bit < 32; ++bit)
      for (const bool before : {true, false}) {
        made.push_back(graph.input());
        outputs.inputs.push_back({{Operand::psum, before, bit, 0}, made.back()});
        words.push_back(random.next());
      }
    const std::size_t nodes = seed % 2 == 0 ? 200 : 4000;
    for (std::size_t i = 0; i < nodes; ++i) {
      const auto pick = [&] {
        const std::size_t from =
            random.below(4) == 0 ? 0 : made.size() - std::min<std::size_t>(made.size(), 300);
        const Literal literal = made[from + random.below(made.size() - from)];
        return random.below(2) == 0 ? literal : ~literal;
      };
      const std::array<Literal, 4> in = {pick(), pick(), pick(), pick()};
      made.push_back(
          graph.function(static_cast<std::uint16_t>(random.next()), std::span(in).first(2 + i % 3)));
    }
    for (int bit = 0; bit < 20; ++bit) {
      const Literal literal = made[made.size() - 1 - static_cast<std::size_t>(bit)];
      if (literal.node() != 0) outputs.errors.push_back({bit, bit % 2 == 0 ? literal : ~literal});
    }
    const auto value = values(graph, words);
    const Program program = map_to_operations(graph, outputs);

    const auto check = [&](const auto& run, std::size_t plane_words, const char* name) {
      SCOPED_TRACE(name);
      const Planes planes(program.slots * plane_words);
      for (const PlaneInput& input : program.inputs)
        for (std::size_t w = 0; w < plane_words; ++w)  // other words: other values
          planes.data[input.slot * plane_words + w] =
              w == 0 ? words[static_cast<std::size_t>(2 * input.bit + (input.before ? 0 : 1))] : w;
      run(planes.data);
      ASSERT_EQ(program.errors.size(), outputs.errors.size());
      for (std::size_t i = 0; i < program.errors.size(); ++i) {
        const Literal literal = outputs.errors[i].second;
        const std::uint64_t want = value[literal.node()] ^ (literal.complemented() ? ~std::uint64_t{0} : 0);
        ASSERT_EQ(planes.data[program.errors[i].slot * plane_words], want);
      }
    };
    const auto engine = [&](const PlaneEngine& with, const char* name) {
      check([&](std::uint64_t* slots) { with.run(program, slots); }, with.words, name);
      check([&](std::uint64_t* slots) { with.run_few(program, slots); }, with.few_words, name);
    };
    engine(portable_engine(), "portable");
    engine(avx2_engine(), "avx2");
    if (!has_avx512()) continue;
    engine(avx512_engine(), "avx512");
    if (const auto assembled = assemble(program))
      check([&](std::uint64_t* slots) { assembled->run(slots); }, AssembledProgram::kWords, "assembled");
  }
}

TEST(PlaneEngines, SplitBytesIntoPlanes) {
  common::RandomStream random(1, "bytes");
  std::vector<std::uint8_t> bytes(64 * 8);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random.next());
  std::vector<const PlaneEngine*> engines = {&portable_engine(), &avx2_engine()};
  if (has_avx512()) engines.push_back(&avx512_engine());
  for (const PlaneEngine* engine : engines) {
    std::array<std::array<std::uint64_t, 8>, 8> planes{};
    std::array<std::uint64_t*, 8> at{};
    for (std::size_t bit = 0; bit < 8; ++bit)
      if (bit != 5) at[bit] = planes[bit].data();
    engine->split(bytes.data(), 8, at.data());
    for (std::size_t bit = 0; bit < 8; ++bit)
      for (std::size_t lane = 0; lane < bytes.size(); ++lane)
        ASSERT_EQ(planes[bit][lane / 64] >> (lane % 64) & 1, bit == 5 ? 0 : bytes[lane] >> bit & 1U);
  }
}

const std::vector<double> kFractions = {1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5, 0.02};

std::vector<double> periods(const TimedNetlist& netlist) {
  std::vector<double> out;
  for (const double fraction : kFractions) out.push_back(fraction * slowest_path_ps(netlist));
  return out;
}

TEST(NetlistModel, HasTheSameBitsOnEveryInstructionSet) {
  for (const char* pe : {"pe_ripple", "pe_prefix"}) {
    const auto netlist = shipped(pe);
    std::vector<const char*> isas = {"portable", "avx2"};
    if (has_avx512()) isas.push_back("avx512");
    std::vector<std::unique_ptr<NetlistModel>> models;
    for (const char* isa : isas) {
      const IsaScope scope(isa);
      models.push_back(std::make_unique<NetlistModel>(netlist, 50, periods(*netlist)));
    }
    for (const auto& stream : {test::dnn_stream(5, 3000), test::uniform_stream(6, 3000)})
      for (int bin = 0; bin < static_cast<int>(kFractions.size()); ++bin) {
        const auto expected = test::model_errors(*models[0], bin, stream);
        for (std::size_t m = 1; m < models.size(); ++m)
          ASSERT_EQ(test::model_errors(*models[m], bin, stream), expected) << pe << isas[m] << bin;
      }
  }
}

// Cycles one by one, in another order, or among others: the same errors.
TEST(NetlistModel, TakesEachCycleByItself) {
  const auto netlist = shipped("pe_ripple");
  const NetlistModel model(netlist, 50, periods(*netlist));
  const auto stream = test::uniform_stream(7, 701, 3);
  const auto together = test::model_errors(model, 5, stream);
  EXPECT_GT(test::error_rates(together).words, 0.05);
  common::RandomStream random(7, "pieces");
  for (std::size_t begin = 0; begin < together.size();) {
    const std::size_t count = std::min<std::size_t>(1 + random.below(90), together.size() - begin);
    std::vector<std::uint32_t> errors(count, 77);
    model.evaluate(5, 0,
                   {count, &stream.activation[begin], &stream.activation[begin + 1], &stream.weight[begin],
                    &stream.weight[begin + 1], &stream.psum[begin], &stream.psum[begin + 1], nullptr},
                   errors.data());
    for (std::size_t i = 0; i < count; ++i) ASSERT_EQ(errors[i], together[begin + i]);
    begin += count;
  }
}

TEST(NetlistModel, AnswersSeveralThreads) {
  const auto netlist = shipped("pe_prefix");
  const auto stream = test::dnn_stream(8, 2000);
  const NetlistModel alone(netlist, 50, periods(*netlist)), shared(netlist, 50, periods(*netlist));
  std::vector<std::vector<std::uint32_t>> found(4);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < found.size(); ++t)
    threads.emplace_back(
        [&, t] { found[t] = test::model_errors(shared, 3 + static_cast<int>(t / 2), stream); });
  for (auto& thread : threads) thread.join();
  for (std::size_t t = 0; t < found.size(); ++t)
    EXPECT_EQ(found[t], test::model_errors(alone, 3 + static_cast<int>(t / 2), stream));
}

TEST(NetlistModel, NeverErrsWithTimeEnoughOrWithoutChange) {
  for (const char* pe : {"pe_ripple", "pe_prefix"}) {
    const auto netlist = shipped(pe);
    const double tmin = slowest_path_ps(*netlist);
    for (const double step_ps : {50.0, 25.0}) {
      const NetlistModel model(netlist, step_ps, {tmin, 2 * tmin, 0.5 * tmin, 0.9 * tmin});
      for (const auto& stream : {test::dnn_stream(1, 20000, 16), test::uniform_stream(2, 20000, 1)}) {
        EXPECT_EQ(test::error_rates(test::model_errors(model, 0, stream)).words, 0);
        EXPECT_EQ(test::error_rates(test::model_errors(model, 1, stream)).words, 0);
      }
      auto still = test::uniform_stream(3, 1000, 1);
      for (std::size_t i = 1; i < still.size(); i += 2) {
        still.activation[i] = still.activation[i - 1];
        still.weight[i] = still.weight[i - 1];
        still.psum[i] = still.psum[i - 1];
      }
      for (const int bin : {2, 3}) {
        const auto errors = test::model_errors(model, bin, still);
        std::size_t moving = 0;
        for (std::size_t i = 0; i < errors.size(); ++i) {
          if (i % 2 == 0) {
            EXPECT_EQ(errors[i], 0U);
          }
          moving += i % 2 == 1 && errors[i] != 0;
        }
        if (bin == 2) {
          EXPECT_GT(moving, 100U);
        }
      }
      EXPECT_FALSE(model.settled_can_err());
    }
  }
}

// Against the event-driven simulator, on traffic that the golden words do not hold: weights that change.
TEST(NetlistModel, HasTheErrorRatesOfAnEventDrivenSimulation) {
  const std::vector<double> fractions = {0.97, 0.93, 0.88, 0.83, 0.77, 0.7, 0.6, 0.5};
  for (const char* pe : {"pe_ripple", "pe_prefix"}) {
    const auto netlist = shipped(pe);
    std::vector<double> at;
    for (const double fraction : fractions) at.push_back(fraction * slowest_path_ps(*netlist));
    const NetlistModel model(netlist, 50, at);
    for (const auto& stream : {test::dnn_stream(11, 4000, 4), test::uniform_stream(12, 4000, 1)}) {
      const auto simulated = test::GateSimulator(*netlist).errors(stream, at);
      std::vector<test::ErrorRates> measured, modelled;
      for (std::size_t p = 0; p < at.size(); ++p) {
        measured.push_back(test::error_rates(simulated[p]));
        modelled.push_back(test::error_rates(test::model_errors(model, static_cast<int>(p), stream)));
      }
      const test::Agreement found = test::agreement(measured, modelled);
      EXPECT_LE(found.mean_error, 0.01) << pe;
      EXPECT_GE(found.correlation, 0.97) << pe;
      EXPECT_GT(measured.back().words, 0.2);
    }
  }
}

// A netlist of random gates, whose function no PE has: rates of captured words that differ from settled ones.
TimedNetlist random_netlist(std::uint64_t seed) {
  common::RandomStream random(seed, "random netlist");
  TimedNetlist netlist;
  const auto delay = [&] { return std::round(random.uniform(40, 220)); };
  for (const Operand operand : {Operand::activation, Operand::weight, Operand::psum})
    for (int bit = 0; bit < (operand == Operand::psum ? 32 : 8); ++bit)
      netlist.launches.push_back({operand, bit, netlist.nets++, {delay(), delay()}});
  for (int g = 0; g < 150; ++g) {
    TimedGate gate;
    const std::size_t inputs = 1 + random.below(4);
    std::set<int> used;
    while (used.size() < inputs) {
      const int low = random.below(3) == 0 ? 2 : std::max(2, netlist.nets - 40);
      used.insert(low + static_cast<int>(random.below(static_cast<std::uint64_t>(netlist.nets - low))));
    }
    gate.inputs.assign(used.begin(), used.end());
    for (std::size_t pin = 0; pin < inputs; ++pin) gate.delays.push_back({delay(), delay()});
    gate.truth = static_cast<std::uint16_t>(random.next() & ((1U << (1U << inputs)) - 1));
    gate.output = netlist.nets++;
    netlist.gates.push_back(gate);
  }
  for (int bit = 0; bit < 32; ++bit) netlist.captures.push_back({bit, netlist.nets - 1 - bit, {30, 30}});
  return netlist;
}

TEST(NetlistModel, FollowsRandomNetlists) {
  double worst = 0;
  for (std::uint64_t seed = 1; seed <= 6; ++seed) {
    const auto netlist = std::make_shared<TimedNetlist>(random_netlist(seed));
    const double tmin = slowest_path_ps(*netlist);
    const std::vector<double> at = {0.9 * tmin, 0.7 * tmin, 0.5 * tmin};
    const NetlistModel model(netlist, 20, at);
    const auto stream = test::uniform_stream(seed, 1500, 1);
    const auto simulated = test::GateSimulator(*netlist).errors(stream, at);
    for (std::size_t p = 0; p < at.size(); ++p) {
      const auto measured = test::error_rates(simulated[p]),
                 modelled = test::error_rates(test::model_errors(model, static_cast<int>(p), stream));
      for (std::size_t bit = 0; bit < 32; ++bit)
        worst = std::max(worst, std::abs(measured.bits[bit] - modelled.bits[bit]));
      EXPECT_NEAR(modelled.words, measured.words, 0.03) << seed << ' ' << p;
    }
  }
  EXPECT_LE(worst, 0.1);
}

}  // namespace
}  // namespace kintsugi::faults
