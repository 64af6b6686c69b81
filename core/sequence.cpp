#include <rill/core/check.h>
#include <rill/core/sequence.h>

#include <algorithm>

namespace rill {

Sequence Sequence::batch(Exec& exec, std::int64_t batch, std::int64_t length) {
  Sequence sequence;
  sequence.start_ = exec.empty({batch}, DType::kInt64);
  sequence.length_ = exec.empty({batch}, DType::kInt64);
  for (std::int64_t b = 0; b < batch; ++b) {
    sequence.start_.data<std::int64_t>()[b] = b * length;
    sequence.length_.data<std::int64_t>()[b] = length;
  }
  sequence.args_ = {.rows = batch,
                    .tokens = batch * length,
                    .start = sequence.start_.data<std::int64_t>(),
                    .length = sequence.length_.data<std::int64_t>(),
                    .max_length = length};
  return sequence;
}

Sequence Sequence::from(Exec& exec, const Segments* segments, std::int64_t batch,
                        std::int64_t length) {
  if (!segments) return Sequence::batch(exec, batch, length);
  const bool packed = !segments->offsets.empty();
  check(!packed || segments->lengths.empty(), ErrorCode::kShape,
        "Segments: offsets (packed sequences) or lengths (padded ones) were expected, both came.");
  Sequence sequence = Sequence::batch(
      exec, packed ? static_cast<std::int64_t>(segments->offsets.size()) - 1 : batch,
      packed ? 0 : length);
  SeqArgs& args = sequence.args_;
  std::int64_t* start = sequence.start_.data<std::int64_t>();
  std::int64_t* lengths = sequence.length_.data<std::int64_t>();
  args.tokens = batch * length;
  if (packed) {
    const auto& offsets = segments->offsets;
    check(batch == 1, ErrorCode::kShape,
          "Segments: packed input is [1, total, D], a batch of {} came.", batch);
    check(offsets.front() == 0 && offsets.back() == length && std::ranges::is_sorted(offsets),
          ErrorCode::kShape,
          "Segments: offsets ascend from 0 to the total length {}; they run from {} to {}.", length,
          offsets.front(), offsets.back());
    args.max_length = 0;
    for (std::int64_t s = 0; s < args.rows; ++s) {
      start[s] = offsets[s];
      lengths[s] = offsets[s + 1] - offsets[s];
      args.max_length = std::max(args.max_length, lengths[s]);
    }
  }
  if (!segments->lengths.empty()) {
    check(static_cast<std::int64_t>(segments->lengths.size()) == batch, ErrorCode::kShape,
          "Segments: {} lengths were expected, {} came.", batch, segments->lengths.size());
    args.max_length = 0;
    for (std::int64_t b = 0; b < batch; ++b) {
      lengths[b] = segments->lengths[b];
      check(lengths[b] >= 0 && lengths[b] <= length, ErrorCode::kShape,
            "Segments: lengths lie between 0 and {}, lengths[{}] = {} came.", length, b,
            lengths[b]);
      args.padded = args.padded || lengths[b] < length;
      args.max_length = std::max(args.max_length, lengths[b]);
    }
  }
  if (segments->reset.defined()) {
    check(segments->reset.dtype() == DType::kUInt8 &&
              segments->reset.shape() == Shape({batch, length}),
          ErrorCode::kShape, "Segments: reset is uint8 {}, {} {} came.",
          to_string(Shape({batch, length})), name_of(segments->reset.dtype()),
          to_string(segments->reset.shape()));
    sequence.reset_ = segments->reset;
    args.reset = segments->reset.data<std::uint8_t>();
  }
  return sequence;
}

}  // namespace rill
