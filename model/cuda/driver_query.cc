#include "model/cuda/driver_query.h"

#include <cuda.h>
#include <dlfcn.h>

#include <array>
#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace drover::cuda {
namespace {

constexpr char kNoDriver[] = "no NVIDIA driver is loaded";

// The driver's library, loaded when first asked for and kept: the CUDA runtime
// uses it too. Null members: there is none.
struct Driver {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuDriverGetVersion) get_version = nullptr;
  decltype(&::cuDeviceGetCount) get_count = nullptr;
  decltype(&::cuDeviceGet) get_device = nullptr;
  decltype(&::cuDeviceGetName) get_name = nullptr;
  decltype(&::cuDeviceGetAttribute) get_attribute = nullptr;
  decltype(&::cuGetErrorString) get_error_string = nullptr;

  bool is_complete() const {
    return init != nullptr && get_version != nullptr && get_count != nullptr &&
           get_device != nullptr && get_name != nullptr &&
           get_attribute != nullptr && get_error_string != nullptr;
  }

  // What the result of one of them means.
  absl::Status Status(CUresult result) const {
    if (result == CUDA_SUCCESS) return absl::OkStatus();
    if (result == CUDA_ERROR_NO_DEVICE) {
      return absl::NotFoundError("CUDA sees no GPU");
    }
    if (result == CUDA_ERROR_STUB_LIBRARY) {
      return absl::NotFoundError(kNoDriver);
    }
    const char* text = nullptr;
    get_error_string(result, &text);
    return absl::FailedPreconditionError(absl::StrCat(
        "the NVIDIA driver answers with error ", static_cast<int>(result), ", ",
        text == nullptr ? "which it does not know" : text));
  }
};

template <typename Function>
void Find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
}

Driver LoadDriver() {
  Driver driver;
  void* library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) return driver;
  Find(library, "cuInit", driver.init);
  Find(library, "cuDriverGetVersion", driver.get_version);
  Find(library, "cuDeviceGetCount", driver.get_count);
  Find(library, "cuDeviceGet", driver.get_device);
  Find(library, "cuDeviceGetName", driver.get_name);
  Find(library, "cuDeviceGetAttribute", driver.get_attribute);
  Find(library, "cuGetErrorString", driver.get_error_string);
  return driver;
}

// Empty where it is not told.
std::string ReadDriverRelease() {
  std::ifstream file("/proc/driver/nvidia/version");
  std::string line;
  std::getline(file, line);
  return DriverRelease(line);
}

}  // namespace

absl::StatusOr<GpuIdentity> AskDriver(int32_t index) {
  static const Driver driver = LoadDriver();
  if (!driver.is_complete()) return absl::NotFoundError(kNoDriver);
  GpuIdentity gpu = {.driver_release = ReadDriverRelease()};
  DROVER_RETURN_IF_ERROR(
      driver.Status(driver.get_version(&gpu.driver_cuda_version)));
  DROVER_RETURN_IF_ERROR(driver.Status(driver.init(/*Flags=*/0)));
  int num_devices = 0;
  DROVER_RETURN_IF_ERROR(driver.Status(driver.get_count(&num_devices)));
  if (index >= num_devices) {
    return absl::NotFoundError(absl::StrCat(
        "there is no GPU ", index, ": CUDA sees ", num_devices, " of them"));
  }
  CUdevice device = 0;
  DROVER_RETURN_IF_ERROR(driver.Status(driver.get_device(&device, index)));
  std::array<char, 256> name = {};
  DROVER_RETURN_IF_ERROR(driver.Status(
      driver.get_name(name.data(), static_cast<int>(name.size()) - 1, device)));
  gpu.name = name.data();
  DROVER_RETURN_IF_ERROR(driver.Status(driver.get_attribute(
      &gpu.major, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device)));
  DROVER_RETURN_IF_ERROR(driver.Status(driver.get_attribute(
      &gpu.minor, CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device)));
  return gpu;
}

}  // namespace drover::cuda
