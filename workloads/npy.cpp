#include "workloads/npy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cstring>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "common/diagnostics.h"
#include "common/files.h"
#include "common/text.h"

namespace kintsugi::workloads {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian and read in place");

constexpr std::string_view kMagic = "\x93NUMPY";
constexpr std::size_t kLongestHeader = 1 << 16;

// NumPy's name of T ("int32") and its code in a header ("<i4").
template <class T>
std::string dtype_name() {
  const char* kind = std::is_floating_point_v<T> ? "float" : std::is_signed_v<T> ? "int" : "uint";
  return fmt::format("{}{}", kind, 8 * sizeof(T));
}

template <class T>
std::string dtype_code() {
  const char kind = std::is_floating_point_v<T> ? 'f' : std::is_signed_v<T> ? 'i' : 'u';
  return fmt::format("{}{}{}", sizeof(T) == 1 ? '|' : '<', kind, sizeof(T));
}

struct Header {
  std::string descr;  // "<i4"; for a structured dtype its whole text
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

// The header's Python literal: a dictionary with exactly descr, fortran_order and shape.
class LiteralParser {
 public:
  explicit LiteralParser(std::string_view text) : text_(text) {}

  std::optional<Header> parse() {
    Header header;
    bool descr = false, order = false, shape = false;
    if (!take('{')) return std::nullopt;
    while (!take('}')) {
      const auto key = string();
      if (!key || !take(':')) return std::nullopt;
      bool* seen = *key == "descr"           ? &descr
                   : *key == "fortran_order" ? &order
                   : *key == "shape"         ? &shape
                                             : nullptr;
      if (seen == nullptr || *seen) return std::nullopt;
      *seen = true;
      if (seen == &descr && !read_descr(header.descr)) return std::nullopt;
      if (seen == &order && !read_boolean(header.fortran_order)) return std::nullopt;
      if (seen == &shape && !read_shape(header.shape)) return std::nullopt;
      if (!take(',') && !(peek() == '}')) return std::nullopt;
    }
    skip();
    if (at_ != text_.size() || !descr || !order || !shape) return std::nullopt;
    return header;
  }

