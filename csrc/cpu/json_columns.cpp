// Reads JSON into columns in one pass over the text; see ../json_columns.h.
#include "../json_columns.h"

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "../json.h"
#include "../rle_string.h"
#include "memory.h"

namespace detkit {
namespace {

using json::Reader;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;

template <typename T>
Tensor to_tensor(const Tensor& like, const std::vector<T>& values, ScalarType type, int64_t width = 0) {
  int64_t count = values.size();
  std::vector<int64_t> shape = width > 0 ? std::vector<int64_t>{count / width, width} : std::vector<int64_t>{count};
  Tensor result = torch::stable::new_empty(like, shape, type);
  std::copy(values.begin(), values.end(), result.mutable_data_ptr<T>());
  return result;
}

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
  explicit KeyColumn(const Tensor& text)
      : like_(text), begin_(reinterpret_cast<const char*>(text.const_data_ptr<uint8_t>())) {}

  void read(Reader& reader) override {
    std::string_view key = reader.read_key();
    if (2 * keys_.size() >= slots_.size()) grow();
    int64_t& slot = slot_of(key);
    if (slot < 0) {
      slot = keys_.size();
      keys_.push_back(key);
    }
    index_.push_back(slot);
  }

  void skip() override { throw json::Unexpected("an object lacks the key that others have"); }

  void finish(std::vector<Tensor>& results) override {
    std::vector<int64_t> places;
    for (std::string_view key : keys_) {
      int64_t begin = key.data() - begin_;
      places.insert(places.end(), {begin, begin + static_cast<int64_t>(key.size())});
    }
    results.push_back(to_tensor(like_, index_, ScalarType::Long));
    results.push_back(to_tensor(like_, places, ScalarType::Long, 2));
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

  Tensor like_;
  const char* begin_;
  std::vector<std::string_view> keys_;                    // the distinct ones
  std::vector<int64_t> slots_ = std::vector<int64_t>(64, -1);  // their numbers, by hash; a power of two
  std::vector<int64_t> index_;
};

class NumberColumn : public Column {
 public:
  explicit NumberColumn(const Tensor& text) : like_(text) {}

  void read(Reader& reader) override { values_.push_back(reader.read_number_or_truth()); }
  void skip() override { values_.push_back(std::numeric_limits<double>::quiet_NaN()); }
  void finish(std::vector<Tensor>& results) override {
    results.push_back(to_tensor(like_, values_, ScalarType::Double));
  }

 private:
  Tensor like_;
  std::vector<double> values_;
};

class NumbersColumn : public Column {
 public:
  explicit NumbersColumn(const Tensor& text) : like_(text) {}

  void read(Reader& reader) override {
    reader.read_array([&] { values_.push_back(reader.read_number()); });
    skip();
  }
  void skip() override { offsets_.push_back(values_.size()); }
  void finish(std::vector<Tensor>& results) override {
    results.push_back(to_tensor(like_, values_, ScalarType::Double));
    results.push_back(to_tensor(like_, offsets_, ScalarType::Long));
  }

 private:
  Tensor like_;
  std::vector<double> values_;
  std::vector<int64_t> offsets_{0};
};

class MaskColumn : public Column {
 public:
  // The characters are written where they stay. No file has more of them than it has bytes.
  explicit MaskColumn(const Tensor& text)
      : like_(text), characters_(torch::stable::new_empty(text, {text.numel()}, ScalarType::Byte)) {
    prefer_large_pages(characters_.mutable_data_ptr<uint8_t>(), characters_.numel());
  }

  void read(Reader& reader) override {
    sizes_.insert(sizes_.end(), {0, 0});
    if (reader.is_next('{')) {
      read_run_lengths(reader);
    } else {
      reader.read_array([&] { read_polygon(reader); });
    }
    end_object();
  }

  void skip() override {
    sizes_.insert(sizes_.end(), {0, 0});
    end_object();
  }

  void finish(std::vector<Tensor>& results) override {
    results.push_back(to_tensor(like_, corners_, ScalarType::Double));
    results.push_back(to_tensor(like_, polygons_, ScalarType::Long));
    results.push_back(to_tensor(like_, offsets_, ScalarType::Long));
    results.push_back(torch::stable::narrow(characters_, 0, 0, length_));
    results.push_back(to_tensor(like_, strings_, ScalarType::Long));
    results.push_back(to_tensor(like_, sizes_, ScalarType::Long, 2));
  }

 private:
  void end_object() {
    offsets_.push_back(polygons_.size() - 1);
    strings_.push_back(length_);
  }

  void read_polygon(Reader& reader) {
    size_t before = corners_.size();
    reader.read_array([&] { corners_.push_back(reader.read_number()); });
    if ((corners_.size() - before) % 2 != 0) reader.fail("x and y of each corner of a polygon");
    polygons_.push_back(corners_.size() / 2);
  }

  void read_run_lengths(Reader& reader) {
    bool has_size = false, has_counts = false;
    reader.read_object([&](std::string_view key) {
      if (key == "size" && !std::exchange(has_size, true)) {
        read_size(reader);
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

  void read_size(Reader& reader) {
    int64_t* size = &sizes_[sizes_.size() - 2];
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

  Tensor like_;
  std::vector<double> corners_;
  std::vector<int64_t> polygons_{0}, offsets_{0}, strings_{0}, sizes_;
  Tensor characters_;
  int64_t length_ = 0;  // of the characters
  std::vector<uint32_t> runs_;
  std::string compressed_;
};

std::unique_ptr<Column> make_column(const std::string& kind, const Tensor& text) {
  if (kind == "key") return std::make_unique<KeyColumn>(text);
  if (kind == "number") return std::make_unique<NumberColumn>(text);
  if (kind == "numbers") return std::make_unique<NumbersColumn>(text);
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
