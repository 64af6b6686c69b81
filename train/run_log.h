// Private: lines of log.jsonl. What is read was perhaps cut short, edited or damaged.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include <rill/train/trainer.h>

namespace rill {

/// With its end of line.
std::string log_line(const TrainRecord& record);

/// What a run that goes on keeps of its log.
struct LoggedLines {
  std::string text;                        // the lines as they were
  std::map<std::int64_t, double> heldout;  // losses by step
};
/// The lines of steps 0 to `last`. All others go, half-written and foreign ones too: whatever the
/// text, nothing is thrown.
LoggedLines lines_until(std::string_view text, std::int64_t last);

}  // namespace rill
