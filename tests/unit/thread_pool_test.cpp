// The thread pool: every task once.
#include <rill/core/thread_pool.h>
#include <rill/tests/support/catch.h>

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
