// .npy files: the bytes NumPy writes are read back, what it would write is written, the rest is refused.
#include "workloads/npy.h"

#include <gmock/gmock.h>

#include <fstream>

#include "common/files.h"
#include "common/random.h"
#include "tests/support/input_error.h"
#include "tests/support/temporary_folder.h"

namespace kintsugi::workloads {
namespace {

using test::input_error;
using testing::HasSubstr;

// A file as NumPy writes it, but for the dictionary and the data given.
std::string npy_bytes(const std::string& dictionary, const std::string& data, char major = 1) {
  std::string header = dictionary + "\n";
  std::string bytes = "\x93NUMPY";
  bytes += major;
  bytes += '\0';
  bytes += static_cast<char>(header.size());
  bytes += '\0';
  if (major > 1) bytes += std::string(2, '\0');
  return bytes + header + data;
}

class Npy : public testing::Test {
 protected:
  std::filesystem::path write(const std::string& bytes) {
    common::write_file_atomic(folder_ / "x.npy", bytes);
    return folder_ / "x.npy";
  }
  template <class T>
  std::string refusal(const std::string& bytes) {
    const auto file = write(bytes);
    const std::string text = input_error([&] { read_npy<T>(file); });
    EXPECT_THAT(text, HasSubstr("x.npy: error: "));
    return text;
  }
  test::TemporaryFolder folder_;
};

TEST_F(Npy, WritesTheBytesNumpyWrites) {
  // np.save of np.array([[1, -2, 3], [4, 5, -6]], dtype=np.int32)
  std::string expected = "\x93NUMPY";
  expected += std::string("\x01\x00\x76\x00", 4);
  expected += "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";
  expected.resize(127, ' ');
  expected += '\n';
  for (const int value : {1, -2, 3, 4, 5, -6}) expected.append(reinterpret_cast<const char*>(&value), 4);
  write_npy(folder_ / "x.npy", Tensor<std::int32_t>({2, 3}, {1, -2, 3, 4, 5, -6}));
  EXPECT_EQ(common::read_file(folder_ / "x.npy"), expected);
}

TEST_F(Npy, ReadsBackEveryType) {
  const auto check = [&]<class T>(T) {
    for (const std::vector<std::int64_t>& shape : {std::vector<std::int64_t>{3}, {}, {2, 0, 4}, {2, 1, 3}}) {
      Tensor<T> tensor(shape);
      for (std::size_t i = 0; i < tensor.data.size(); ++i) tensor.data[i] = static_cast<T>(7 * i + 1);
      write_npy(folder_ / "t.npy", tensor);
      EXPECT_EQ(read_npy<T>(folder_ / "t.npy"), tensor);
    }
  };
  check(std::int8_t{}), check(std::uint8_t{}), check(std::int32_t{}), check(std::int64_t{});
  check(float{}), check(double{});
}

TEST_F(Npy, ReadsOtherSpellingsOfTheHeader) {
  const Tensor<std::int8_t> expected({2}, {1, 2});
  for (const char major : {'\1', '\2', '\3'})
    EXPECT_EQ(read_npy<std::int8_t>(write(
                  npy_bytes("{\"shape\":(2,),'fortran_order':False,'descr':'<i1'}", "\x01\x02", major))),
              expected);
}

TEST_F(Npy, RefusesTheWrongTypeWithTheLineThatConverts) {
  const std::string text =
      refusal<std::int8_t>(npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "1234"));
  EXPECT_THAT(text, HasSubstr("holds float32, int8 is needed; convert it with "
                              "np.save(\"x.npy\", np.load(\"x.npy\").astype(np.int8))"));
  EXPECT_THAT(
      refusal<std::int32_t>(npy_bytes("{'descr': '>i4', 'fortran_order': False, 'shape': (1,), }", "1234")),
      HasSubstr("big-endian int32"));
  EXPECT_THAT(
      refusal<std::uint8_t>(npy_bytes("{'descr': '|b1', 'fortran_order': False, 'shape': (1,), }", "1")),
      HasSubstr("holds bool, uint8 is needed"));
  EXPECT_THAT(
      refusal<float>(npy_bytes("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", "1234")),
      HasSubstr("[('a', '<f4')]"));
}

TEST_F(Npy, RefusesFortranOrder) {
  EXPECT_THAT(
      refusal<std::int8_t>(npy_bytes("{'descr': '|i1', 'fortran_order': True, 'shape': (1, 2), }", "12")),
      HasSubstr("np.ascontiguousarray"));
}

TEST_F(Npy, RefusesWrongLengths) {
  const std::string header = "{'descr': '<i4', 'fortran_order': False, 'shape': (2, 3), }";
  EXPECT_THAT(refusal<std::int32_t>(npy_bytes(header, std::string(23, '1'))),
              HasSubstr("damaged or truncated"));
  EXPECT_THAT(refusal<std::int32_t>(npy_bytes(header, std::string(25, '1'))),
              HasSubstr("2×3 values of 4 bytes, but 25"));
  const std::string huge = "{'descr': '<i4', 'fortran_order': False, 'shape': (4294967296, 4294967296), }";
  EXPECT_THAT(refusal<std::int32_t>(npy_bytes(huge, "")), HasSubstr("damaged or truncated"));
}

TEST_F(Npy, EveryTruncationIsRefused) {
  const std::string whole =
      npy_bytes("{'descr': '<i4', 'fortran_order': False, 'shape': (2,), }", "12345678");
  ASSERT_NO_THROW(read_npy<std::int32_t>(write(whole)));
  for (std::size_t length = 0; length < whole.size(); ++length) {
    write(whole.substr(0, length));
    EXPECT_THROW(read_npy<std::int32_t>(folder_ / "x.npy"), common::InputError) << length << " bytes";
  }
}

TEST_F(Npy, RefusesWhatIsNoNpyFile) {
  EXPECT_THAT(refusal<float>("PK\x03\x04 and so on, a zip"), HasSubstr("an .npz or zip archive"));
  EXPECT_THAT(refusal<float>("label,pixel\n1,2,3,4,5,6\n"), HasSubstr("not an .npy file"));
  EXPECT_THAT(refusal<float>(npy_bytes("{}", "", 9)), HasSubstr("format version 9"));
  for (const char* header :
       {"{'descr': '<f4', 'shape': (1,), }", "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }", "",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'x': 1}",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1,) } trailing",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,)}"})
    EXPECT_THAT(refusal<float>(npy_bytes(header, "1234")), HasSubstr("cannot be understood")) << header;
  EXPECT_THAT(input_error([&] { read_npy<float>(folder_ / "none.npy"); }), HasSubstr("cannot open"));
  EXPECT_THAT(input_error([&] { read_npy<float>(folder_.path()); }), HasSubstr("is a folder"));
}

