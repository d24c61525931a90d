#include "workloads/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <type_traits>
#include <vector>

#include "common/diagnostics.h"
#include "common/files.h"

namespace kintsugi::workloads {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor files are little-endian and read in place");

using Json = nlohmann::json;

constexpr std::uint64_t kLongestHeader = 100'000'000;  // the limit of the format's own library

template <class T>
const char* dtype_code() {
  if constexpr (std::is_same_v<T, float>) return "F32";
  if constexpr (std::is_same_v<T, double>) return "F64";
  if constexpr (std::is_same_v<T, std::int8_t>) return "I8";
  if constexpr (std::is_same_v<T, std::uint8_t>) return "U8";
  if constexpr (std::is_same_v<T, std::int32_t>) return "I32";
  if constexpr (std::is_same_v<T, std::int64_t>) return "I64";
}

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& message) {
  throw common::InputError({file.string()}, message);
}

// What people have instead of a safetensors file, by its first bytes.
void refuse_other_formats(const std::filesystem::path& file, std::string_view bytes) {
  const bool zip = bytes.starts_with("PK\x03\x04");
  // A header of 640, 896, … bytes starts like a pickle; but its JSON begins at byte 8.
  const bool header = bytes.size() > 8 && bytes[8] == '{';
  const bool pickle = bytes.size() >= 2 && bytes[0] == '\x80' && bytes[1] >= 2 && bytes[1] <= 5 && !header;
  if (zip || pickle) {
    std::filesystem::path out = file.filename();
    out.replace_extension(".safetensors");
    fail(file,
         fmt::format(
             "this is a PyTorch or other Python archive, not a .safetensors file; save its weights with\n"
             "  python3 -c 'import torch; from safetensors.torch import save_file; "
             "save_file({{k: v.clone() for k, v in torch.load(\"{}\", map_location=\"cpu\").items()}}, "
             "\"{}\")'",
             file.filename().string(), out.string()));
  }
  if (bytes.starts_with("\x93NUMPY"))
    fail(file,
         "this is an .npy file, which holds one tensor without a name; weights must be a .safetensors file");
  if (bytes.starts_with("\x89HDF"))
    fail(file, "this is an HDF5 file; weights must be a .safetensors file with PyTorch's state_dict names");
}

struct Entry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0, end = 0;  // bytes behind the header
};

std::uint64_t element_size(const std::string& dtype) {
  if (dtype == "I8" || dtype == "U8") return 1;
  if (dtype == "F16" || dtype == "BF16") return 2;
  if (dtype == "F32" || dtype == "I32") return 4;
  if (dtype == "F64" || dtype == "I64") return 8;
  return 0;
}

class Reader {
 public:
  explicit Reader(const std::filesystem::path& file) : file_(file), bytes_(common::read_file(file)) {}

  SafeTensors read() {
    read_header();
    check_layout();
    SafeTensors content;
    content.metadata = std::move(metadata_);
    for (const Entry& entry : entries_) content.tensors.emplace(entry.name, value_of(entry));
    return content;
  }

