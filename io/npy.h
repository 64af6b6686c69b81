// NumPy's .npy files: one array.
//
//   "\x93NUMPY" | major, minor | u16 (version 1) or u32 (2, 3) header length | Python dict literal
//   | elements
//
// Source: numpy.lib.format, versions 1.0, 2.0 and 3.0.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

#include <rill/core/tensor.h>

namespace rill {

/// The array as it is typed in the file: little-endian f4, f8, f2, i4, i8 or u1; an array in
/// Fortran order is converted. Error(kDType) for other element types, Error(kFile) for a damaged
/// file or one with bytes after the array, Error(kShape) for more axes than a Tensor can have.
Tensor read_npy(const std::filesystem::path& path);
/// The same from a file's bytes; `name` stands in messages.
Tensor parse_npy(std::span<const std::byte> bytes, const std::string& name = "memory");

/// Replaces `path` in one step by a version 1.0 file. Error(kDType) for bfloat16, which NumPy does
/// not have; Error(kSystem) where writing fails.
void write_npy(const std::filesystem::path& path, const Tensor& value);

}  // namespace rill
