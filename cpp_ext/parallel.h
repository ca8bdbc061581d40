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

// Calls work() on as many threads as there are pieces of it; threads = 0 takes what is available.
template <class Work>
void share(int64_t pieces, int threads, const Work& work) {
  const int64_t wanted = std::min<int64_t>(threads > 0 ? threads : available_threads(), pieces);
  if (wanted <= 1)
    work();
  else
    run_on_threads(static_cast<int>(wanted - 1), work);
}

// Calls body(begin, end) for pieces of [0, count), from the first that no thread has taken yet.
template <class Body>
void take_pieces(std::atomic<int64_t>& next, int64_t count, int64_t grain, const Body& body) {
  for (int64_t begin; (begin = next.fetch_add(grain)) < count;)
    body(begin, std::min(begin + grain, count));
}

// Calls body(begin, end) over [0, count) in pieces of `grain`, which are handed out as threads become
// free: a busy core does not hold up the others. `body` must not throw.
template <class Body>
void parallel_for(int64_t count, int64_t grain, int threads, const Body& body) {
  std::atomic<int64_t> next{0};
  share((count + grain - 1) / grain, threads, [&] { take_pieces(next, count, grain, body); });
}

// The same over [0, firsts), and when all of that is done over [0, seconds), on threads that are
// woken once.
template <class First, class Second>
void parallel_steps(int64_t firsts, int64_t first_grain, const First& first, int64_t seconds,
                    int64_t second_grain, const Second& second, int threads) {
  std::atomic<int64_t> next_first{0}, next_second{0}, done{0};
  share((seconds + second_grain - 1) / second_grain, threads, [&] {
    take_pieces(next_first, firsts, first_grain, [&](int64_t begin, int64_t end) {
      first(begin, end);
      done += end - begin;
    });
    while (done < firsts) std::this_thread::yield();
    take_pieces(next_second, seconds, second_grain, second);
  });
}

}  // namespace moue
