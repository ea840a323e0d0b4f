// Reads JSON (RFC 8259) from memory, strictly, and builds nothing: the caller says what it expects next.
#pragma once

#include <bit>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>

namespace detkit::json {

// The text is not JSON, or holds something else than was asked for.
struct Unexpected : std::runtime_error {
  using std::runtime_error::runtime_error;
};

class Reader {
 public:
  explicit Reader(std::string_view text) : begin_(text.data()), at_(begin_), end_(begin_ + text.size()) {}

  // Whether the next value, or the end of an array or object, begins with this character.
  bool is_next(char character) {
    skip_space();
    return at_ < end_ && *at_ == character;
  }

  // Nothing but white space may follow.
  void expect_end() {
    skip_space();
    if (at_ != end_) fail("the end of the file");
  }

  // Calls `read_item()` at each item of an array.
  template <typename ReadItem>
  void read_array(const ReadItem& read_item) {
    expect('[');
    if (accept(']')) return;
    do read_item();
    while (accept(','));
    expect(']');
  }

  // Calls `read_member(key)` at the value of each member of an object.
  template <typename ReadMember>
  void read_object(const ReadMember& read_member) {
    expect('{');
    if (accept('}')) return;
    do {
      std::string_view key = read_plain_string();
      expect(':');
      read_member(key);
    } while (accept(','));
    expect('}');
  }

  double read_number() {
    skip_space();
    const char* first = at_;
    bool is_negative = at_ < end_ && *at_ == '-';
    if (is_negative) ++at_;
    uint64_t digits = 0;  // all of them as one number
    const char* whole = at_;
    bool begins_with_zero = at_ < end_ && *at_ == '0';
    int64_t count = read_digits(digits);
    if (begins_with_zero && at_ - whole > 1) fail("a number without leading zeros");
    int64_t exponent = 0;
    if (at_ < end_ && *at_ == '.') {
      ++at_;
      exponent = -read_digits(digits);
      count -= exponent;
    }
    if (at_ < end_ && (*at_ == 'e' || *at_ == 'E')) exponent += read_exponent();
    constexpr int64_t most_digits = 18, exact_powers = 22;
    constexpr uint64_t exact = uint64_t(1) << 53;
    // Where both are exact, their quotient or product is rounded once, and so right.
    if (count <= most_digits && digits <= exact && exponent >= -exact_powers && exponent <= exact_powers) {
      double value = static_cast<double>(digits);
      value = exponent < 0 ? value / powers_of_ten[-exponent] : value * powers_of_ten[exponent];
      return is_negative ? -value : value;
    }
    return convert(first);
  }

  // Whether there is a null, which is then read.
  bool accept_null() { return is_next('n') && accept_word("null"); }

  // A number, or the truth as 0 or 1.
  double read_number_or_truth() {
    if (is_next('t') && accept_word("true")) return 1;
    if (is_next('f') && accept_word("false")) return 0;
    return read_number();
  }

  // A number or string as it is written, which later reads of the text leave where it is.
  std::string_view read_key() {
    skip_space();
    const char* first = at_;
    if (at_ < end_ && *at_ == '"') {
      skip_string();
    } else {
      read_number();
    }
    return {first, static_cast<size_t>(at_ - first)};
  }

  // Calls `append(part)` for the parts of a string one after another. Escapes by number are not expected.
  template <typename Append>
  void read_string(const Append& append) {
    expect('"');
    while (true) {
      const char* first = at_;
      skip_plain();
      append(std::string_view(first, at_ - first));
      char character = next("the end of a string");
      if (character == '"') return;
      if (character != '\\') fail("a string of printable ASCII characters");
      char escaped = next("the end of an escape");
      if (escaped != '"' && escaped != '\\' && escaped != '/') fail("an escape of a printable character");
      append(std::string_view(at_ - 1, 1));
    }
  }

  // A string without escapes, as the keys that matter are.
  std::string_view read_plain_string() {
    expect('"');
    const char* first = at_;
    while (true) {
      skip_plain();
      char character = next("the end of a string");
      if (character == '"') return {first, static_cast<size_t>(at_ - 1 - first)};
      if (character == '\\') fail("a key without escapes");
      skip_character(character);
    }
  }

  void skip_value(int depth = 0) {
    constexpr int most = 100;
    skip_space();
    switch (at_ < end_ ? *at_ : '\0') {
      case '"': return skip_string();
      case '[':
        if (depth == most) fail("no deeper nesting");
        return read_array([&] { skip_value(depth + 1); });
      case '{':
        if (depth == most) fail("no deeper nesting");
        return read_object([&](std::string_view) { skip_value(depth + 1); });
      case 't': return expect_word("true");
      case 'f': return expect_word("false");
      case 'n': return expect_word("null");
      default: read_number();
    }
  }

