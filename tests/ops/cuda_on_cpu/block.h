// The threads of a block, which take turns as fibers: each runs until it waits for the others, or for those of its warp.
// Whose turn it is next is drawn, so that what needs a barrier that is not there comes out wrong.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <source_location>
#include <vector>

#include "disorder.h"

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

inline dim3 threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

constexpr size_t stack_size = 64 * 1024, warp_size = 32;

inline const char* fault = nullptr;  // what a kernel did that a device does not allow

// Threads that wait for each other.
struct Team {
  size_t running = 0, arrived = 0;
  int64_t round = 0;
  uint_least32_t line = 0;             // where they wait in this round
  uint64_t values[2][warp_size] = {};  // of a warp: what its threads tell each other in this round and in the next

  void arrive(const std::source_location& at) {
    if (arrived > 0 && line != at.line()) fault = "threads of a block wait for each other at different places";
    line = at.line();
    ++arrived;
    begin_next_round_if_all_arrived();
  }
  void begin_next_round_if_all_arrived() {
    if (arrived < running || arrived == 0) return;
    arrived = 0;
    ++round;
  }
};

// One thread. It stays for other blocks and kernels, since it takes longer to begin one than to run most kernels.
struct Fiber {
  ucontext_t context;  // where it begins
  jmp_buf place;       // where it goes on: this saves no signals, and so takes a tenth of the time
  std::unique_ptr<char[]> stack;
  bool has_begun = false, is_done = false;
};

// One block of threads.
class Block {
 public:
  Block(unsigned threads, Random& random, const std::function<void()>& kernel)
      : kernel_(kernel), random_(random), threads_(threads), warps_((threads + warp_size - 1) / warp_size) {
    while (fibers_.size() < threads) {
      Fiber& fiber = *fibers_.emplace_back(new Fiber);
      fiber.stack.reset(new char[stack_size]);
      getcontext(&fiber.context);
      fiber.context.uc_stack.ss_sp = fiber.stack.get();
      fiber.context.uc_stack.ss_size = stack_size;
      fiber.context.uc_link = nullptr;
      makecontext(&fiber.context, &Block::run_fiber, 0);
    }
  }

  void run() {
    current_block = this;
    all_ = Team{threads_};
    for (size_t warp = 0; warp < warps_.size(); ++warp) {
      warps_[warp] = Team{std::min(warp_size, threads_ - warp * warp_size)};
    }
    for (size_t thread = 0; thread < threads_; ++thread) fibers_[thread]->is_done = false;
    while (all_.running > 0) {
      Order order(threads_, random_);
      for (size_t i = 0; i < threads_; ++i) {
        if (!fibers_[order[i]]->is_done) go_on(order[i]);
      }
    }
  }

  // Until all threads that have not returned have come here.
  void wait(const std::source_location& at) { wait(all_, at); }

  // The same within a warp, whose threads get the values of all of them.
  const uint64_t* exchange(uint64_t value, const std::source_location& at) {
    Team& warp = warps_[current_ / warp_size];
    if (warp.running < warp_size) fault = "a warp exchanges values without some of its threads";
    uint64_t* values = warp.values[warp.round % 2];
    values[lane()] = value;
    wait(warp, at);
    return values;
  }

  size_t lane() const { return current_ % warp_size; }

  static inline Block* current_block = nullptr;

 private:
  void go_on(size_t thread) {
    current_ = thread;
    threadIdx.x = static_cast<unsigned>(thread);
    if (_setjmp(scheduler_) != 0) return;
    Fiber& fiber = *fibers_[thread];
    if (fiber.has_begun) _longjmp(fiber.place, 1);
    fiber.has_begun = true;
    setcontext(&fiber.context);
  }

  void leave() {
    if (_setjmp(fibers_[current_]->place) == 0) _longjmp(scheduler_, 1);
  }

  void wait(Team& team, const std::source_location& at) {
    int64_t round = team.round;
    team.arrive(at);
    while (team.round == round) leave();
  }

  void end_thread() {
    fibers_[current_]->is_done = true;
    for (Team* team : {&all_, &warps_[current_ / warp_size]}) {
      --team->running;
      team->begin_next_round_if_all_arrived();
    }
    leave();
  }

  static void run_fiber() {
    for (;;) {
      current_block->kernel_();
      current_block->end_thread();
    }
  }

  static inline std::vector<std::unique_ptr<Fiber>> fibers_;

  const std::function<void()>& kernel_;
  Random& random_;
  size_t threads_, current_ = 0;
  std::vector<Team> warps_;
  Team all_;
  jmp_buf scheduler_;
};

}  // namespace cuda_on_cpu
