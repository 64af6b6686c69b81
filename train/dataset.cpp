#include <rill/core/check.h>
#include <rill/train/data_kinds.h>

namespace rill {
namespace {

// Throws unless `task` is one of those that the kind of data knows.
void check_task(const DatasetOptions& options, const std::string& kind,
                std::initializer_list<Task> legal) {
  if (!options.task_given) return;
  std::string names;
  for (const Task task : legal) {
    if (task == options.task) return;
    names += (names.empty() ? "" : ", ") + std::string(to_string(task));
  }
  fail(ErrorCode::kConfig, "{} data are for the task {}, {} came.", kind, names,
       to_string(options.task));
}

}  // namespace

std::unique_ptr<Dataset> open_dataset(const std::string& spec, const DatasetOptions& options) {
  const std::size_t colon = spec.find(':');
  const std::string kind = spec.substr(0, colon);
  const std::string path = colon == std::string::npos ? "" : spec.substr(colon + 1);
  check(colon != std::string::npos && !path.empty(), ErrorCode::kConfig,
        "Data: text:FILE, idx:DIR, csv:FILE or npy:FILE was expected, '{}' came.", spec);
  const auto check_no_targets = [&] {
    check(options.target_columns.empty(), ErrorCode::kConfig,
          "{}: target columns go with csv and npy data.", spec);
  };
  if (kind == "text") {
    check_task(options, "text", {Task::kLanguageModel});
    check_no_targets();
    return open_text(path);
  }
  if (kind == "idx") {
    check_task(options, "idx", {Task::kClassify});
    check_no_targets();
    return open_images(path, options);
  }
  check(kind == "csv" || kind == "npy", ErrorCode::kConfig,
        "Data: the kinds are text, idx, csv and npy, '{}' came.", kind);
  check_task(options, kind, {Task::kPredictNext, Task::kRegress});
  return kind == "csv" ? open_csv_series(path, options) : open_npy_series(path, options);
}

}  // namespace rill
