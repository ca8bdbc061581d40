// Splits a range of rows over threads that are started once and sleep between calls.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

namespace moue {

// The processors this process may run on, which containers and taskset make fewer than there are.
int available_threads();

// Calls work() here and, as they become free, on up to `helpers` other threads; returns once each
// call that began has ended. `work` must not throw.
void run_on_threads(int helpers, const std::function<void()>& work);

// Calls body(begin, end) over [0, count) in pieces of `grain`; threads = 0 takes what is available.
// Pieces are handed out as threads become free: a busy core does not hold up the others.
// `body` must not throw.
template <class Body>
void parallel_for(int64_t count, int64_t grain, int threads, const Body& body) {
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t begin; (begin = next.fetch_add(grain)) < count;)
      body(begin, std::min(begin + grain, count));
  };
  const int64_t pieces = (count + grain - 1) / grain;
  const int64_t wanted = std::min<int64_t>(threads > 0 ? threads : available_threads(), pieces);
  if (wanted <= 1)
    work();
  else
    run_on_threads(static_cast<int>(wanted - 1), work);
}

// Calls first(begin, end) over [0, firsts), and when all of that is done second(begin, end) over
// [0, seconds), both in pieces of their grain, on threads that are woken once.
template <class First, class Second>
void parallel_steps(int64_t firsts, int64_t first_grain, const First& first, int64_t seconds,
                    int64_t second_grain, const Second& second, int threads) {
  std::atomic<int64_t> next_first{0}, next_second{0}, done{0};
  const auto work = [&] {
    for (int64_t begin; (begin = next_first.fetch_add(first_grain)) < firsts;) {
      const int64_t end = std::min(begin + first_grain, firsts);
      first(begin, end);
      done += end - begin;
    }
    while (done < firsts) std::this_thread::yield();
    for (int64_t begin; (begin = next_second.fetch_add(second_grain)) < seconds;)
      second(begin, std::min(begin + second_grain, seconds));
  };
  const int64_t pieces = (seconds + second_grain - 1) / second_grain;
  const int64_t wanted = std::min<int64_t>(threads > 0 ? threads : available_threads(), pieces);
  if (wanted <= 1)
    work();
  else
    run_on_threads(static_cast<int>(wanted - 1), work);
}

}  // namespace moue