 private:
  void read_header() {
    refuse_other_formats(file_, bytes_);
    std::uint64_t size = 0;
    if (bytes_.size() < 8)
      fail(file_, "the file is too short for a .safetensors file; it is damaged or truncated");
    std::memcpy(&size, bytes_.data(), 8);
    if (size > kLongestHeader || (bytes_.size() > 8 && bytes_[8] != '{'))
      fail(file_,
           "this is not a .safetensors file; write one with safetensors.torch.save_file(state_dict, path)");
    if (size > bytes_.size() - 8) fail(file_, "the file ends inside its header; it is damaged or truncated");
    data_begin_ = 8 + size;

    // nlohmann::json would keep the last of two equal keys; two tensors of one name are a damaged file.
    std::vector<std::set<std::string>> keys;
    std::string twice;
    const auto watch = [&](int, Json::parse_event_t event, Json& parsed) {
      if (event == Json::parse_event_t::object_start) keys.emplace_back();
      if (event == Json::parse_event_t::object_end) keys.pop_back();
      if (event == Json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
        twice = parsed.get<std::string>();
      return true;
    };
    Json header;
    try {
      header =
          Json::parse(bytes_.begin() + 8, bytes_.begin() + static_cast<std::ptrdiff_t>(data_begin_), watch);
    } catch (const Json::exception&) {
      fail(file_, "the header is not JSON; the file is damaged");
    }
    if (!twice.empty()) fail(file_, fmt::format("the header names '{}' twice; the file is damaged", twice));
    if (!header.is_object()) fail(file_, "the header is not a JSON object; the file is damaged");
    for (const auto& [name, value] : header.items()) {
      if (name == "__metadata__")
        read_metadata(value);
      else
        read_entry(name, value);
    }
  }

  void read_metadata(const Json& value) {
    if (!value.is_object()) fail(file_, "'__metadata__' is not a table of texts; the file is damaged");
    for (const auto& [key, text] : value.items()) {
      if (!text.is_string())
        fail(file_, fmt::format("metadata '{}' is not a text; the file is damaged", key));
      metadata_[key] = text.get<std::string>();
    }
  }

  void read_entry(const std::string& name, const Json& value) {
    const auto whole_numbers = [](const Json& list) {
      return list.is_array() &&
             std::all_of(list.begin(), list.end(), [](const Json& v) { return v.is_number_unsigned(); });
    };
    if (!value.is_object() || !value.contains("dtype") || !value["dtype"].is_string() ||
        !value.contains("shape") || !whole_numbers(value["shape"]) || !value.contains("data_offsets") ||
        !whole_numbers(value["data_offsets"]) || value["data_offsets"].size() != 2)
      fail(file_,
           fmt::format(
               "the header's entry of tensor '{}' needs a dtype, a shape and two data_offsets; the file "
               "is damaged",
               name));
    Entry entry;
    entry.name = name;
    entry.dtype = value["dtype"].get<std::string>();
    entry.begin = value["data_offsets"][0].get<std::uint64_t>();
    entry.end = value["data_offsets"][1].get<std::uint64_t>();
    const std::uint64_t size = element_size(entry.dtype);
    if (size == 0)
      fail(file_,
           fmt::format("tensor '{}' has dtype {}; F64, F32, F16, BF16, I64, I32, I8 and U8 can be read. "
                       "Convert it in PyTorch, for example with .to(torch.float32)",
                       name, entry.dtype));
    const std::uint64_t data = bytes_.size() - data_begin_;
    if (entry.begin > entry.end || entry.end > data)
      fail(file_, fmt::format("tensor '{}' lies at bytes {} to {} of {}; the file is damaged or truncated",
                              name, entry.begin, entry.end, data));
    std::uint64_t bytes = size;
    for (const Json& d : value["shape"]) {
      const auto n = d.get<std::uint64_t>();
      // No factor may carry the product past the file's length, so nothing overflows.
      bytes = n != 0 && bytes > data / n ? data + 1 : bytes * n;
      entry.shape.push_back(static_cast<std::int64_t>(n));
    }
    if (bytes != entry.end - entry.begin)
      fail(file_,
           fmt::format("tensor '{}' of shape {} and dtype {} does not fill its {} bytes; the file is damaged",
                       name, value["shape"].dump(), entry.dtype, entry.end - entry.begin));
    entries_.push_back(std::move(entry));
  }

  void check_layout() {
    std::sort(entries_.begin(), entries_.end(), [](const Entry& a, const Entry& b) {
      return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
    });
    std::uint64_t at = 0;
    for (const Entry& entry : entries_) {
      if (entry.begin < at)
        fail(file_, fmt::format("tensor '{}' overlaps another one; the file is damaged", entry.name));
      if (entry.begin > at)
        fail(file_, fmt::format("{} bytes before tensor '{}' belong to no tensor; the file is damaged",
                                entry.begin - at, entry.name));
      at = entry.end;
    }
    if (at != bytes_.size() - data_begin_)
      fail(file_, fmt::format("{} bytes at the end belong to no tensor; the file is damaged",
                              bytes_.size() - data_begin_ - at));
  }

  template <class T>
  Tensor<T> copy(const Entry& entry) const {
    Tensor<T> tensor(entry.shape, std::vector<T>((entry.end - entry.begin) / sizeof(T)));
    if (entry.end > entry.begin)
      std::memcpy(tensor.data.data(), bytes_.data() + data_begin_ + entry.begin, entry.end - entry.begin);
    return tensor;
  }

  template <class Convert>
  Tensor<float> widen(const Entry& entry, Convert convert) const {
    const Tensor<std::uint16_t> halves = copy<std::uint16_t>(entry);
    Tensor<float> tensor(entry.shape, std::vector<float>(halves.data.size()));
    std::transform(halves.data.begin(), halves.data.end(), tensor.data.begin(), convert);
    return tensor;
  }

  AnyTensor value_of(const Entry& entry) const {
    if (entry.dtype == "F64") return copy<double>(entry);
    if (entry.dtype == "I64") return copy<std::int64_t>(entry);
    if (entry.dtype == "I32") return copy<std::int32_t>(entry);
    if (entry.dtype == "I8") return copy<std::int8_t>(entry);
    if (entry.dtype == "U8") return copy<std::uint8_t>(entry);
    if (entry.dtype == "BF16")
      return widen(entry, [](std::uint16_t h) { return std::bit_cast<float>(std::uint32_t{h} << 16); });
    if (entry.dtype == "F16") return widen(entry, half_to_float);
    return copy<float>(entry);
  }

  static float half_to_float(std::uint16_t half) {
    const int exponent = (half >> 10) & 0x1f;
    const int fraction = half & 0x3ff;
    const float sign = (half & 0x8000) != 0 ? -1.0f : 1.0f;
    if (exponent == 0) return sign * std::ldexp(static_cast<float>(fraction), -24);
    if (exponent == 31) return fraction != 0 ? std::nanf("") : sign * HUGE_VALF;
    return sign * std::ldexp(static_cast<float>(fraction + 1024), exponent - 25);
  }

  std::filesystem::path file_;
  std::string bytes_;
  std::uint64_t data_begin_ = 0;
  std::vector<Entry> entries_;
  std::map<std::string, std::string> metadata_;
};

template <class T>
Tensor<float> narrowed(const Tensor<T>& tensor) {
  return {tensor.shape, std::vector<float>(tensor.data.begin(), tensor.data.end())};
}

}  // namespace

