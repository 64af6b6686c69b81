// IDX: the files of MNIST and its kin, plain or gzipped.
//
//   0, 0, element type, number of axes | u32 big-endian extents | elements, big-endian
//
// Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file formats.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <rill/core/tensor.h>

namespace rill {

/// The array as uint8 (type 0x08), int32 (0x09, 0x0B, 0x0C), float32 (0x0D) or float64 (0x0E). Gzip
/// is known by its first bytes, not by the file's name. Error(kFile) for a damaged file and for one
/// whose header lies about its size, before memory is taken for what it claims.
Tensor read_idx(const std::filesystem::path& path);
/// The same from a file's bytes; `name` stands in messages.
Tensor parse_idx(std::span<const std::byte> bytes, const std::string& name = "memory");

struct IdxImages {
  Tensor images;  // [N, height, width] uint8
  Tensor labels;  // [N] uint8
};

/// `split`-images-idx3-ubyte and `split`-labels-idx1-ubyte of a folder, each plain or with ".gz";
/// the splits of MNIST and Fashion-MNIST are "train" and "t10k". Error(kFile) where one is missing,
/// or where the two do not fit.
IdxImages read_idx_images(const std::filesystem::path& folder, std::string_view split);

}  // namespace rill