  [[noreturn]] void fail(const char* expected) const {
    throw Unexpected(std::string("expected ") + expected + " at byte " + std::to_string(at_ - begin_));
  }

 private:
  static constexpr double powers_of_ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                             1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

  void skip_space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\n' || *at_ == '\r' || *at_ == '\t')) ++at_;
  }

  bool accept(char character) {
    if (!is_next(character)) return false;
    ++at_;
    return true;
  }

  void expect(char character) {
    const char expected[] = {character, '\0'};
    if (!accept(character)) fail(expected);
  }

  bool accept_word(std::string_view word) {
    if (static_cast<size_t>(end_ - at_) < word.size() || std::memcmp(at_, word.data(), word.size()) != 0) return false;
    at_ += word.size();
    return true;
  }

  void expect_word(std::string_view word) {
    if (!accept_word(word)) fail("true, false or null");
  }

  char next(const char* expected) {
    if (at_ == end_) fail(expected);
    return *at_++;
  }

  // Adds digits to a number, which wraps around where they are too many; returns how many there are.
  int64_t read_digits(uint64_t& number) {
    const char* first = at_;
    for (; at_ < end_ && *at_ >= '0' && *at_ <= '9'; ++at_) number = 10 * number + static_cast<uint64_t>(*at_ - '0');
    if (at_ == first) fail("a digit");
    return at_ - first;
  }

  int64_t read_exponent() {
    ++at_;
    bool is_negative = at_ < end_ && *at_ == '-';
    if (at_ < end_ && (*at_ == '-' || *at_ == '+')) ++at_;
    uint64_t exponent = 0;
    constexpr int64_t most_digits = 9, beyond = 1000000000;
    int64_t count = read_digits(exponent), size = count > most_digits ? beyond : static_cast<int64_t>(exponent);
    return is_negative ? -size : size;
  }

  // The number from `first` to here; one that no double is near is not expected.
  double convert(const char* first) const {
#if defined(__cpp_lib_to_chars) && __cpp_lib_to_chars >= 201611L
    double value = 0;
    if (std::from_chars(first, at_, value).ec == std::errc()) return value;
#endif
    fail("a number that is not too large or small");
  }

  static constexpr uint64_t bytes_of(uint64_t byte) { return byte * 0x0101010101010101; }

  // The highest bit of bytes that are below a number of at most 128; bytes above the lowest such one may be wrong.
  static uint64_t bytes_below(uint64_t word, uint64_t number) {
    return (word - bytes_of(number)) & ~word & bytes_of(0x80);
  }

  // To the next character in a string that ends it, escapes, or is no printable one of ASCII.
  void skip_plain() {
    static_assert(std::endian::native == std::endian::little);
    for (uint64_t word; end_ - at_ >= 8; at_ += 8) {
      std::memcpy(&word, at_, sizeof word);
      uint64_t special = (word & bytes_of(0x80)) | bytes_below(word, 0x20) | bytes_below(word ^ bytes_of('"'), 1) |
                         bytes_below(word ^ bytes_of('\\'), 1);
      if (special != 0) {
        at_ += std::countr_zero(special) / 8;
        return;
      }
    }
    auto is_plain = [](unsigned char one) { return one != '"' && one != '\\' && one >= 0x20 && one < 0x80; };
    while (at_ < end_ && is_plain(static_cast<unsigned char>(*at_))) ++at_;
  }

  void skip_string() {
    expect('"');
    while (true) {
      skip_plain();
      char character = next("the end of a string");
      if (character == '"') return;
      if (character == '\\') {
        skip_escape();
      } else {
        skip_character(character);
      }
    }
  }

  void skip_escape() {
    char kind = next("the end of an escape");
    if (kind != 'u') {
      if (std::strchr("\"\\/bfnrt", kind) == nullptr || kind == '\0') fail("one of JSON's escapes");
      return;
    }
    for (int i = 0; i < 4; ++i) {
      char digit = next("the end of an escape");
      bool is_hexadecimal =
          (digit >= '0' && digit <= '9') || (digit >= 'a' && digit <= 'f') || (digit >= 'A' && digit <= 'F');
      if (!is_hexadecimal) fail("four hexadecimal digits");
    }
  }

  // The rest of a character beyond ASCII, of which the first byte is read.
  void skip_character(char character) {
    unsigned char first = static_cast<unsigned char>(character);
    if (first < 0xc2 || first > 0xf4) fail("a string of UTF-8 without control characters");
    int more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    for (int i = 0; i < more; ++i) {
      unsigned char byte = static_cast<unsigned char>(next("the end of a character"));
      // The longer ways to write a character, surrogates, and what is beyond Unicode.
      unsigned char low = i > 0 ? 0x80 : first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
      unsigned char high = i > 0 ? 0xbf : first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
      if (byte < low || byte > high) fail("a string of UTF-8");
    }
  }

  const char *begin_, *at_, *end_;
};

}  // namespace detkit::json
