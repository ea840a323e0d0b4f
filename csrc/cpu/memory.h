// Large memory that is about to be written once.
#pragma once

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace detkit {

// Asks the system for large pages under fresh memory. A page is zeroed when it is first written, and doing so for
// thousands of small ones can take longer than what the kernel computes.
inline void prefer_large_pages([[maybe_unused]] void* data, [[maybe_unused]] int64_t bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  constexpr int64_t page = 2 << 20, worth_it = 4 * page;
  if (bytes < worth_it) return;
  uintptr_t begin = reinterpret_cast<uintptr_t>(data), end = begin + bytes;
  begin = (begin + page - 1) / page * page;
  end = end / page * page;
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_HUGEPAGE);
#endif
}

}  // namespace detkit