 private:
  void skip() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\n')) ++at_;
  }
  char peek() {
    skip();
    return at_ < text_.size() ? text_[at_] : '\0';
  }
  bool take(char c) {
    if (peek() != c) return false;
    ++at_;
    return true;
  }
  bool take_word(std::string_view word) {
    skip();
    if (text_.substr(at_, word.size()) != word) return false;
    at_ += word.size();
    return true;
  }
  std::optional<std::string> string() {
    const char quote = peek();
    if (quote != '\'' && quote != '"') return std::nullopt;
    const std::size_t end = text_.find(quote, at_ + 1);
    if (end == std::string_view::npos) return std::nullopt;
    std::string value(text_.substr(at_ + 1, end - at_ - 1));
    at_ = end + 1;
    return value;
  }
  bool read_descr(std::string& descr) {
    if (peek() == '[') {  // structured: kept as text for the message
      const std::size_t end = text_.find(']', at_);
      if (end == std::string_view::npos) return false;
      descr = std::string(text_.substr(at_, end + 1 - at_));
      at_ = end + 1;
      return true;
    }
    const auto value = string();
    if (value) descr = *value;
    return value.has_value();
  }
  bool read_boolean(bool& value) {
    value = take_word("True");
    return value || take_word("False");
  }
  bool read_shape(std::vector<std::int64_t>& shape) {
    if (!take('(')) return false;
    while (!take(')')) {
      skip();
      std::size_t end = at_;
      while (end < text_.size() && std::isdigit(static_cast<unsigned char>(text_[end]))) ++end;
      const auto value = common::parse_integer(text_.substr(at_, end - at_));
      if (!value) return false;
      shape.push_back(*value);
      at_ = end;
      if (!take(',') && peek() != ')') return false;
    }
    return true;
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

// An .npy file whose header has been read and agrees with the file's length.
class NpyFile {
 public:
  explicit NpyFile(const std::filesystem::path& path) : path_(path) {
    std::error_code code;
    if (std::filesystem::is_directory(path, code)) fail("is a folder, not an .npy file");
    stream_.open(path, std::ios::binary);
    if (!stream_) fail("cannot open the file; check that it exists and may be read");
    stream_.seekg(0, std::ios::end);
    length_ = static_cast<std::uint64_t>(stream_.tellg());
    stream_.seekg(0);
    read_header();
  }

  const Header& header() const { return header_; }

  [[noreturn]] void fail(const std::string& message) const {
    throw common::InputError({path_.string()}, message);
  }

  template <class T>
  bool holds() const {
    return same_descr(header_.descr, dtype_code<T>());
  }

  // Number of values of a type that the caller has checked; refused if the file does not hold them.
  template <class T>
  std::size_t count() const {
    if (header_.fortran_order)
      fail(
          fmt::format("the array is in Fortran order, C order is needed; save it with "
                      "np.save(\"{0}\", np.ascontiguousarray(np.load(\"{0}\")))",
                      path_.filename().string()));
    std::uint64_t count = 1;
    for (const std::int64_t d : header_.shape) {
      const auto size = static_cast<std::uint64_t>(d);
      if (size != 0 && count > length_ / size && count != 0)
        count = length_ + 1;  // cannot fit; avoids overflow
      else
        count *= size;
    }
    const std::uint64_t have = length_ - data_begin_;
    if (count > have / sizeof(T) || count * sizeof(T) != have)
      fail(fmt::format(
          "the header announces {} values of {} bytes, but {} bytes follow it; the file is damaged or "
          "truncated",
          shape_text(), sizeof(T), have));
    return count;
  }

  template <class T>
  std::vector<T> values() {
    std::vector<T> values(count<T>());
    stream_.read(reinterpret_cast<char*>(values.data()),
                 static_cast<std::streamsize>(values.size() * sizeof(T)));
    if (!stream_) fail("cannot read the file to its end");
    return values;
  }

  Pixels mapped() const { return Pixels::map(path_, data_begin_, count<std::uint8_t>()); }

  [[noreturn]] void wrong_dtype(const std::string& needed, const std::string& numpy_type) const {
    fail(fmt::format(
        "holds {0}, {1} is needed; convert it with np.save(\"{2}\", np.load(\"{2}\").astype({3}))",
        dtype_text(), needed, path_.filename().string(), numpy_type));
  }

 private:
  static bool same_descr(std::string_view found, std::string_view wanted) {
    // One-byte types have no byte order; NumPy writes '|', other writers '<'.
    return found == wanted ||
           (wanted[0] == '|' && (found[0] == '<' || found[0] == '>') && found.substr(1) == wanted.substr(1));
  }

  std::string shape_text() const {
    std::string text;
    for (const std::int64_t d : header_.shape) text += fmt::format("{}{}", text.empty() ? "" : "×", d);
    return text.empty() ? "1" : text;
  }

  std::string dtype_text() const {
    std::string text = fmt::format("dtype '{}'", header_.descr);
    const auto add = [&]<class T>(T) {
      const std::string plain = dtype_code<T>();
      if (header_.descr.size() < 2 ||
          std::string_view(header_.descr).substr(1) != std::string_view(plain).substr(1))
        return;
      text = header_.descr[0] == '>' && plain[0] == '<' ? fmt::format("big-endian {}", dtype_name<T>())
                                                        : dtype_name<T>();
    };
    add(std::int8_t{}), add(std::uint8_t{}), add(std::int16_t{}), add(std::uint16_t{}), add(std::int32_t{});
    add(std::uint32_t{}), add(std::int64_t{}), add(std::uint64_t{}), add(float{}), add(double{});
    if (header_.descr.substr(1) == "b1") text = "bool";
    if (header_.descr.substr(1) == "f2") text = "float16";
    return text;
  }

  void read_header() {
    std::array<char, 12> start{};
    stream_.read(start.data(), static_cast<std::streamsize>(std::min<std::uint64_t>(length_, start.size())));
    const std::string_view bytes(start.data(),
                                 static_cast<std::size_t>(std::min<std::uint64_t>(length_, 12)));
    if (bytes.starts_with("PK"))
      fail(fmt::format(
          "this is an .npz or zip archive, not an .npy file; save the one array with np.save(\"x.npy\", "
          "np.load(\"{}\")[\"name\"])",
          path_.filename().string()));
    if (!bytes.starts_with(kMagic))
      fail(
          "this is not an .npy file (it does not start with \\x93NUMPY); write it with np.save(\"x.npy\", "
          "array)");
    if (bytes.size() < 10) fail("the file ends inside its header; it is truncated");
    const int major = static_cast<unsigned char>(bytes[6]);
    if (major < 1 || major > 3)
      fail(fmt::format("format version {} is not known; 1 to 3 can be read", major));
    std::uint32_t size = 0;
    const std::size_t size_bytes = major == 1 ? 2 : 4;
    if (bytes.size() < 8 + size_bytes) fail("the file ends inside its header; it is truncated");
    std::memcpy(&size, bytes.data() + 8, size_bytes);
    data_begin_ = 8 + size_bytes + size;
    if (data_begin_ > length_) fail("the file ends inside its header; it is truncated");
    if (size > kLongestHeader) fail(fmt::format("a header of {} bytes; the file is damaged", size));
    std::string text(size, '\0');
    stream_.clear();
    stream_.seekg(static_cast<std::streamoff>(8 + size_bytes));
    stream_.read(text.data(), size);
    const auto header = LiteralParser(text).parse();
    if (!header || header->descr.size() < 2)
      fail("the header cannot be understood; the file is damaged, write it again with np.save");
    header_ = *header;
    stream_.seekg(static_cast<std::streamoff>(data_begin_));
  }

  std::filesystem::path path_;
  std::ifstream stream_;
  std::uint64_t length_ = 0;
  std::uint64_t data_begin_ = 0;
  Header header_;
};

template <class T>
Tensor<std::int32_t> labels_of(NpyFile& file) {
  const std::vector<T> values = file.values<T>();
  Tensor<std::int32_t> labels({static_cast<std::int64_t>(values.size())});
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::in_range<std::int32_t>(values[i]) || values[i] < 0)
      file.fail(fmt::format("label {} (of image {}) is outside 0 … 2147483647", values[i], i));
    labels.data[i] = static_cast<std::int32_t>(values[i]);
  }
  return labels;
}

}  // namespace

