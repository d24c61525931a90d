// .safetensors files: round trips, fixed bytes, and every kind of damage refused.
#include "workloads/safetensors.h"

#include <gmock/gmock.h>

#include <cmath>
#include <cstring>
#include <fstream>
#include <limits>

#include "common/files.h"
#include "common/random.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::workloads {
namespace {

using test::input_error;
using testing::HasSubstr;

std::string with_header(const std::string& header, const std::string& data) {
  const std::uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

class SafeTensorsFile : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes, const std::string& name = "w.safetensors") {
    common::write_file_atomic(folder_ / name, bytes);
    return folder_ / name;
  }
  std::string refusal(const std::string& bytes) {
    const auto file = write(bytes);
    const std::string text = input_error([&] { read_safetensors(file); });
    EXPECT_THAT(text, HasSubstr("w.safetensors: error: "));
    return text;
  }
  test::TemporaryFolder folder_;
};

SafeTensors sample() {
  SafeTensors content;
  content.tensors.emplace("a.int8", Tensor<std::int8_t>({3}, {-1, 2, 3}));
  content.tensors.emplace("b.float", Tensor<float>({2, 2}, {1, -2.5f, 3, 4}));
  content.tensors.emplace("c.uint8", Tensor<std::uint8_t>({1, 1}, {255}));
  content.tensors.emplace("d.int64", Tensor<std::int64_t>({}, {1LL << 40}));
  content.tensors.emplace("e.double", Tensor<double>({1}, {0.1}));
  content.tensors.emplace("f.int32", Tensor<std::int32_t>({2}, {7, -7}));
  content.tensors.emplace("g.empty", Tensor<float>({0, 5}, {}));
  content.metadata = {{"format", "pt"}, {"quote", "a \"b\" ü"}};
  return content;
}

// A header of 640, 896, 1152 or 1408 bytes has the first two bytes of a Python pickle.
TEST_F(SafeTensorsFile, AHeaderOfAnyLengthIsNotTakenForAPickle) {
  for (std::size_t length = 1; length <= 1600; length += 13) {
    SafeTensors content = sample();
    content.metadata = {{"padding", std::string(length, 'x')}};
    write_safetensors(folder_ / "w.safetensors", content);
    EXPECT_EQ(read_safetensors(folder_ / "w.safetensors").metadata, content.metadata);
  }
  const std::string header = R"({"t":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})";
  for (const std::size_t length : {640, 896, 1152, 1408}) {
    const auto file = write(with_header(header + std::string(length - header.size(), ' '), "x"));
    EXPECT_EQ(read_safetensors(file).tensors.size(), 1u) << length;
  }
}

TEST_F(SafeTensorsFile, RoundTrip) {
  const SafeTensors content = sample();
  write_safetensors(folder_ / "w.safetensors", content);
  const SafeTensors back = read_safetensors(folder_ / "w.safetensors");
  EXPECT_EQ(back.tensors, content.tensors);
  EXPECT_EQ(back.metadata, content.metadata);
}

TEST_F(SafeTensorsFile, BytesAreFixedAndAligned) {
  SafeTensors content;
  content.tensors.emplace("a", Tensor<std::int8_t>({1}, {5}));
  content.tensors.emplace("b", Tensor<float>({1}, {1.0f}));
  write_safetensors(folder_ / "w.safetensors", content);
  // The float comes first: behind the single byte it would not be aligned.
  std::string header =
      R"({"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"I8","shape":[1],"data_offsets":[4,5]}})";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  EXPECT_EQ(common::read_file(folder_ / "w.safetensors"),
            with_header(header, std::string("\x00\x00\x80\x3f\x05", 5)));
}

TEST_F(SafeTensorsFile, WidensHalfPrecision) {
  const auto file = write(with_header(
      R"({"h":{"dtype":"F16","shape":[6],"data_offsets":[0,12]},"b":{"dtype":"BF16","shape":[2],"data_offsets":[12,16]}})",
      std::string("\x00\x3c\x00\xc0\x01\x00\xff\x7b\x00\x80\x00\xfc\x80\x3f\x49\xc0", 16)));
  const SafeTensors content = read_safetensors(file);
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_EQ(std::get<Tensor<float>>(content.tensors.at("h")).data,
            (std::vector<float>{1.0f, -2.0f, 0x1p-24f, 65504.0f, -0.0f, -infinity}));
  EXPECT_EQ(std::get<Tensor<float>>(content.tensors.at("b")).data, (std::vector<float>{1.0f, -3.140625f}));
}

TEST_F(SafeTensorsFile, RefusesPyTorchArchivesWithTheLineThatSavesThemRight) {
  for (const std::string& bytes :
       {std::string("PK\x03\x04") + std::string(100, 'x'), std::string("\x80\x02}q\x00(X", 7)}) {
    const auto file = write(bytes, "net.pt");
    EXPECT_THAT(
        input_error([&] { read_safetensors(file); }),
        HasSubstr(
            "python3 -c 'import torch; from safetensors.torch import save_file; "
            "save_file({k: v.clone() for k, v in torch.load(\"net.pt\", map_location=\"cpu\").items()}, "
            "\"net.safetensors\")'"));
  }
  EXPECT_THAT(refusal("\x93NUMPY and so on"), HasSubstr(".npy"));
}

