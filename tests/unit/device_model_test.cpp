// The execution model itself: kernels with planted faults must be caught, sound ones must pass, in
// every order of threads.
#include "../support/catch.h"

#include <rill/core/cuda/device.h>

#include <array>
#include <numeric>
#include <vector>

namespace {

using namespace rill;

struct BlockArgs {
  const float* x;
  float* y;
  std::int64_t count;
};

// y[b] = sum of the block's 128 values.
RILL_KERNEL(128) void sum_kernel(BlockArgs p) {
  RILL_SHARED(float, parts, 4);
  const std::int64_t i = grid_thread();
  const float sum = block_sum<128>(i < p.count ? p.x[i] : 0.0f, Shared<float>(parts));
  if (thread_index() == 0) p.y[block_index()] = sum;
}

// y reversed within each block of 64, through shared memory; `barrier` left out is the planted
// race.
template <bool barrier>
RILL_KERNEL(64)
void reverse_kernel(BlockArgs p) {
  RILL_SHARED(float, tile, 64);
  const int t = thread_index();
  tile[t] = p.x[block_index() * 64 + t];
  if (barrier) block_sync();
  p.y[block_index() * 64 + t] = tile[63 - t];
}

// A neighbour's value through shared memory with only a warp barrier: sound inside a warp.
RILL_KERNEL(64) void rotate_kernel(BlockArgs p) {
  RILL_SHARED(float, tile, 64);
  const int t = thread_index(), first = t / 32 * 32;
  for (int round = 0; round < 3; ++round) {
    tile[t] = p.x[t] + static_cast<float>(round);
    warp_sync();
    p.y[t] = tile[first + (t - first + 1) % 32];
    warp_sync();
  }
}

RILL_KERNEL(64) void outside_kernel(BlockArgs p) {
  RILL_SHARED(float, tile, 64);
  tile[thread_index() + (block_index() == 1 ? 1 : 0)] = 1.0f;
  block_sync();
  p.y[0] = tile[0];
}

RILL_KERNEL(64) void divergent_kernel(BlockArgs p) {
  if (thread_index() < 32) block_sync();
  p.y[thread_index()] = 1.0f;
}

// Running total over blocks: each waits for the flag of the one before it, in the order of tickets.
struct ChainArgs {
  const float* x;
  float* y;
  float* carry;
  unsigned *ticket, *flag;
};
RILL_KERNEL(32) void chain_kernel(ChainArgs p) {
  RILL_SHARED(unsigned, number, 1);
  if (thread_index() == 0) number[0] = atomic_ticket(p.ticket);
  block_sync();
  const unsigned n = number[0];
  const float sum = warp_sum(p.x[n * 32u + static_cast<unsigned>(thread_index())]);
  if (thread_index() != 0) return;
  if (n > 0)
    while (load_acquire(p.flag + n - 1) == 0) spin_wait();
  p.carry[n] = (n > 0 ? p.carry[n - 1] : 0.0f) + sum;
  p.y[n] = p.carry[n];
  store_release(p.flag + n, 1);
}
RILL_KERNEL(32) void waits_for_ever_kernel(ChainArgs p) {
  while (load_acquire(p.flag) == 0) spin_wait();
}

// Two parts of a launch's shared memory, of their own types; `count` is what the second asks for.
RILL_KERNEL(16) void parts_kernel(BlockArgs p) {
  RILL_SHARED_PART(float, x, 0, 16);
  RILL_SHARED_PART(double, sums, 64, p.count);
  const int t = thread_index();
  x[t] = p.x[t];
  sums[t] = 2.0 * static_cast<double>(p.x[t]);
  block_sync();
  p.y[t] = static_cast<float>(static_cast<double>(sums[15 - t])) + x[t];
}

std::vector<float> counting(std::size_t count) {
  std::vector<float> x(count);
  std::iota(x.begin(), x.end(), 1.0f);
  return x;
}

// Every order of threads that the laws run in.
constexpr std::array<std::uint64_t, 4> kSchedules = {0, 1, 2, 3};

bool says(const std::string& part) {
  return device_model::last_error().find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("the model sums a block with shuffles and shared memory in every order") {
  const auto x = counting(300);
  for (const auto schedule : kSchedules) {
    device_model::set_schedule(schedule);
    std::vector<float> y(3, -1.0f);
    const BlockArgs args{x.data(), y.data(), 300};
    REQUIRE(RILL_LAUNCH(sum_kernel, Grid{3}, 128, 0, nullptr, args) == 0);
    CHECK(y[0] == 128.0f * 129 / 2);
    CHECK(y[2] == 300.0f * 301 / 2 - 256.0f * 257 / 2);
  }
  device_model::set_schedule(0);
}

TEST_CASE("the model catches a missing barrier in every order, and passes the sound kernel") {
  const auto x = counting(128);
  for (const auto schedule : kSchedules) {
    device_model::set_schedule(schedule);
    std::vector<float> y(128);
    const BlockArgs args{x.data(), y.data(), 128};
    CHECK(RILL_LAUNCH(reverse_kernel<true>, Grid{2}, 64, 0, nullptr, args) == 0);
    CHECK(y[0] == 64.0f);
    CHECK(y[127] == 65.0f);
    CHECK(RILL_LAUNCH(reverse_kernel<false>, Grid{2}, 64, 0, nullptr, args) != 0);
    CHECK(says("race"));
    CHECK(RILL_LAUNCH(rotate_kernel, Grid{1}, 64, 0, nullptr, args) == 0);
    CHECK(y[31] == x[0] + 2.0f);
    CHECK(y[63] == x[32] + 2.0f);
  }
  device_model::set_schedule(0);
}

TEST_CASE("the model catches an index out of bounds, divergent barriers and endless waits") {
  std::vector<float> y(64);
  const BlockArgs args{y.data(), y.data(), 64};
  CHECK(RILL_LAUNCH(outside_kernel, Grid{1}, 64, 0, nullptr, args) == 0);
  CHECK(RILL_LAUNCH(outside_kernel, Grid{2}, 64, 0, nullptr, args) != 0);
  CHECK(says("index 64 is out of its 64 elements"));
  CHECK(RILL_LAUNCH(divergent_kernel, Grid{1}, 64, 0, nullptr, args) != 0);
  CHECK(says("block barrier"));
  CHECK(RILL_LAUNCH(divergent_kernel, Grid{1}, 2048, 0, nullptr, args) != 0);
  CHECK(says("1 to 1024 threads"));
  unsigned flag = 0;
  const ChainArgs endless{nullptr, nullptr, nullptr, nullptr, &flag};
  CHECK(RILL_LAUNCH(waits_for_ever_kernel, Grid{1}, 32, 0, nullptr, endless) != 0);
  CHECK(says("a flag that nobody sets"));
}

TEST_CASE("blocks of the model wait for each other's flags in the order of tickets") {
  const auto x = counting(32 * 20);
  for (const auto schedule : kSchedules) {
    device_model::set_schedule(schedule);
    std::vector<float> y(20), carry(20);
    std::vector<unsigned> flags(20);
    unsigned ticket = 0;
    const ChainArgs args{x.data(), y.data(), carry.data(), &ticket, flags.data()};
    REQUIRE(RILL_LAUNCH(chain_kernel, Grid{20}, 32, 0, nullptr, args) == 0);
    CHECK(y[19] == 640.0f * 641 / 2);
  }
  device_model::set_schedule(0);
}

TEST_CASE("the model knows the bounds of parts of a launch's shared memory") {
  const auto x = counting(16);
  std::vector<float> y(16, -1.0f);
  const auto run = [&](std::int64_t count, std::size_t bytes) {
    const BlockArgs args{x.data(), y.data(), count};
    return RILL_LAUNCH(parts_kernel, Grid{1}, 16, bytes, nullptr, args);
  };
  CHECK(run(16, 64 + 128) == 0);
  CHECK(y[0] == 2.0f * 16 + 1);
  CHECK(run(15, 64 + 128) != 0);
  CHECK(says("sums: index 15 is out of its 15 elements"));
  CHECK(run(16, 64 + 127) != 0);
  CHECK(says("do not lie in the launch's 191 bytes"));
}
