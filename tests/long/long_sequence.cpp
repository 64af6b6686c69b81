// Sequence ops past 2^31 elements: sizes and offsets are 64 bits wide, in kernels, too. One array x
// [T, 64] with T * 64 > 2^31 is queries and keys of gated linear attention (values and outputs have
// one channel, so that 9 GB are enough), and is pooled over time. The whole in one call gives the
// bits of the same in two calls, the second of which begins past element 2^31; the last outputs
// are those of a plain loop over the last tokens.
// Exit status: 0 passed, 1 failed, 77 skipped for want of memory.
#include <rill/rill.h>

#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

namespace {

using namespace rill;

constexpr std::int64_t kKeys = 64;
constexpr std::int64_t kFirst = (std::int64_t{1} << 31) / kKeys + 3;  // tokens of the first call
constexpr std::int64_t kTokens = kFirst + 1000;
static_assert(kFirst * kKeys > (std::int64_t{1} << 31));
constexpr double kDecay = -0.25;  // of the logarithm, a token
constexpr std::int64_t kGigabyte = std::int64_t{1} << 30;
// x is 8.0 GiB; values and outputs, twice, 0.5.
constexpr std::int64_t kNeeded = 11 * kGigabyte;

std::int64_t available_memory() {
  std::ifstream info("/proc/meminfo");
  for (std::string line; std::getline(info, line);)
    if (line.starts_with("MemAvailable:")) return std::stoll(line.substr(13)) * 1024;
  return 0;
}

// In [-1, 1), a function of the position.
float value_at(std::int64_t position) {
  std::uint64_t word = static_cast<std::uint64_t>(position) * 0x9E3779B97F4A7C15u;
  word ^= word >> 29;
  return static_cast<float>(static_cast<std::int32_t>(word >> 8)) * 0x1p-31f;
}

void fill(const Tensor& array, std::int64_t shift) {
  float* values = array.data<float>();
  for (std::int64_t i = 0; i < array.numel(); ++i) values[i] = value_at(i + shift);
}

bool same(const char* what, const Tensor& a, const Tensor& b) {
  const bool equal = a.shape() == b.shape() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
  std::printf("%s: %s\n", what, equal ? "the same bits" : "DIFFERS");
  return equal;
}

Tensor decays() { return Tensor::full({1}, DType::kFloat32, kDecay); }

// Tokens [first, first + count) from `state`.
Tensor attention(Exec& exec, const Tensor& x, const Tensor& v, std::int64_t first,
                 std::int64_t count, Tensor& state) {
  const Tensor q = x.rows(first, count);
  return gated_linear_attention(exec, q, q, v.rows(first, count), decays(), state,
                                Sequence::batch(exec, 1, count), 1, 1.0);
}

// The last output by its definition, in double: what lies 200 tokens back counts e^-50.
bool last_output(const Tensor& x, const Tensor& v, const Tensor& y) {
  const float* keys = x.data<float>();
  const float* query = keys + (kTokens - 1) * kKeys;
  double expected = 0;
  for (std::int64_t t = kTokens - 200; t < kTokens; ++t) {
    double product = 0;
    for (std::int64_t k = 0; k < kKeys; ++k)
      product += static_cast<double>(keys[t * kKeys + k]) * static_cast<double>(query[k]);
    expected += std::exp(kDecay * static_cast<double>(kTokens - 1 - t)) * product *
                static_cast<double>(v.data<float>()[t]);
  }
  const double got = static_cast<double>(y.data<float>()[kTokens - 1]);
  std::printf("last output: %.7g, %.7g was expected\n", got, expected);
  // Sums of 64 products of size 1 in float.
  return std::abs(got - expected) <= 1e-5 * (1.0 + std::abs(expected));
}

bool attention_past_the_limit(Exec& exec, const Tensor& x) {
  const Tensor v = Tensor::empty({kTokens, 1}, DType::kFloat32);
  fill(v, 7);
  Tensor state = Tensor::zeros({1, 1, kKeys, 1}, DType::kFloat32), cut = state.clone();
  const Tensor whole = attention(exec, x, v, 0, kTokens, state);
  const Tensor head = attention(exec, x, v, 0, kFirst, cut);
  const Tensor tail = attention(exec, x, v, kFirst, kTokens - kFirst, cut);
  bool ok = same("gated linear attention, outputs before the cut", whole.rows(0, kFirst), head);
  ok &= same("outputs after it", whole.rows(kFirst, kTokens - kFirst), tail);
  ok &= same("state", state, cut);
  return last_output(x, v, whole) && ok;
}

bool pooling_past_the_limit(Exec& exec, const Tensor& x) {
  const Sequence all = Sequence::batch(exec, 1, kTokens), head = Sequence::batch(exec, 1, kFirst),
                 tail = Sequence::batch(exec, 1, kTokens - kFirst);
  Tensor last = Tensor::zeros({1, kKeys}, DType::kFloat32);
  bool ok = same("last pooling", last_pool(exec, x, last, all), x.rows(kTokens - 1, 1));
  Tensor sum = Tensor::zeros({1, kKeys}, DType::kFloat32), cut_sum = sum.clone();
  Tensor count = Tensor::zeros({1, 1}, DType::kFloat32), cut_count = count.clone();
  const Tensor mean = mean_pool(exec, x, sum, count, all);
  mean_pool(exec, x.rows(0, kFirst), cut_sum, cut_count, head);
  const Tensor cut = mean_pool(exec, x.rows(kFirst, kTokens - kFirst), cut_sum, cut_count, tail);
  return same("mean pooling", mean, cut) && ok;
}

}  // namespace

int main() {
  const std::int64_t available = available_memory();
  if (available < kNeeded) {
    std::printf("skipped: %.1f GiB of memory are available, %.1f are needed\n",
                static_cast<double>(available) / static_cast<double>(kGigabyte),
                static_cast<double>(kNeeded) / static_cast<double>(kGigabyte));
    return 77;
  }
  Exec exec;
  const Tensor x = Tensor::empty({kTokens, kKeys}, DType::kFloat32);
  fill(x, 0);
  const bool pooled = pooling_past_the_limit(exec, x);
  return attention_past_the_limit(exec, x) && pooled ? 0 : 1;
}
