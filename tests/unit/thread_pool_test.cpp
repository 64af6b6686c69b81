// The thread pool: every task once, what tasks throw, and a system without threads to give.
#include <rill/core/error.h>
#include <rill/core/thread_pool.h>
#include <rill/tests/support/catch.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <fstream>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

using namespace rill;

TEST_CASE("a thread pool runs every task once") {
  ThreadPool pool(3);
  for (int repeat = 0; repeat < 200; ++repeat) {
    std::vector<int> hits(257, 0);
    pool.parallel_for(257, [&](std::int64_t i) { ++hits[static_cast<std::size_t>(i)]; });
    for (const int hit : hits) REQUIRE(hit == 1);
  }
}

TEST_CASE("what a task throws leaves the pool after all tasks, and the pool lives on") {
  ThreadPool pool(4);
  for (int repeat = 0; repeat < 100; ++repeat) {
    std::vector<std::atomic<int>> hits(300);
    const auto task = [&](std::int64_t i) {
      ++hits[static_cast<std::size_t>(i)];
      if (i == 299) throw std::bad_alloc();
      if (i % 70 == 69) throw std::runtime_error(std::to_string(i));
    };
    CHECK_THROWS_WITH(pool.parallel_for(300, task), "69");
    for (const auto& hit : hits) REQUIRE(hit == 1);
    std::atomic<std::int64_t> sum = 0;
    pool.parallel_for(100, [&](std::int64_t i) { sum += i; });
    REQUIRE(sum == 4950);
  }
}

// A sanitizer's own memory lies outside of the limit's reach, or ends the program at it.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_CASE("a pool that gets too few threads is an error, not an end") {
  rlimit before{};
  REQUIRE(getrlimit(RLIMIT_AS, &before) == 0);
  std::size_t pages = 0;
  std::ifstream("/proc/self/statm") >> pages;
  REQUIRE(pages > 0);
  // Room for a few stacks.
  rlimit small = before;
  small.rlim_cur = pages * static_cast<std::size_t>(sysconf(_SC_PAGESIZE)) + (rlim_t{64} << 20);
  REQUIRE(setrlimit(RLIMIT_AS, &small) == 0);
  std::string sentence;
  try {
    ThreadPool pool(1024);
  } catch (const Error& error) {
    CHECK(error.code() == ErrorCode::kSystem);
    sentence = error.what();
  }
  REQUIRE(setrlimit(RLIMIT_AS, &before) == 0);
  CHECK_THAT(sentence, Catch::Matchers::Contains("1024 threads were asked for"));
  ThreadPool pool(2);  // the system is as it was
}
#endif
