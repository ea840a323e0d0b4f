// Vectors of sixteen floats that the compiler maps to whatever registers the machine has.
#pragma once

// A function marked so is compiled several times, and the machine's best version is chosen when the library loads.
// The library can so be built on one machine and run on another.
#if defined(__x86_64__) && defined(__gnu_linux__) && defined(__GNUC__) && !defined(__clang__)
#define DETKIT_EVERY_MACHINE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define DETKIT_EVERY_MACHINE
#endif

// What such a function calls must become part of it.
#define DETKIT_INLINE inline __attribute__((always_inline))
