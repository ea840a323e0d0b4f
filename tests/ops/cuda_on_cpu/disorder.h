// What is as it pleases on a device, made as unkind as it may be, and the same in every run: the order in which threads
// and blocks take turns, and what is in memory that nothing was written to.
#pragma once

#include <link.h>

#include <cstdint>
#include <cstring>
#include <numeric>

namespace cuda_on_cpu {

// Drawn anew for every launch, which then sees the same numbers whatever ran before.
class Random {
 public:
  uint64_t below(uint64_t end) {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return (state_ >> 33) % end;
  }

 private:
  uint64_t state_ = 1;
};

// The numbers below `count` in an order in which any two of them come this way round half of the times.
class Order {
 public:
  Order(uint64_t count, Random& random) : count_(count), first_(random.below(count)) {
    do {
      step_ = 1 + random.below(count);
    } while (std::gcd(step_, count) != 1);
  }

  uint64_t operator[](uint64_t i) const { return (first_ + i * step_) % count_; }

 private:
  uint64_t count_, first_, step_;
};

// Shared memory are the thread-local variables of this library, which has no others.
inline thread_local char any_shared_memory;
inline char any_memory;

// Fills shared memory with ones: indices far outside of all arrays, and no numbers.
inline void poison_shared_memory() {
  *const_cast<volatile char*>(&any_shared_memory) = 1;  // from now on there is some
  auto poison_if_own = [](dl_phdr_info* library, size_t, void*) {
    uintptr_t place = reinterpret_cast<uintptr_t>(&any_memory) - library->dlpi_addr;
    bool is_own = false;
    size_t size = 0;
    for (int i = 0; i < library->dlpi_phnum; ++i) {
      const auto& part = library->dlpi_phdr[i];
      if (part.p_type == PT_LOAD && place >= part.p_vaddr && place < part.p_vaddr + part.p_memsz) is_own = true;
      if (part.p_type == PT_TLS) size = part.p_memsz;
    }
    if (is_own && library->dlpi_tls_data) std::memset(library->dlpi_tls_data, 0xff, size);
    return is_own ? 1 : 0;
  };
  dl_iterate_phdr(poison_if_own, nullptr);
}

}  // namespace cuda_on_cpu
