// Private: measures kernels on a card with CUDA events. A row is one kernel at one size; its arrays
// live while it is measured, so that the largest row alone has to fit.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include <rill/core/dtype.h>
#include <rill/core/kernel.h>
#include <rill/core/seq_args.h>

namespace rill::bench {

/// What the card allows: copies measured in this run, the rest from its clock and its processors.
struct Card {
  std::string name, driver, clocks;
  int runtime_version = 0, driver_version = 0;  // CUDA's, 13000 for 13.0
  int major = 0, minor = 0, processors = 0;
  double clock_GHz = 0;  // the highest
  std::size_t memory_bytes = 0;
  double copy_GBps = 0;    // device to device, bytes read and written
  double fma_GFLOPs = 0;   // float, without tensor cores: 2 a lane and clock
  double special_Gps = 0;  // exponentials and their like: 16 a processor and clock
};

struct Row {
  std::string name, shape;
  DType dtype = DType::kFloat32;  // of activations
  double bytes = 0;               // that must move: inputs and outputs once
  double flops = 0;               // operations outside the tensor cores
  double special = 0;             // exponentials and their like
  double tensor_flops = 0;        // operations of matrix products
  std::string by = "rill";        // or the library that stands beside it
  // Measured:
  double ns = 0, best_ns = 0, first_ns = 0;  // median, best; wall clock of the first call
  int samples = 0;
  std::string skipped;  // why there is no figure
  bool failed = false;
};

/// Time that a row would take if its dearest need alone counted: a prediction, no measurement.
double predicted_ns(const Row& row, const Card& card);

/// Memory of the card for one row. Throws NoRoom where it does not fit.
struct NoRoom {
  std::size_t wanted = 0, free = 0;
};
class Arrays {
 public:
  explicit Arrays(DeviceStream stream) : stream_(stream) {}
  ~Arrays();
  Arrays(const Arrays&) = delete;
  Arrays& operator=(const Arrays&) = delete;

  /// What is in it is not defined: outputs.
  void* empty(std::int64_t count, DType dtype = DType::kFloat32);
  void* zeros(std::int64_t count, DType dtype = DType::kFloat32);
  /// Evenly drawn from [low, high); integers from the integers in it.
  void* uniform(std::int64_t count, double low, double high, DType dtype = DType::kFloat32);
  /// `rows` sequences of `length` tokens.
  SeqArgs sequence(std::int64_t rows, std::int64_t length);
  /// One behind another, nothing between.
  SeqArgs packed(const std::vector<std::int64_t>& lengths);

 private:
  DeviceStream stream_;
  std::vector<void*> held_;
  std::uint64_t seed_ = 0;
};

struct RunOptions {
  std::string filter;         // a part of the names that are run; empty: all
  double row_seconds = 0.25;  // a row is measured for about so long
  double seconds = 150;       // no row begins later
  std::string json;           // a file, written anew after each row
};

class Run {
 public:
  explicit Run(const RunOptions& options);
  ~Run();
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  using Call = std::function<void()>;
  /// Makes the row's arrays with `build`, which returns the call to be measured, or an empty
  /// function where the build has no such kernel.
  void row(Row row, const std::function<Call(Arrays&)>& build);

  const KernelContext& on() const { return context_; }
  DeviceStream stream() const { return launch_.stream; }
  const Card& card() const { return card_; }
  const std::vector<Row>& rows() const { return rows_; }
  /// True where a kernel failed.
  bool failed() const;

 private:
  void measure(Row& row, const Call& call) const;
  double events_ns(const Call& call, int calls) const;
  void write_json() const;

  RunOptions options_;
  Card card_;
  DeviceLaunch launch_;
  KernelContext context_;
  std::vector<Row> rows_;
  double began_ = 0;
};

/// Float, and the 16-bit types where the table has them.
template <class Table>
std::vector<DType> types_of(const Table* (*table)(DType)) {
  std::vector<DType> types = {DType::kFloat32};
  for (const DType type : {DType::kBFloat16, DType::kFloat16})
    if (table(type)) types.push_back(type);
  return types;
}

/// "[8, 65536, 1536]".
std::string shape_text(std::initializer_list<std::int64_t> sizes);

// The rows, a file each.
void copy_row(Run& run);  // first: it is the limit
void product_rows(Run& run);
void core_rows(Run& run);
void scan_rows(Run& run);
void selective_rows(Run& run);
void matrix_rows(Run& run);
void recurrent_rows(Run& run);
void cub_rows(Run& run);

}  // namespace rill::bench
