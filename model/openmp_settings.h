#pragma once

#include <stdlib.h>
#include <unistd.h>

namespace drover {

// How long a thread of OpenMP's team spins at a barrier before it sleeps. By
// default it spins for about a second while the machine has a CPU for each
// thread; with the router, or anybody, on one of these CPUs the team's threads
// then burn the time that the one they wait for needs. Two cores, others
// building on them, the golden tests of the demo model: 6.9 s as it comes,
// 4.1 s with OMP_WAIT_POLICY=passive, 2.9 s with 1000 rounds, 2.6 s with 20000
// (some ten microseconds: longer than from one loop of a layer to the next).
inline constexpr const char* kOpenMpSpinVariable = "GOMP_SPINCOUNT";
inline constexpr const char* kOpenMpSpinCount = "20000";

// OpenMP reads its settings when the program is loaded, before main. Whoever
// starts a shard had better set the variable; this is for the shard that finds
// neither it nor OMP_WAIT_POLICY set: sets it and runs the program again from
// the start, which costs another load of LibTorch (0.2 s). The first statement
// of main, while there is one thread and no open file.
inline void RestartWithOpenMpSettings(char** argv) {
  if (getenv(kOpenMpSpinVariable) != nullptr ||
      getenv("OMP_WAIT_POLICY") != nullptr) {
    return;
  }
  if (setenv(kOpenMpSpinVariable, kOpenMpSpinCount, /*overwrite=*/1) == 0) {
    execv("/proc/self/exe", argv);
  }
  // Without /proc: slower beside busy neighbours, and right all the same.
}

}  // namespace drover
