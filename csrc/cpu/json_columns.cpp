// Reads JSON into columns in one pass over the text; see ../json_columns.h.
#include "../json_columns.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "../json.h"
#include "../rle_string.h"
#include "memory.h"

namespace detkit {
namespace {

using json::Reader;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

// Numbers added one by one. Their memory grows where it is if the system can do that, and becomes that of a tensor.
template <typename T>
class Array {
 public:
  Array() = default;
  explicit Array(T first) { add(first); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  ~Array() { std::free(data_); }

  int64_t size() const { return size_; }

  void add(T value) {
    if (size_ == capacity_) grow();
    data_[size_++] = value;
  }

  // A tensor (size,), or (size / width, width); there are no numbers left here.
  Tensor release(int64_t width = 0) {
    if (data_ == nullptr) grow();
    std::vector<int64_t> shape{size_}, strides{1};
    if (width > 0) {
      shape = {size_ / width, width};
      strides = {width, 1};
    }
    constexpr ScalarType type = std::is_same_v<T, double> ? ScalarType::Double : ScalarType::Long;
    torch::stable::Device cpu(torch::headeronly::DeviceType::CPU);
    Tensor result = torch::stable::from_blob(data_, shape, strides, cpu, type, &std::free);
    data_ = nullptr;
    size_ = capacity_ = 0;
    return result;
  }

 private:
  static_assert(std::is_same_v<T, double> || std::is_same_v<T, int64_t>);

  void grow() {
    int64_t capacity = std::max<int64_t>(1024, 2 * capacity_);
    void* grown = std::realloc(data_, capacity * sizeof(T));
    if (grown == nullptr) throw std::bad_alloc();
    data_ = static_cast<T*>(grown);
    capacity_ = capacity;
  }

  T* data_ = nullptr;
  int64_t size_ = 0, capacity_ = 0;
};

// The values under one key.
class Column {
 public:
  virtual ~Column() = default;
  virtual void read(Reader& reader) = 0;  // the value of the next object
  virtual void skip() = 0;                // the next object has none
  virtual void finish(std::vector<Tensor>& results) = 0;
};

class KeyColumn : public Column {
 public:
  explicit KeyColumn(const Tensor& text) : begin_(reinterpret_cast<const char*>(text.const_data_ptr<uint8_t>())) {}

  void read(Reader& reader) override {
    std::string_view key = reader.read_key();
    if (2 * keys_.size() >= slots_.size()) grow();
    int64_t& slot = slot_of(key);
    if (slot < 0) {
      slot = keys_.size();
      keys_.push_back(key);
    }
    index_.add(slot);
  }

  void skip() override { throw json::Unexpected("an object lacks the key that others have"); }

  void finish(std::vector<Tensor>& results) override {
    Array<int64_t> places;
    for (std::string_view key : keys_) {
      places.add(key.data() - begin_);
      places.add(key.data() - begin_ + key.size());
    }
    results.push_back(index_.release());
    results.push_back(places.release(2));
  }

 private:
  // Where the number of a key is, or belongs: the first slot from its hash on that holds it or nothing.
  int64_t& slot_of(std::string_view key) {
    size_t at = std::hash<std::string_view>()(key) & (slots_.size() - 1);
    while (slots_[at] >= 0 && keys_[slots_[at]] != key) at = (at + 1) & (slots_.size() - 1);
    return slots_[at];
  }

  void grow() {
    slots_.assign(2 * slots_.size(), -1);
    for (size_t i = 0; i < keys_.size(); ++i) slot_of(keys_[i]) = i;
  }

  const char* begin_;
  std::vector<std::string_view> keys_;                    // the distinct ones
  std::vector<int64_t> slots_ = std::vector<int64_t>(64, -1);  // their numbers, by hash; a power of two
  Array<int64_t> index_;
};

template <double (Reader::*read_value)()>
class NumberColumn : public Column {
 public:
  void read(Reader& reader) override { values_.add((reader.*read_value)()); }
  void skip() override { values_.add(std::numeric_limits<double>::quiet_NaN()); }
  void finish(std::vector<Tensor>& results) override { results.push_back(values_.release()); }

