// COCO's compressed strings of run lengths: each run, from the fourth on as its difference from the run two before, in
// digits of five bits with the lowest first, of which all but the last have bit 32 set, shifted to begin at '0'.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace detkit {

constexpr size_t most_digits_of_a_run = 7;

// Adds the string of some runs to another.
inline void compress(const uint32_t* runs, size_t count, std::string& out) {
  size_t at = out.size();
  out.resize(at + most_digits_of_a_run * count);
  for (size_t i = 0; i < count; ++i) {
    int64_t value = runs[i];
    if (i > 2) value -= runs[i - 2];
    bool more = true;
    while (more) {
      int64_t digit = value & 31;
      value >>= 5;
      more = value != (digit & 16 ? -1 : 0);  // the highest bit of the last digit is the sign
      out[at++] = static_cast<char>('0' + (more ? digit | 32 : digit));
    }
  }
  out.resize(at);
}

// Reads a string digit by digit, and throws what is wrong with one that is no mask.
class CarefulStringReader {
 public:
  // Adds the runs of a mask of so many pixels.
  static void read(std::string_view text, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
    uint64_t pixels = uint64_t(height) * width, sum = 0;
    size_t before = runs.size();
    for (size_t at = 0; at < text.size();) {
      int64_t run = read_number(text, at);
      if (runs.size() - before > 2) run += runs[runs.size() - 2];
      if (run < 0) throw std::invalid_argument("its run " + std::to_string(runs.size() - before) + " is negative");
      sum += run;
      if (sum > pixels) break;
      runs.push_back(static_cast<uint32_t>(run));
    }
    if (sum != pixels) {
      throw std::invalid_argument(
          "its runs sum to " + std::to_string(sum) + (sum > pixels ? " or more" : "") + ", but " +
          std::to_string(height) + " x " + std::to_string(width) + " pixels are " + std::to_string(pixels));
    }
  }

 private:
  // The next number, from `at` on.
  static int64_t read_number(std::string_view text, size_t& at) {
    int64_t value = 0;
    for (size_t i = 0; i < most_digits_of_a_run; ++i) {
      if (at == text.size()) throw std::invalid_argument("it ends within a number");
      int code = static_cast<unsigned char>(text[at]) - '0';
      if (code < 0 || code > 63) {
        throw std::invalid_argument("its character " + std::to_string(at) + " is none of '0' to 'o'");
      }
      ++at;
      value |= int64_t(code & 31) << (5 * i);
      if (code & 32) continue;
      return code & 16 ? value - (int64_t(1) << (5 * (i + 1))) : value;
    }
    throw std::invalid_argument("its number that ends at character " + std::to_string(at) + " has too many digits");
  }
};

// Reads a string eight characters at a time, and only finds out whether it is a mask.
class QuickStringReader {
 public:
  // Writes the runs of a mask of so many pixels, no more than the text has characters; false where it is no mask.
  static bool read(std::string_view text, uint64_t pixels, uint32_t* runs, size_t& count) {
    static_assert(std::endian::native == std::endian::little);
    const uint64_t every_one = bytes_of(1), all_but_digits = bytes_of(0xc0);
    bool is_wrong = false;
    uint64_t sum = 0;
    size_t begin = 0;  // of the number
    count = 0;
    for (size_t at = 0; at < text.size(); at += 8) {
      uint64_t codes = load(text, at) - bytes_of('0');
      if ((codes & all_but_digits) != 0) return false;  // else a borrow makes digits of what is behind the end
      uint64_t is_last = ~(codes >> 5) & every_one;  // of the digits of a number
      if (is_last == every_one && begin == at && count > 2) {
        sum += add_one_digit_numbers(codes, pixels, runs + count, is_wrong);
        count += 8;
        begin += 8;
        continue;
      }
      for (; is_last != 0; is_last &= is_last - 1) {
        size_t end = at + std::countr_zero(is_last) / 8 + 1;
        int64_t run = number(text, begin, end, is_wrong) + (count > 2 ? runs[count - 2] : 0);
        begin = end;
        is_wrong |= static_cast<uint64_t>(run) > pixels;  // also where it is negative
        sum += run;
        runs[count++] = static_cast<uint32_t>(run);
      }
    }
    return !is_wrong && begin == text.size() && sum == pixels;
  }

 private:
  static constexpr uint64_t bytes_of(uint64_t byte) { return byte * 0x0101010101010101; }

  // Eight characters or fewer, the first in the lowest byte; those that are missing are digits that don't end a number.
  static uint64_t load(std::string_view text, size_t at) {
    uint64_t word;
    if (at + sizeof word <= text.size()) {
      std::memcpy(&word, text.data() + at, sizeof word);
    } else {
      word = bytes_of('0' + 32);
      std::memcpy(&word, text.data() + at, text.size() - at);
    }
    return word;
  }

  // Writes eight runs, none of them among the first three; returns their sum.
  static uint64_t add_one_digit_numbers(uint64_t codes, uint64_t pixels, uint32_t* runs, bool& is_wrong) {
    int8_t values[8];
    uint64_t shifted = codes << 3 & bytes_of(0xf8);
    std::memcpy(values, &shifted, sizeof values);
    for (int i = 0; i < 8; ++i) runs[i] = runs[i - 2] + static_cast<uint32_t>(values[i] >> 3);
    uint64_t sum = 0;
    for (int i = 0; i < 8; ++i) {
      is_wrong |= runs[i] > pixels;
      sum += runs[i];
    }
    return sum;
  }

  // Of the digits from `begin` to `end`, all of them at once.
  static int64_t number(std::string_view text, size_t begin, size_t end, bool& is_wrong) {
    is_wrong |= end - begin > most_digits_of_a_run;
    int digits = static_cast<int>(std::min(end - begin, most_digits_of_a_run));
    uint64_t word = load(text, begin) - bytes_of('0');
    word = (word & 0x001f001f001f001f) | (word & 0x1f001f001f001f00) >> 3;
    word = (word & 0x000003ff000003ff) | (word & 0x03ff000003ff0000) >> 6;
    word = (word & 0x00000000000fffff) | (word & 0x000fffff00000000) >> 12;
    int unused = 64 - 5 * digits;
    return static_cast<int64_t>(word << unused) >> unused;  // the highest bit of the last digit is the sign
  }
};

// The runs of a string, added at the end of `runs`. Throws what is wrong with a string that is no mask.
inline void decompress(std::string_view text, uint32_t height, uint32_t width, std::vector<uint32_t>& runs) {
  size_t before = runs.size(), count;
  runs.resize(before + text.size());
  bool is_mask = QuickStringReader::read(text, uint64_t(height) * width, runs.data() + before, count);
  runs.resize(before + count);
  if (is_mask) return;
  runs.resize(before);
  CarefulStringReader::read(text, height, width, runs);
}

}  // namespace detkit