TEST_F(SafeTensorsFile, EveryTruncationIsRefused) {
  write_safetensors(folder_ / "whole", sample());
  const std::string whole = common::read_file(folder_ / "whole");
  for (std::size_t length = 0; length < whole.size(); ++length) {
    const auto file = write(whole.substr(0, length));
    EXPECT_THROW(read_safetensors(file), common::InputError) << length << " of " << whole.size() << " bytes";
  }
  EXPECT_THAT(refusal(whole + "x"), HasSubstr("1 bytes at the end belong to no tensor"));
}

// Whatever bytes change, a file is read or refused; nothing else may be thrown and (under a sanitizer)
// touched.
TEST_F(SafeTensorsFile, ChangedBytesAreReadOrRefused) {
  write_safetensors(folder_ / "whole", sample());
  const std::string whole = common::read_file(folder_ / "whole");
  common::RandomStream random(1, "test-mutations");
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = whole;
    for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
      // Mostly digits and brackets of the header, now and then anything.
      char& byte = bytes[random.below(random.below(4) == 0 ? bytes.size() : bytes.size() - 60)];
      byte =
          random.below(2) == 0 ? static_cast<char>('0' + random.below(10)) : static_cast<char>(random.next());
    }
    const auto file = folder_ / "w.safetensors";
    std::ofstream(file, std::ios::binary) << bytes;
    try {
      read_safetensors(file);
    } catch (const common::InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_LT(refused, 1000);
}

TEST_F(SafeTensorsFile, RefusesDamagedHeaders) {
  const auto entry = [](const std::string& name, const std::string& shape, int begin, int end) {
    return "\"" + name + R"(":{"dtype":"U8","shape":)" + shape + R"(,"data_offsets":[)" +
           std::to_string(begin) + "," + std::to_string(end) + "]}";
  };
  EXPECT_THAT(
      refusal(with_header("{" + entry("a", "[4]", 0, 4) + "," + entry("b", "[4]", 2, 6) + "}", "123456")),
      HasSubstr("'b' overlaps"));
  EXPECT_THAT(
      refusal(with_header("{" + entry("a", "[2]", 0, 2) + "," + entry("b", "[2]", 4, 6) + "}", "123456")),
      HasSubstr("2 bytes before tensor 'b' belong to no tensor"));
  EXPECT_THAT(
      refusal(with_header("{" + entry("a", "[2]", 0, 2) + "," + entry("a", "[2]", 2, 4) + "}", "1234")),
      HasSubstr("names 'a' twice"));
  EXPECT_THAT(refusal(with_header("{" + entry("a", "[3]", 0, 2) + "}", "12")),
              HasSubstr("does not fill its 2 bytes"));
  EXPECT_THAT(refusal(with_header("{" + entry("a", "[2]", 2, 0) + "}", "12")),
              HasSubstr("lies at bytes 2 to 0 of 2"));
  EXPECT_THAT(refusal(with_header("{" + entry("a", "[9]", 0, 9) + "}", "12")), HasSubstr("truncated"));
  EXPECT_THAT(refusal(with_header("{" + entry("a", "[-2]", 0, 2) + "}", "12")), HasSubstr("needs a dtype"));
  EXPECT_THAT(refusal(with_header("{" + entry("a", "[4294967296,4294967296]", 0, 0) + "}", "")),
              HasSubstr("does not fill"));
  EXPECT_THAT(refusal(with_header(R"({"a":{"dtype":"C64","shape":[1],"data_offsets":[0,8]}})", "12345678")),
              HasSubstr("dtype C64; F64, F32"));
  EXPECT_THAT(refusal(with_header(R"({"__metadata__":{"a":1}})", "")), HasSubstr("metadata 'a'"));
  EXPECT_THAT(refusal(with_header("{\"a\":", "")), HasSubstr("not JSON"));
  EXPECT_THAT(refusal(with_header("[1, 2]", "")), HasSubstr("not a .safetensors file"));
  EXPECT_THAT(refusal("0123456789 plain text"), HasSubstr("not a .safetensors file"));
}

TEST_F(SafeTensorsFile, ParametersAreFiniteFloats) {
  SafeTensors content;
  content.tensors.emplace("bn.num_batches_tracked", Tensor<std::int64_t>({}, {9}));
  content.tensors.emplace("fc.bias", Tensor<double>({1}, {0.5}));
  content.tensors.emplace("fc.weight", Tensor<float>({1, 2}, {1, 2}));
  write_safetensors(folder_ / "w.safetensors", content);
  EXPECT_EQ(read_parameters(folder_ / "w.safetensors"),
            (Parameters{{"fc.bias", {{1}, {0.5f}}}, {"fc.weight", {{1, 2}, {1, 2}}}}));

  content.tensors.emplace("q", Tensor<std::int8_t>({1}, {1}));
  content.tensors["fc.weight"] = Tensor<float>({1, 2}, {1, std::nanf("")});
  write_safetensors(folder_ / "w.safetensors", content);
  const std::string text = input_error([&] { read_parameters(folder_ / "w.safetensors"); });
  EXPECT_THAT(text, HasSubstr("tensor 'q' holds integers"));
  EXPECT_THAT(text, HasSubstr("tensor 'fc.weight' holds nan at index 1"));
}

TEST_F(SafeTensorsFile, ParametersRoundTrip) {
  const Parameters parameters = {{"fc.bias", {{2}, {0.5f, 1}}}, {"fc.weight", {{2, 1}, {1, 2}}}};
  write_parameters(folder_ / "w.safetensors", parameters, {{"network", "x"}});
  EXPECT_EQ(read_parameters(folder_ / "w.safetensors"), parameters);
  EXPECT_EQ(read_safetensors(folder_ / "w.safetensors").metadata.at("network"), "x");
}

}  // namespace
}  // namespace kintsugi::workloads
