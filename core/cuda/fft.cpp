// cuFFT behind transform_signals. Each thread keeps its own plans, since a plan holds the stream
// and the work area of its next call; an Exec belongs to one thread.
#include <rill/core/cuda/fft.h>
#include <rill/core/cuda/library.h>

#include <cuda_runtime.h>
#include <cufft.h>

#include <algorithm>
#include <string>
#include <vector>

namespace rill {
namespace {

struct Cufft {
  decltype(&cufftCreate) create = nullptr;
  decltype(&cufftSetAutoAllocation) set_auto_allocation = nullptr;
  decltype(&cufftMakePlanMany64) make_plan = nullptr;
  decltype(&cufftSetStream) set_stream = nullptr;
  decltype(&cufftSetWorkArea) set_work_area = nullptr;
  decltype(&cufftExecR2C) forward = nullptr;
  decltype(&cufftExecC2R) inverse = nullptr;
  decltype(&cufftDestroy) destroy = nullptr;
  bool whole = false;

  Cufft() {
    void* const library = open_library(("libcufft.so." + std::to_string(CUFFT_VER_MAJOR)).c_str());
    whole = find(library, "cufftCreate", create) &&
            find(library, "cufftSetAutoAllocation", set_auto_allocation) &&
            find(library, "cufftMakePlanMany64", make_plan) &&
            find(library, "cufftSetStream", set_stream) &&
            find(library, "cufftSetWorkArea", set_work_area) &&
            find(library, "cufftExecR2C", forward) && find(library, "cufftExecC2R", inverse) &&
            find(library, "cufftDestroy", destroy);
  }

  template <class Function>
  static bool find(void* library, const char* name, Function& function) {
    function = reinterpret_cast<Function>(library_function(library, name));
    return function != nullptr;
  }
};

const Cufft& cufft() {
  static const Cufft library;
  return library;
}

struct Plan {
  int device = 0;
  std::int64_t samples = 0, batch = 0;
  bool inverse = false;
  cufftHandle handle = 0;
  std::size_t work_bytes = 0;
};

class Plans {
 public:
  Plans() = default;
  Plans(const Plans&) = delete;
  Plans& operator=(const Plans&) = delete;
  ~Plans() {
    for (const Plan& plan : plans_) cufft().destroy(plan.handle);
  }

  /// The plan for these sizes on the current device, last used first.
  DeviceStatus find(Plan wanted, Plan& found) {
    if (const cudaError_t error = cudaGetDevice(&wanted.device)) return error;
    const auto same = [&](const Plan& plan) {
      return plan.device == wanted.device && plan.samples == wanted.samples &&
             plan.batch == wanted.batch && plan.inverse == wanted.inverse;
    };
    const auto at = std::find_if(plans_.begin(), plans_.end(), same);
    if (at != plans_.end()) {
      std::rotate(plans_.begin(), at, at + 1);
    } else {
      if (!make(wanted)) return kFftFailed;
      plans_.insert(plans_.begin(), wanted);
      if (plans_.size() > kKept) {
        cufft().destroy(plans_.back().handle);
        plans_.pop_back();
      }
    }
    found = plans_.front();
    return 0;
  }

 private:
  // A layer's way forth and back takes at most eight: whole tiles and their rests.
  static constexpr std::size_t kKept = 32;

  static bool make(Plan& plan) {
    if (cufft().create(&plan.handle) != CUFFT_SUCCESS) return false;
    long long size[1] = {plan.samples}, reals[1] = {signal_pitch(plan.samples)},
              bins[1] = {signal_pitch(plan.samples) / 2};
    const bool made =
        cufft().set_auto_allocation(plan.handle, 0) == CUFFT_SUCCESS &&
        (plan.inverse
             ? cufft().make_plan(plan.handle, 1, size, bins, 1, bins[0], reals, 1, reals[0],
                                 CUFFT_C2R, plan.batch, &plan.work_bytes)
             : cufft().make_plan(plan.handle, 1, size, reals, 1, reals[0], bins, 1, bins[0],
                                 CUFFT_R2C, plan.batch, &plan.work_bytes)) == CUFFT_SUCCESS;
    if (!made) cufft().destroy(plan.handle);
    return made;
  }

  std::vector<Plan> plans_;
};

DeviceStatus run(const Plan& plan, float* data, void* work, cudaStream_t stream) {
  const bool ready =
      cufft().set_stream(plan.handle, stream) == CUFFT_SUCCESS &&
      (plan.work_bytes == 0 || cufft().set_work_area(plan.handle, work) == CUFFT_SUCCESS);
  if (!ready) return kFftFailed;
  auto* const spectra = reinterpret_cast<cufftComplex*>(data);
  const cufftResult result = plan.inverse ? cufft().inverse(plan.handle, spectra, data)
                                          : cufft().forward(plan.handle, data, spectra);
  return result == CUFFT_SUCCESS ? 0 : kFftFailed;
}

}  // namespace

template <>
DeviceStatus transform_signals(float* data, std::int64_t samples, std::int64_t batch, bool inverse,
                               const DeviceLaunch& on) {
  if (batch == 0) return 0;
  if (!cufft().whole) return kNoFftLibrary;
  thread_local Plans plans;
  Plan plan;
  if (const DeviceStatus status =
          plans.find({.samples = samples, .batch = batch, .inverse = inverse}, plan))
    return status;
  const auto stream = static_cast<cudaStream_t>(on.stream);
  if (plan.work_bytes <= on.workspace_bytes) return run(plan, data, on.workspace, stream);
  void* work = nullptr;  // in the stream's order, so that it lives until the transform has ended
  if (const cudaError_t error = cudaMallocAsync(&work, plan.work_bytes, stream)) return error;
  const DeviceStatus status = run(plan, data, work, stream);
  const cudaError_t freed = cudaFreeAsync(work, stream);
  return status ? status : freed;
}

}  // namespace rill
