// A library that a CUDA program loads by itself and that writes down when each
// kernel ran, with CUPTI:
//
//   CUDA_INJECTION64_PATH=libkernel_trace.so DROVER_TRACE=FILE program
//
// A line per kernel: begin and end in ns, thread blocks, name. The file, FILE
// with the process's number behind it, is written as the program runs and, if
// it does not end at once, when it ends.

#include <cupti.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <string>

namespace {

constexpr size_t kBufferBytes = size_t{8} << 20;

std::mutex file_mutex;

std::FILE* OutputFile() {
  static std::FILE* const file = [] {
    const char* const path = std::getenv("DROVER_TRACE");
    if (path == nullptr) return static_cast<std::FILE*>(nullptr);
    return std::fopen((path + ("." + std::to_string(getpid()))).c_str(), "w");
  }();
  return file;
}

void GiveBuffer(uint8_t** buffer, size_t* size, size_t* max_records) {
  *size = kBufferBytes;
  *buffer = static_cast<uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *max_records = 0;
}

void TakeBuffer(CUcontext, uint32_t, uint8_t* buffer, size_t, size_t valid) {
  const std::lock_guard lock(file_mutex);
  std::FILE* const file = OutputFile();
  CUpti_Activity* record = nullptr;
  while (file != nullptr &&
         cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind != CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) continue;
    const auto& kernel =
        *reinterpret_cast<const CUpti_ActivityKernel10*>(record);
    std::fprintf(file, "%llu %llu %d %s\n",
                 static_cast<unsigned long long>(kernel.start),
                 static_cast<unsigned long long>(kernel.end),
                 kernel.gridX * kernel.gridY * kernel.gridZ, kernel.name);
  }
  if (file != nullptr) std::fflush(file);
  std::free(buffer);
}

void Finish() {
  cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
  if (OutputFile() != nullptr) std::fflush(OutputFile());
}

}  // namespace

extern "C" int InitializeInjection() {
  cuptiActivityRegisterCallbacks(&GiveBuffer, &TakeBuffer);
  cuptiActivityEnable(CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL);
  std::atexit(&Finish);
  return 1;
}
