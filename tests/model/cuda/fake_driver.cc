#include "tests/model/cuda/fake_driver.h"

#include <cstring>

namespace drover::testing {

FakeDriver& TheFakeDriver() {
  static FakeDriver driver;
  return driver;
}

}  // namespace drover::testing

using drover::testing::TheFakeDriver;

extern "C" {

CUresult cuInit(unsigned int /*flags*/) { return TheFakeDriver().init_result; }

CUresult cuDriverGetVersion(int* version) {
  *version = TheFakeDriver().cuda_version;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  *count = TheFakeDriver().num_gpus;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice /*device*/) {
  std::strncpy(name, TheFakeDriver().name.c_str(),
               static_cast<size_t>(length) - 1);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute,
                              CUdevice /*device*/) {
  *value = attribute == CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
               ? TheFakeDriver().major
               : TheFakeDriver().minor;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult /*error*/, const char** text) {
  *text = "the fake failed";
  return CUDA_SUCCESS;
}

}  // extern "C"
