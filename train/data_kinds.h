// Private: the kinds of data behind open_dataset.
#pragma once

#include <memory>
#include <string>

#include <rill/train/dataset.h>

namespace rill {

std::unique_ptr<Dataset> open_text(const std::string& file);
std::unique_ptr<Dataset> open_images(const std::string& directory, const DatasetOptions& options);
std::unique_ptr<Dataset> open_csv_series(const std::string& file, const DatasetOptions& options);
std::unique_ptr<Dataset> open_npy_series(const std::string& file, const DatasetOptions& options);

}  // namespace rill