 private:
  Array<double> values_;
};

class NumbersColumn : public Column {
 public:
  void read(Reader& reader) override {
    reader.read_array([&] { values_.add(reader.read_number()); });
    skip();
  }
  void skip() override { offsets_.add(values_.size()); }
  void finish(std::vector<Tensor>& results) override {
    results.push_back(values_.release());
    results.push_back(offsets_.release());
  }

 private:
  Array<double> values_;
  Array<int64_t> offsets_{0};
};

class MaskColumn : public Column {
 public:
  // The characters are written where they stay. No file has more of them than it has bytes.
  explicit MaskColumn(const Tensor& text)
      : characters_(torch::stable::new_empty(text, {text.numel()}, ScalarType::Byte)) {
    prefer_large_pages(characters_.mutable_data_ptr<uint8_t>(), characters_.numel());
  }

  void read(Reader& reader) override {
    int64_t size[] = {0, 0};
    if (reader.is_next('{')) {
      read_run_lengths(reader, size);
    } else {
      reader.read_array([&] { read_polygon(reader); });
    }
    end_object(size);
  }

  void skip() override {
    const int64_t size[] = {0, 0};
    end_object(size);
  }

  void finish(std::vector<Tensor>& results) override {
    results.push_back(corners_.release());
    results.push_back(polygons_.release());
    results.push_back(offsets_.release());
    results.push_back(torch::stable::narrow(characters_, 0, 0, length_));
    results.push_back(strings_.release());
    results.push_back(sizes_.release(2));
  }

 private:
  void end_object(const int64_t* size) {
    offsets_.add(polygons_.size() - 1);
    strings_.add(length_);
    sizes_.add(size[0]);
    sizes_.add(size[1]);
  }

  void read_polygon(Reader& reader) {
    reader.read_array([&] { corners_.add(reader.read_number()); });
    if (corners_.size() % 2 != 0) reader.fail("x and y of each corner of a polygon");
    polygons_.add(corners_.size() / 2);
  }

  void read_run_lengths(Reader& reader, int64_t* size) {
    bool has_size = false, has_counts = false;
    reader.read_object([&](std::string_view key) {
      if (key == "size" && !std::exchange(has_size, true)) {
        read_size(reader, size);
      } else if (key == "counts" && !std::exchange(has_counts, true)) {
        if (reader.is_next('[')) {
          read_counts(reader);
        } else {
          reader.read_string([&](std::string_view part) { append(reader, part); });
        }
      } else if (key == "size" || key == "counts") {
        reader.fail("a key once");
      } else {
        reader.skip_value();
      }
    });
    if (!has_size || !has_counts) reader.fail("a mask with the keys size and counts");
  }

  void read_size(Reader& reader, int64_t* size) {
    int count = 0;
    reader.read_array([&] {
      int64_t side = read_whole(reader, INT32_MAX);
      if (count == 2) reader.fail("height and width");
      size[count++] = side;
    });
    if (count != 2) reader.fail("height and width");
  }

  void read_counts(Reader& reader) {
    runs_.clear();
    reader.read_array([&] { runs_.push_back(static_cast<uint32_t>(read_whole(reader, UINT32_MAX))); });
    compressed_.clear();
    compress(runs_.data(), runs_.size(), compressed_);
    append(reader, compressed_);
  }

  static int64_t read_whole(Reader& reader, int64_t most) {
    double value = reader.read_number();
    if (!(value >= 0 && value <= static_cast<double>(most) && value == std::floor(value))) {
      reader.fail("a whole number that is not negative");
    }
    return static_cast<int64_t>(value);
  }

  void append(Reader& reader, std::string_view part) {
    if (static_cast<int64_t>(part.size()) > characters_.numel() - length_) reader.fail("counts as a file has them");
    std::memcpy(characters_.mutable_data_ptr<uint8_t>() + length_, part.data(), part.size());
    length_ += part.size();
  }