template <class T>
Tensor<T> read_npy(const std::filesystem::path& path) {
  NpyFile file(path);
  if (!file.holds<T>()) file.wrong_dtype(dtype_name<T>(), fmt::format("np.{}", dtype_name<T>()));
  std::vector<T> values = file.values<T>();
  return Tensor<T>(file.header().shape, std::move(values));
}

MappedNpy map_npy(const std::filesystem::path& path) {
  const NpyFile file(path);
  if (!file.holds<std::uint8_t>()) file.wrong_dtype("uint8", "np.uint8");
  return {file.header().shape, file.mapped()};
}

Tensor<std::int32_t> read_npy_labels(const std::filesystem::path& path) {
  NpyFile file(path);
  std::optional<Tensor<std::int32_t>> labels;
  const auto attempt = [&]<class T>(T) {
    if (!labels && file.holds<T>() && file.header().shape.size() == 1) labels = labels_of<T>(file);
  };
  const std::size_t rank = file.header().shape.size();
  if (rank != 1)
    file.fail(
        fmt::format("labels must be a list (rank 1), this array has rank {}; one-hot rows become labels with "
                    "array.argmax(axis=1)",
                    rank));
  attempt(std::int8_t{}), attempt(std::uint8_t{}), attempt(std::int16_t{}), attempt(std::uint16_t{});
  attempt(std::int32_t{}), attempt(std::uint32_t{}), attempt(std::int64_t{}), attempt(std::uint64_t{});
  if (!labels) file.wrong_dtype("an integer type for labels", "np.int64");
  return *labels;
}

template <class T>
void write_npy(const std::filesystem::path& file, const Tensor<T>& tensor) {
  std::string shape;
  for (const std::int64_t d : tensor.shape) shape += fmt::format("{}{}", shape.empty() ? "" : ", ", d);
  if (tensor.shape.size() == 1) shape += ',';
  std::string header =
      fmt::format("{{'descr': '{}', 'fortran_order': False, 'shape': ({}), }}", dtype_code<T>(), shape);
  // As NumPy does: the data starts at a multiple of 64 bytes, behind a line break.
  constexpr std::size_t kPrefix = 10;
  header.append(63 - (kPrefix + header.size()) % 64, ' ');
  header += '\n';
  std::string bytes(kMagic);
  bytes += '\x01';
  bytes += '\x00';
  bytes += static_cast<char>(header.size() & 0xff);
  bytes += static_cast<char>(header.size() >> 8);
  bytes += header;
  bytes.append(reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size() * sizeof(T));
  common::write_file_atomic(file, bytes);
}

template Tensor<std::int8_t> read_npy(const std::filesystem::path&);
template Tensor<std::uint8_t> read_npy(const std::filesystem::path&);
template Tensor<std::int32_t> read_npy(const std::filesystem::path&);
template Tensor<std::int64_t> read_npy(const std::filesystem::path&);
template Tensor<float> read_npy(const std::filesystem::path&);
template Tensor<double> read_npy(const std::filesystem::path&);
template void write_npy(const std::filesystem::path&, const Tensor<std::int8_t>&);
template void write_npy(const std::filesystem::path&, const Tensor<std::uint8_t>&);
template void write_npy(const std::filesystem::path&, const Tensor<std::int32_t>&);
template void write_npy(const std::filesystem::path&, const Tensor<std::int64_t>&);
template void write_npy(const std::filesystem::path&, const Tensor<float>&);
template void write_npy(const std::filesystem::path&, const Tensor<double>&);

}  // namespace kintsugi::workloads
