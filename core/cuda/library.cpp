#include <rill/core/cuda/library.h>

#include <dlfcn.h>

#include <string>

namespace rill {

void* open_library(const char* file_name) {
  if (void* library = dlopen(file_name, RTLD_NOW | RTLD_LOCAL)) return library;
  const std::string of_the_build = std::string(RILL_CUDA_LIBRARY_DIR) + "/" + file_name;
  return dlopen(of_the_build.c_str(), RTLD_NOW | RTLD_LOCAL);
}

void* library_function(void* library, const char* name) {
  return library ? dlsym(library, name) : nullptr;
}

}  // namespace rill
