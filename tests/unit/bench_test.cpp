// What `rill bench` computes from its samples and its arguments.
#include <rill/bench/timing.h>
#include <rill/tests/support/catch.h>

using rill::bench::Samples;

TEST_CASE("quantiles are samples of nearest rank") {
  Samples samples{{5, 1, 9, 3}};
  CHECK(samples.quantile(0) == 1);
  CHECK(samples.quantile(0.25) == 1);
  CHECK(samples.quantile(0.26) == 3);
  CHECK(samples.quantile(0.5) == 3);
  CHECK(samples.quantile(0.75) == 5);
  CHECK(samples.quantile(0.99) == 9);
  CHECK(samples.quantile(1) == 9);
  CHECK(samples.median() == 3);
  CHECK(Samples{}.quantile(0.5) == 0);
  CHECK(Samples{{7}}.quantile(0) == 7);
}
