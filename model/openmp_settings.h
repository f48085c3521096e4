#pragma once

namespace drover {

// How many rounds a thread of OpenMP's team spins at a barrier before it
// sleeps. libgomp's own 300000 are best while every CPU is the team's; with
// anybody else on one of them the team burns the time that its last thread
// needs. The demo model's golden tests on two cores (Zen 4), seconds, range of
// three runs; the neighbour is one loop that never sleeps, and "no neighbour" a
// shared machine on which others may have started something:
//
//   rounds         no neighbour      neighbour
//   300000           2.3 - 4.9     7.0 -  8.3
//    20000           2.3 - 2.6    15.8 - 18.1
//     5000           2.4 - 4.2     9.0 -  9.7
//     1000           2.6 - 3.2     5.0 -  5.8
//      100           3.5 - 4.3     3.8 -  4.6
//   0 (passive)      3.5 - 4.2     3.5 -  3.8
//
// 1000 is never far from the best of its column.
//
// OpenMP reads its settings when the program is loaded, before main: whoever
// starts a shard sets the variable, unless it or OMP_WAIT_POLICY is there.
inline constexpr const char* kOpenMpSpinVariable = "GOMP_SPINCOUNT";
inline constexpr const char* kOpenMpSpinCount = "1000";

}  // namespace drover
