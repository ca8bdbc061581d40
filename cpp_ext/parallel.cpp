#include "parallel.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif
#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace moue {
namespace {

struct Job {
  const std::function<void()>& work;
  int unclaimed;  // calls that no helper has begun
  int running = 0;
  std::condition_variable idle{};
};

class Pool {
 public:
  void run(int helpers, const std::function<void()>& work) {
    Job job{work, helpers};
    {
      const std::lock_guard lock(mutex_);
      while (threads_ < helpers && start()) ++threads_;
      jobs_.push_back(&job);
    }
    if (helpers == 1)
      wake_.notify_one();
    else
      wake_.notify_all();
    work();
    std::unique_lock lock(mutex_);
    // Nothing is left to do: helpers that have not begun, busy elsewhere, are not waited for.
    if (const auto mine = std::find(jobs_.begin(), jobs_.end(), &job); mine != jobs_.end())
      jobs_.erase(mine);
    job.idle.wait(lock, [&] { return job.running == 0; });
  }

 private:
  bool start() {
    try {
      std::thread([this] { serve(); }).detach();
      return true;
    } catch (const std::system_error&) {
      return false;  // The system grants no more: those there are, and the caller, do the work.
    }
  }

  void serve() {
    std::unique_lock lock(mutex_);
    for (;;) {
      wake_.wait(lock, [&] { return !jobs_.empty(); });
      Job& job = *jobs_.front();
      if (--job.unclaimed == 0) jobs_.pop_front();
      ++job.running;
      lock.unlock();
      job.work();
      lock.lock();
      if (--job.running == 0) job.idle.notify_one();
    }
  }

  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<Job*> jobs_;
  int threads_ = 0;
};

// Never destroyed, since its threads sleep in it until the process ends.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  static const bool once = [] {
    pool = new Pool;
#if defined(__unix__) || defined(__APPLE__)
    pthread_atfork(nullptr, nullptr, [] { pool = new Pool; });  // threads do not survive a fork
#endif
    return true;
  }();
  static_cast<void>(once);
  return *pool;
}

}  // namespace

int available_threads() {
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return std::max(1, CPU_COUNT(&set));
#endif
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void run_on_threads(int helpers, const std::function<void()>& work) {
  the_pool().run(helpers, work);
}

}  // namespace moue