SafeTensors read_safetensors(const std::filesystem::path& file) {
  return Reader(file).read();
}

void write_safetensors(const std::filesystem::path& file, const SafeTensors& content) {
  struct Piece {
    const std::string* name = nullptr;
    const char* dtype = nullptr;
    std::string_view bytes;
    std::size_t element = 0;
    const std::vector<std::int64_t>* shape = nullptr;
  };
  std::vector<Piece> pieces;
  for (const auto& [name, any] : content.tensors)
    std::visit(
        [&, &key = name]<class T>(const Tensor<T>& tensor) {
          pieces.push_back(
              {&key,
               dtype_code<T>(),
               {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size() * sizeof(T)},
               sizeof(T),
               &tensor.shape});
        },
        any);
  // Wide elements first keeps every tensor aligned, which PyTorch's reader relies on.
  std::stable_sort(pieces.begin(), pieces.end(),
                   [](const Piece& a, const Piece& b) { return a.element > b.element; });

  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!content.metadata.empty()) header["__metadata__"] = content.metadata;
  std::uint64_t at = 0;
  for (const Piece& piece : pieces) {
    header[*piece.name] = {
        {"dtype", piece.dtype}, {"shape", *piece.shape}, {"data_offsets", {at, at + piece.bytes.size()}}};
    at += piece.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  const std::uint64_t size = text.size();
  std::string bytes(reinterpret_cast<const char*>(&size), 8);
  bytes.reserve(8 + text.size() + at);
  bytes += text;
  for (const Piece& piece : pieces) bytes += piece.bytes;
  common::write_file_atomic(file, bytes);
}

Parameters read_parameters(const std::filesystem::path& file) {
  const SafeTensors content = read_safetensors(file);
  Parameters parameters;
  common::Diagnostics problems;
  for (const auto& [name, any] : content.tensors) {
    if (name == "num_batches_tracked" || name.ends_with(".num_batches_tracked")) continue;
    if (const auto* values = std::get_if<Tensor<float>>(&any))
      parameters[name] = *values;
    else if (const auto* wide = std::get_if<Tensor<double>>(&any))
      parameters[name] = narrowed(*wide);
    else {
      problems.error({file.string()},
                     fmt::format("tensor '{}' holds integers; weights must be floating-point numbers", name));
      continue;
    }
    const std::vector<float>& data = parameters[name].data;
    const auto bad = std::find_if_not(data.begin(), data.end(), [](float v) { return std::isfinite(v); });
    if (bad != data.end())
      problems.error({file.string()}, fmt::format("tensor '{}' holds {} at index {}; weights must be finite",
                                                  name, *bad, bad - data.begin()));
  }
  problems.throw_if_any();
  return parameters;
}

void write_parameters(const std::filesystem::path& file, const Parameters& parameters,
                      const std::map<std::string, std::string>& metadata) {
  SafeTensors content;
  content.metadata = metadata;
  for (const auto& [name, tensor] : parameters) content.tensors.emplace(name, tensor);
  write_safetensors(file, content);
}

}  // namespace kintsugi::workloads