// Whatever bytes change, a file is read or refused; nothing else may be thrown and (under a sanitizer)
// touched.
TEST_F(Npy, ChangedBytesAreReadOrRefused) {
  const std::string whole =
      npy_bytes("{'descr': '<i4', 'fortran_order': False, 'shape': (2, 1), }", "12345678");
  common::RandomStream random(1, "test-mutations");
  int refused = 0;
  for (int i = 0; i < 1000; ++i) {
    std::string bytes = whole;
    for (std::uint64_t changes = 1 + random.below(2); changes > 0; --changes) {
      char& byte = bytes[random.below(bytes.size())];
      byte =
          random.below(2) == 0 ? static_cast<char>('0' + random.below(10)) : static_cast<char>(random.next());
    }
    const auto file = folder_ / "x.npy";
    std::ofstream(file, std::ios::binary) << bytes;
    try {
      read_npy<std::int32_t>(file);
    } catch (const common::InputError&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_LT(refused, 1000);
}

TEST_F(Npy, LabelsOfAnyIntegerType) {
  const Tensor<std::int32_t> expected({3}, {3, 0, 9});
  const auto check = [&]<class T>(T, const char* descr) {
    std::string data;
    for (const T value : {T{3}, T{0}, T{9}}) data.append(reinterpret_cast<const char*>(&value), sizeof(T));
    const std::string header =
        std::string("{'descr': '") + descr + "', 'fortran_order': False, 'shape': (3,), }";
    EXPECT_EQ(read_npy_labels(write(npy_bytes(header, data))), expected) << descr;
  };
  check(std::int8_t{}, "|i1"), check(std::uint8_t{}, "|u1"), check(std::int16_t{}, "<i2");
  check(std::uint16_t{}, "<u2"), check(std::int32_t{}, "<i4"), check(std::uint32_t{}, "<u4");
  check(std::int64_t{}, "<i8"), check(std::uint64_t{}, "<u8");
}

TEST_F(Npy, RefusesLabelsThatAreNone) {
  const auto labels = [&](const std::string& bytes) {
    const auto file = write(bytes);
    return input_error([&] { read_npy_labels(file); });
  };
  EXPECT_THAT(labels(npy_bytes("{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }", "\x01\xff")),
              HasSubstr("label -1 (of image 1)"));
  EXPECT_THAT(labels(npy_bytes("{'descr': '<i8', 'fortran_order': False, 'shape': (1,), }",
                               std::string("\x00\x00\x00\x80\x00\x00\x00\x00", 8))),
              HasSubstr("label 2147483648"));
  EXPECT_THAT(labels(npy_bytes("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }", "1234")),
              HasSubstr("holds float32, an integer type for labels is needed"));
  EXPECT_THAT(labels(npy_bytes("{'descr': '|i1', 'fortran_order': False, 'shape': (1, 2), }", "12")),
              HasSubstr("argmax"));
}

}  // namespace
}  // namespace kintsugi::workloads
