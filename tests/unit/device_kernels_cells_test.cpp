// The device's recurrent cells against the CPU's plain loops, in the execution model: every case in
// double and in float, some in other orders of threads.
#include "device_cells_support.h"

namespace {

using namespace rill;
using namespace rill::device_test;

void check_cell(CellCase c, std::uint64_t schedule = 0) {
  for (const bool gru : {false, true}) {
    if (gru && c.projected) continue;
    c.gru = gru;
    INFO((gru ? "GRU" : "LSTM") << " H " << c.hidden << " P " << c.output << " schedule "
                                << schedule);
    compare([&](auto zero, bool device) { return run_cell<decltype(zero)>(c, device); }, schedule);
  }
}

}  // namespace

TEST_CASE("device cells agree with the plain loops over lengths") {
  for (const std::int64_t length : {0, 1, 2, 31, 32, 33, 70})
    check_cell({.lengths = {length, 3}, .input = 1, .hidden = 5, .output = 5, .padded = true});
}

// To 33: a block alone; 100 to 200: teams that hold the matrix; 520: step by step.
TEST_CASE("device cells agree with the plain loops over sizes") {
  for (const std::int64_t hidden : {1, 32, 33, 100, 160, 200, 520})
    check_cell({.lengths = {6, 2},
                .input = 1,
                .hidden = hidden,
                .output = hidden,
                .resets = hidden % 2 == 1,
                .biases = hidden % 2 == 1,
                .in_place = hidden % 3 == 0});
}

TEST_CASE("device LSTM projects its outputs as the plain loops do") {
  check_cell({.lengths = {9, 1, 0},
              .input = 1,
              .hidden = 7,
              .output = 3,
              .projected = true,
              .padded = true,
              .resets = true});
  check_cell({.lengths = {5}, .input = 1, .hidden = 70, .output = 130, .projected = true});
  check_cell({.lengths = {2}, .input = 1, .hidden = 3, .output = 3, .projected = true});
}

TEST_CASE("device cells make W x in the step, long calls and single steps") {
  for (const std::int64_t length : {1, 20})
    for (const std::int64_t hidden : {4, 70, 530})
      check_cell({.lengths = {length, 2},
                  .input = hidden / 2 + 1,
                  .hidden = hidden,
                  .output = hidden,
                  .in_step = true,
                  .resets = length > 1,
                  .biases = length > 1,
                  .in_place = length == 1});
}

TEST_CASE("device cells in other orders of threads, and without gradients") {
  for (const std::uint64_t schedule : {0, 1, 2}) {
    check_cell({.lengths = {9, 0, 4},
                .input = 3,
                .hidden = 40,
                .output = 40,
                .padded = true,
                .resets = true,
                .gradients = false},
               schedule);
    check_cell({.lengths = {7, 2},
                .input = 3,
                .hidden = 40,
                .output = 10,
                .projected = true,
                .padded = true,
                .resets = true},
               schedule);
  }
}
