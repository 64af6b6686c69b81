#include <rill/core/kernels.h>
#include <rill/core/recorder.h>
#include <rill/core/weight_cache.h>

namespace rill {
namespace {

// Weights are constants of a recorded step: they are packed now, and never written down.
void pack_now(Exec& exec, const PackArgs& args) {
  Recorder* recorder = exec.recorder();
  exec.set_recorder(nullptr);
  try {
    enqueue(exec, core_kernels(exec).pack, args, "linear");
  } catch (...) {
    exec.set_recorder(recorder);
    throw;
  }
  exec.set_recorder(recorder);
}

}  // namespace

Tensor WeightCache::packed(Exec& exec, const Tensor& weight, std::int64_t row0, std::int64_t rows,
                           bool transposed) {
  if (!core_kernels(exec).pack) {  // read in place; a recorded step keeps the weight of now
    const Tensor part = weight.rows(row0, rows);
    if (!exec.recorder()) return part;
    const Tensor kept = part.clone();
    exec.recorder()->keep(kept.storage());
    return kept;
  }
  const std::int64_t columns = weight.size(-1);
  // Plain kernels have a layout of their own.
  const Key key{weight.raw(), row0, rows, transposed, PlainKernels::active(), columns};
  const std::uint64_t version = weight.storage()->version();
  auto entry = entries_.find(key);
  if (entry == entries_.end()) {
    // A good moment to forget weights that are gone; a hit costs one look-up.
    std::erase_if(entries_, [](const auto& item) { return item.second.storage.expired(); });
    entry = entries_.try_emplace(key).first;
  }
  PackedWeight& packed = entry->second;
  const bool same_weight = packed.data.defined() && packed.storage.lock() == weight.storage();
  if (!same_weight || packed.version != version) {
    const std::int64_t n = transposed ? columns : rows, k = transposed ? rows : columns;
    const std::int64_t bytes = core_kernels(exec).packed_bytes(n, k, weight.dtype());
    // A copy that somebody holds (a Stepper) stays as it is: the weight it was recorded with.
    if (!packed.data.defined() || packed.data.shared() || packed.data.numel() != bytes)
      packed.data = Tensor::empty({bytes}, DType::kUInt8, exec.memory());
    const auto* first = static_cast<const char*>(weight.raw()) +
                        static_cast<std::size_t>(row0 * columns) * size_of(weight.dtype());
    pack_now(exec, {.w = first,
                    .packed = packed.data.raw(),
                    .n = n,
                    .k = k,
                    .stride = columns,
                    .transposed = transposed ? 1 : 0,
                    .dtype = static_cast<std::int64_t>(weight.dtype())});
    packed.storage = weight.storage();
    packed.version = version;
  }
  if (exec.recorder()) exec.recorder()->keep(packed.data.storage());
  return packed.data;
}

}  // namespace rill
