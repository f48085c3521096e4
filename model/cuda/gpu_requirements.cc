#include "model/cuda/gpu_requirements.h"

#include <optional>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/strings.h"

namespace drover::cuda {
namespace {

constexpr int32_t kOldestMajor = 8;
constexpr int32_t kHopperMajor = 9;

std::string VersionString(int32_t cuda_version) {
  return absl::StrCat(cuda_version / 1000, ".", cuda_version % 1000 / 10);
}

// "NVIDIA H200 (compute capability 9.0, driver 580.95.05, CUDA 13.0)"
std::string Describe(const GpuIdentity& gpu) {
  return absl::StrCat(gpu.name, " (compute capability ", CapabilityString(gpu),
                      ", driver ", DriverString(gpu), ")");
}

// "90a-real" is {9, 0, true, true}; a word such as "all" is none.
struct Architecture {
  int32_t major = 0;
  int32_t minor = 0;
  bool is_specific = false;  // 'a': for this capability alone
  bool has_machine_code = true;
};

std::optional<Architecture> ParseArchitecture(absl::string_view text) {
  const bool is_virtual = absl::ConsumeSuffix(&text, "-virtual");
  absl::ConsumeSuffix(&text, "-real");
  const bool is_specific = absl::ConsumeSuffix(&text, "a");
  absl::ConsumeSuffix(&text, "f");  // the family: what holds without it too
  int32_t capability = 0;
  if (!absl::SimpleAtoi(text, &capability)) return std::nullopt;
  return Architecture{.major = capability / 10,
                      .minor = capability % 10,
                      .is_specific = is_specific,
                      .has_machine_code = !is_virtual};
}

bool RunsOn(const Architecture& code, const GpuIdentity& gpu) {
  if (!code.has_machine_code || code.major != gpu.major) return false;
  if (code.is_specific) return code.minor == gpu.minor;
  return gpu.major != kHopperMajor && code.minor <= gpu.minor;
}

bool HasCodeFor(const GpuIdentity& gpu, std::string_view architectures) {
  const std::vector<std::string> names =
      absl::StrSplit(ToAbsl(architectures), ',');
  for (const std::string& name : names) {
    const std::optional<Architecture> code = ParseArchitecture(name);
    if (code.has_value() ? RunsOn(*code, gpu) : gpu.major != kHopperMajor) {
      return true;
    }
  }
  return false;
}

}  // namespace

std::string CapabilityString(const GpuIdentity& gpu) {
  return absl::StrCat(gpu.major, ".", gpu.minor);
}

std::string DriverString(const GpuIdentity& gpu) {
  return absl::StrCat(gpu.driver_release,
                      gpu.driver_release.empty() ? "" : ", ", "CUDA ",
                      VersionString(gpu.driver_cuda_version));
}

absl::Status CheckRequirements(const GpuIdentity& gpu, const GpuBuild& build) {
  if (gpu.major < kOldestMajor) {
    return absl::FailedPreconditionError(
        absl::StrCat(Describe(gpu), " is too old: compute capability ",
                     kOldestMajor, ".0 or later is needed"));
  }
  const int32_t needed = build.cuda_version / 1000 * 1000;
  if (gpu.driver_cuda_version < needed) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the driver of ", Describe(gpu), " is too old: one for CUDA ",
        VersionString(needed), " or later is needed"));
  }
  if (!HasCodeFor(gpu, build.architectures)) {
    return absl::FailedPreconditionError(StrCat(
        "this program was not compiled for ", Describe(gpu), " but for ",
        build.architectures, ": build it with -DCMAKE_CUDA_ARCHITECTURES=",
        gpu.major, gpu.minor, gpu.major == kHopperMajor ? "a" : ""));
  }
  return absl::OkStatus();
}

std::string DriverRelease(std::string_view text) {
  const std::vector<std::string> words =
      absl::StrSplit(ToAbsl(text), absl::ByAnyChar(" \t\n"), absl::SkipEmpty());
  for (const std::string& word : words) {
    const bool is_version =
        absl::ascii_isdigit(static_cast<unsigned char>(word.front())) &&
        word.find('.') != std::string::npos &&
        word.find_first_not_of("0123456789.") == std::string::npos;
    if (is_version) return word;
  }
  return "";
}

}  // namespace drover::cuda
