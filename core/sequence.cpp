#include <rill/core/check.h>
#include <rill/core/sequence.h>

#include <algorithm>

namespace rill {

// What rows there are, on the host; of the Exec's own memory where that is the host's.
struct Sequence::Rows {
  Rows(Exec& exec, std::int64_t count)
      : start_and_length(exec.queue() ? Tensor::empty({2, count}, DType::kInt64)
                                      : exec.empty({2, count}, DType::kInt64)),
        start(start_and_length.data<std::int64_t>()),
        length(start + count) {}
  void set(std::int64_t row, std::int64_t first, std::int64_t steps) {
    start[row] = first;
    length[row] = steps;
  }

  Tensor start_and_length;
  std::int64_t *start, *length;
};

Sequence Sequence::batch(Exec& exec, std::int64_t batch, std::int64_t length) {
  Sequence sequence;
  sequence.args_ = {.rows = batch, .tokens = batch * length, .max_length = length};
  Rows rows(exec, batch);
  for (std::int64_t b = 0; b < batch; ++b) rows.set(b, b * length, length);
  sequence.bind(exec, rows);
  return sequence;
}

// Onto the Exec's device, in one copy.
void Sequence::bind(Exec& exec, const Rows& rows) {
  rows_ = exec.upload(rows.start_and_length);
  args_.start = rows_.data<std::int64_t>();
  args_.length = args_.start + args_.rows;
}

Sequence Sequence::from(Exec& exec, const Segments* segments, std::int64_t batch,
                        std::int64_t length) {
  if (!segments) return Sequence::batch(exec, batch, length);
  const bool packed = !segments->offsets.empty();
  check(!packed || segments->lengths.empty(), ErrorCode::kShape,
        "Segments: offsets (packed sequences) or lengths (padded ones) were expected, both came.");
  Sequence sequence;
  SeqArgs& args = sequence.args_;
  args = {.rows = packed ? static_cast<std::int64_t>(segments->offsets.size()) - 1 : batch,
          .tokens = batch * length,
          .max_length = packed ? 0 : length};
  Rows rows(exec, args.rows);
  for (std::int64_t b = 0; b < args.rows && !packed; ++b) rows.set(b, b * length, length);
  if (packed) {
    const auto& offsets = segments->offsets;
    check(batch == 1, ErrorCode::kShape,
          "Segments: packed input is [1, total, D], a batch of {} came.", batch);
    check(offsets.front() == 0 && offsets.back() == length && std::ranges::is_sorted(offsets),
          ErrorCode::kShape,
          "Segments: offsets ascend from 0 to the total length {}; they run from {} to {}.", length,
          offsets.front(), offsets.back());
    for (std::size_t s = 0; s + 1 < offsets.size(); ++s) {
      const std::int64_t steps = offsets[s + 1] - offsets[s];
      rows.set(static_cast<std::int64_t>(s), offsets[s], steps);
      args.max_length = std::max(args.max_length, steps);
    }
  }
  if (!segments->lengths.empty()) {
    check(static_cast<std::int64_t>(segments->lengths.size()) == batch, ErrorCode::kShape,
          "Segments: {} lengths were expected, {} came.", batch, segments->lengths.size());
    args.max_length = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t steps = segments->lengths[static_cast<std::size_t>(b)];
      check(steps >= 0 && steps <= length, ErrorCode::kShape,
            "Segments: lengths lie between 0 and {}, lengths[{}] = {} came.", length, b, steps);
      rows.set(b, b * length, steps);
      args.padded = args.padded || steps < length;
      args.max_length = std::max(args.max_length, steps);
    }
  }
  if (segments->reset.defined()) {
    check(segments->reset.dtype() == DType::kUInt8 &&
              segments->reset.shape() == Shape({batch, length}),
          ErrorCode::kShape, "Segments: reset is uint8 {}, {} {} came.",
          to_string(Shape({batch, length})), name_of(segments->reset.dtype()),
          to_string(segments->reset.shape()));
    sequence.reset_ = exec.upload(segments->reset);
    args.reset = sequence.reset_.data<std::uint8_t>();
  }
  sequence.bind(exec, rows);
  return sequence;
}

}  // namespace rill
