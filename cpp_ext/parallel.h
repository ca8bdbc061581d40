// Splits a range of rows over threads that live as long as the call.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <system_error>
#include <thread>
#include <vector>

#ifdef __linux__
#include <sched.h>
#endif

namespace moue {

// The processors this process may run on, which containers and taskset make fewer than there are.
inline int available_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

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
  const int64_t helpers =
      std::min<int64_t>(threads > 0 ? threads : available_threads(), pieces) - 1;
  std::vector<std::thread> pool;
  try {
    for (int64_t i = 0; i < helpers; ++i) pool.emplace_back(work);
  } catch (const std::system_error&) {
    // The system grants no more threads: those that started, and this one, do the work.
  }
  work();
  for (auto& thread : pool) thread.join();
}

}  // namespace moue