  Array<double> corners_;
  Array<int64_t> polygons_{0}, offsets_{0}, strings_{0}, sizes_;
  Tensor characters_;
  int64_t length_ = 0;  // of the characters
  std::vector<uint32_t> runs_;
  std::string compressed_;
};

std::unique_ptr<Column> make_column(const std::string& kind, const Tensor& text) {
  if (kind == "key") return std::make_unique<KeyColumn>(text);
  if (kind == "number") return std::make_unique<NumberColumn<&Reader::read_number>>();
  if (kind == "flag") return std::make_unique<NumberColumn<&Reader::read_number_or_truth>>();
  if (kind == "numbers") return std::make_unique<NumbersColumn>();
  if (kind == "mask") return std::make_unique<MaskColumn>(text);
  throw std::invalid_argument("there is no kind of column " + kind);
}

// The columns of one list.
class Table {
 public:
  explicit Table(std::string name) : name(std::move(name)) {}

  void add(const std::string& key, Column& column) { fields_.push_back({key, &column, false}); }

  void read(Reader& reader) {
    if (std::exchange(is_read, true)) reader.fail("each list once");
    reader.read_array([&] { read_object(reader); });
  }

  std::string name;
  bool is_read = false;

 private:
  struct Field {
    std::string key;
    Column* column;
    bool is_seen;
  };

  void read_object(Reader& reader) {
    for (Field& field : fields_) field.is_seen = false;
    size_t likely = 0;
    reader.read_object([&](std::string_view key) {
      Field* field = find(key, likely);
      if (field == nullptr) return reader.skip_value();
      if (field->is_seen) reader.fail("each key once");
      if (reader.accept_null()) return;
      field->is_seen = true;
      field->column->read(reader);
    });
    for (Field& field : fields_) {
      if (!field.is_seen) field.column->skip();
    }
  }

  // Objects often have their keys in the same order: the one after the last found is tried first.
  Field* find(std::string_view key, size_t& likely) {
    for (size_t i = 0; i < fields_.size(); ++i) {
      size_t tried = (likely + i) % fields_.size();
      if (fields_[tried].key != key) continue;
      likely = tried + 1;
      return &fields_[tried];
    }
    return nullptr;
  }

  std::vector<Field> fields_;
};

Table& table_of(std::vector<Table>& tables, const std::string& name) {
  for (Table& table : tables) {
    if (table.name == name) return table;
  }
  return tables.emplace_back(name);
}

void read_tables(Reader& reader, std::vector<Table>& tables) {
  if (tables.size() == 1 && tables[0].name.empty()) {
    tables[0].read(reader);
  } else {
    reader.read_object([&](std::string_view key) {
      for (Table& table : tables) {
        if (table.name == key) return table.read(reader);
      }
      reader.skip_value();
    });
  }
  reader.expect_end();
  for (Table& table : tables) {
    if (!table.is_read) reader.fail(("a list " + table.name).c_str());
  }
}

std::vector<Tensor> read_json_columns(
    Tensor text, std::vector<std::string> lists, std::vector<std::string> keys, std::vector<std::string> kinds) {
  text = torch::stable::contiguous(text);
  STD_TORCH_CHECK(
      lists.size() == keys.size() && keys.size() == kinds.size(), "each column must have a list, a key and a kind");
  std::vector<std::unique_ptr<Column>> columns;
  std::vector<Table> tables;
  for (size_t i = 0; i < keys.size(); ++i) {
    columns.push_back(make_column(kinds[i], text));
    table_of(tables, lists[i]).add(keys[i], *columns[i]);
  }
  const char* data = reinterpret_cast<const char*>(text.const_data_ptr<uint8_t>());
  Reader reader({data, static_cast<size_t>(text.numel())});
  read_tables(reader, tables);
  std::vector<Tensor> results;
  for (const auto& column : columns) {
    column->finish(results);
  }
  return results;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(detkit, CPU, m) {
  m.impl("read_json_columns", TORCH_BOX(&read_json_columns));
}

}  // namespace detkit
