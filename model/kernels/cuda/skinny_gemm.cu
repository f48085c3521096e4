#include "model/kernels/cuda/skinny_gemm.h"

#include <cuda.h>

#include <algorithm>
#include <cstdint>

#include "model/kernels/cuda/cluster.cuh"
#include "model/kernels/cuda/element.cuh"
#include "model/kernels/cuda/launch.cuh"
#include "model/kernels/cuda/mbarrier.cuh"
#include "model/kernels/cuda/named_barrier.cuh"
#include "model/kernels/cuda/reduce.cuh"
#include "model/kernels/cuda/tensor_map.h"
#include "model/kernels/cuda/weight_units.cuh"
#include "model/kernels/cuda/wgmma.cuh"

// Each multiprocessor should read the same share of the weight, without a
// pause, and little of x, which all of them want. So each has one thread block,
// which takes a tile of the weight's rows, or part of its depth: a part of it
// needs only that part of x. A warpgroup sums the products of 64 rows; one more
// warp starts the copies into a ring of buffers, the weight's even before the
// kernel in front has finished.
//
// Two parts of the depth are joined by the two thread blocks that have the same
// rows, a cluster: each ends half of the tokens. It is also what keeps x from
// taking most of the ring.
//
// Rows that a norm follows are left times its weight, and their squares' sums
// beside them: the next product divides its sums by the rows' root mean
// squares, when it has them, and nothing waits for a norm.

namespace drover::kernels::cuda {
namespace {

constexpr int kWarpgroupUnits = 4;
constexpr int kMaxUnits = 16;
constexpr int kMaxStages = 8;
constexpr int kMaxWarpgroups = kMaxUnits / kWarpgroupUnits;
constexpr int kNormWarps = 2;
constexpr int kMaxThreads = 768;  // leaves each 80 registers
constexpr int32_t kMaxRingBytes = 188 << 10;
// What was fastest: fewer barriers, and no more than keeps the memory busy.
constexpr int32_t kRingBytes = 150 << 10;
constexpr int32_t kStageBytes = 48 << 10;
// Each warpgroup's place for sums, behind the ring. Products of the last stage
// read on into it: past a warpgroup's units, where it has not all, and past x's
// rows, which are at least half of those multiplied.
constexpr uint32_t kStagingBytes = 9 << 10;
static_assert((kWarpgroupUnits - 1) * kUnitBytes <= kStagingBytes);
static_assert(kMaxSkinnyTokens / 2 * kRowBytes <= kStagingBytes);

template <typename T>
struct KernelArgs {
  SkinnyGemmArgs<T> gemm;
  int32_t num_units = 0;     // of a tile
  int32_t num_tiles = 0;     // of a thread block, at most
  int32_t num_stages = 0;    // of the ring
  int32_t stage_chunks = 0;  // of the depth, in a stage
  int32_t num_squares = 0;   // parts of a row's
};

template <typename T>
__device__ Vec<T> AddUp(Vec<T> values, const Vec<T>& others) {
#pragma unroll
  for (int i = 0; i < Vec<T>::kSize; ++i) {
    values.values[i] =
        FromFloat<T>(AsFloat(values.values[i]) + AsFloat(others.values[i]));
  }
  return values;
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)

// Each warpgroup has a barrier of its own, from 1 on.
constexpr int kNormsBarrier = kMaxWarpgroups + 1;

// What this thread block does.
struct Part {
  int32_t block = 0;       // of those that share the rows
  int32_t split = 0;       // of the depth
  int32_t first_unit = 0;  // of the rows
  int32_t end_unit = 0;
  int32_t first_chunk = 0;  // of the depth
  int32_t num_chunks = 0;
};

template <bool kInPairs, typename T>
__device__ Part FindPart(const KernelArgs<T>& args) {
  constexpr int32_t kSplits = kInPairs ? 2 : 1;
  const int32_t index = static_cast<int32_t>(blockIdx.x);
  const int32_t blocks = static_cast<int32_t>(gridDim.x) / kSplits;
  const int32_t units = args.gemm.out_features / kUnitRows;
  const int32_t chunks = args.gemm.in_features / kDepth;
  Part part;
  part.block = index / kSplits;
  part.split = index % kSplits;
  part.first_unit = part.block * units / blocks;
  part.end_unit = (part.block + 1) * units / blocks;
  part.first_chunk = part.split * chunks / kSplits;
  part.num_chunks = (part.split + 1) * chunks / kSplits - part.first_chunk;
  return part;
}

// The ring. A stage has some chunks of the depth: of each the rows of a tile's
// units, then of each the rows of x: of the kTokens that are multiplied only
// whole eights that hold tokens. The other products are nobody's.
template <int kTokens>
class Ring : public StageBarriers {
 public:
  __device__ Ring(uint32_t memory, uint64_t* full, uint64_t* empty,
                  int32_t num_units, int32_t num_x_rows, int32_t num_stages,
                  int32_t stage_chunks)
      : StageBarriers(full, empty, num_stages),
        memory_(memory),
        num_units_(num_units),
        num_x_rows_(num_x_rows),
        stage_chunks_(stage_chunks) {}

  __device__ uint32_t WeightChunkBytes() const {
    return num_units_ * kUnitBytes;
  }
  __device__ uint32_t XChunkBytes() const { return num_x_rows_ * kRowBytes; }
  __device__ uint32_t StageBytes() const {
    return stage_chunks_ * (WeightChunkBytes() + XChunkBytes());
  }
  __device__ uint32_t Weight(int stage) const {
    return memory_ + stage * StageBytes();
  }
  __device__ uint32_t X(int stage) const {
    return Weight(stage) + stage_chunks_ * WeightChunkBytes();
  }
  __device__ int32_t num_units() const { return num_units_; }
  __device__ int32_t stage_chunks() const { return stage_chunks_; }
  __device__ int32_t num_warpgroups() const {
    return (num_units_ + kWarpgroupUnits - 1) / kWarpgroupUnits;
  }

 private:
  const uint32_t memory_;
  const int32_t num_units_;
  const int32_t num_x_rows_;
  const int32_t stage_chunks_;
};

// Where the producer is: a stage's chunks of a tile.
struct Walk {
  int32_t unit = 0;   // the tile's first
  int32_t chunk = 0;  // of the block's
  Place place;

  __device__ bool IsDone(const Part& part) const {
    return unit >= part.end_unit;
  }
  template <int kTokens>
  __device__ void Next(const Part& part, const Ring<kTokens>& ring) {
    chunk += ring.stage_chunks();
    if (chunk >= part.num_chunks) {
      chunk = 0;
      unit += ring.num_units();
    }
    place.Next(ring.num_stages());
  }
};

// One thread's walk over all chunks of all tiles.
template <typename T, int kTokens>
__device__ void Produce(const CUtensorMap& weight_map, const CUtensorMap& x_map,
                        const KernelArgs<T>& args, const Part& part,
                        const Ring<kTokens>& ring) {
  const uint64_t policy = EvictFirst();
  const auto start_weight = [&](const Walk& walk) {
    const int stage = walk.place.stage;
    ring.full(stage).ArriveExpecting(ring.StageBytes());
    StartBoxCopy(ring.Weight(stage), weight_map, ring.full(stage), policy,
                 walk.unit, part.first_chunk + walk.chunk);
  };
  const auto start_x = [&](const Walk& walk) {
    const int stage = walk.place.stage;
    StartBoxCopy(ring.X(stage), x_map, ring.full(stage),
                 part.first_chunk + walk.chunk);
  };
  const Walk begin = {.unit = part.num_chunks > 0 ? part.first_unit
                                                  : part.end_unit};
  Walk walk = begin;
  for (; !walk.IsDone(part) && walk.place.phase == 0; walk.Next(part, ring)) {
    start_weight(walk);
  }
  WaitForInputs();
  walk = begin;
  for (; !walk.IsDone(part) && walk.place.phase == 0; walk.Next(part, ring)) {
    start_x(walk);
  }
  for (; !walk.IsDone(part); walk.Next(part, ring)) {
    // The readers of what is there, whose phase came before this one.
    ring.empty(walk.place.stage).Wait(walk.place.phase ^ 1);
    start_weight(walk);
    start_x(walk);
  }
}

// The sums of a warpgroup's units of one tile; of none, only keeps step with
// the others.
template <typename T, int kTokens>
__device__ void SumUnits(const Ring<kTokens>& ring, int warpgroup,
                         bool is_active, int32_t num_chunks, Place& place,
                         float (&sums)[kTokens / 8][4]) {
  const bool releases = threadIdx.x % 32 == 0;
  for (int32_t chunk = 0; chunk < num_chunks; chunk += ring.stage_chunks()) {
    ring.full(place.stage).Wait(place.phase);
    if (is_active) {
      uint64_t a = SwizzledFactor(ring.Weight(place.stage) +
                                  warpgroup * kWarpgroupUnits * kUnitBytes);
      uint64_t b = SwizzledFactor(ring.X(place.stage));
      const int32_t chunks = min(ring.stage_chunks(), num_chunks - chunk);
      BeginProducts();
      for (int32_t i = 0; i < chunks; ++i) {
#pragma unroll
        for (int k = 0; k < kDepth / 16; ++k) {
          Multiply(T{}, a + 2 * k, b + 2 * k, chunk + i + k > 0, sums);
        }
        a += ring.WeightChunkBytes() >> 4;
        b += ring.XChunkBytes() >> 4;
      }
      EndProducts();
      AwaitProducts<0>();
      HoldSums(sums);
    }
    if (releases) ring.empty(place.stage).Arrive();
    place.Next(ring.num_stages());
  }
}

// Both at once; `to` is aligned to them.
template <typename T>
__device__ __forceinline__ void StorePair(T* to, float first, float second) {
  *reinterpret_cast<uint32_t*>(to) = Pack<T>(first, second);
}

// A token's place among staged ones, of each kRows values; the room between
// tokens keeps threads off each other's banks.
template <typename T, int kRows>
constexpr int kStagedStride = kRows + Vec<T>::kSize;

// Gathers a warpgroup's sums of kTokens by token: `put` gets two of a thread's
// rows, times the token's factor, if there are any, and the token's place.
// Begins and ends with a barrier.
template <typename T, int kRows, int kTokens, typename Put>
__device__ __forceinline__ void Stage(const float (*sums)[4],
                                      const float* factors, T* staged,
                                      Put put) {
  static_assert(kTokens * kStagedStride<T, kRows> * sizeof(T) <= kStagingBytes);
  const int barrier = 1 + threadIdx.x / 128;
  const int first = threadIdx.x % 4 * 2;
  // All before the first `put`, which might write there as far as is known.
  float scale[kTokens / 8][2];
#pragma unroll
  for (int i = 0; i < kTokens / 8; ++i) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      scale[i][c] = factors != nullptr ? factors[8 * i + first + c] : 1.0f;
    }
  }
  NamedSync(barrier, 128);  // all have read what was there
#pragma unroll
  for (int i = 0; i < kTokens / 8; ++i) {
#pragma unroll
    for (int c = 0; c < 2; ++c) {
      put(sums[i][c] * scale[i][c], sums[i][2 + c] * scale[i][c],
          staged + (8 * i + first + c) * kStagedStride<T, kRows>);
    }
  }
  NamedSync(barrier, 128);
}

// A warpgroup's sums to `out`, of which a token has `stride` elements.
template <typename T, int kRows, int kTokens, typename Put>
__device__ __forceinline__ void StoreByToken(
    const float (&sums)[kTokens / 8][4], const float* factors,
    int32_t num_tokens, int32_t num_rows, unsigned char* staging, T* out,
    int32_t stride, Put put) {
  constexpr int kSize = Vec<T>::kSize;
  auto* const staged = reinterpret_cast<T*>(staging);
  Stage<T, kRows, kTokens>(sums, factors, staged, put);
  for (int i = threadIdx.x % 128; i < kTokens * kRows / kSize; i += 128) {
    const int token = i / (kRows / kSize);
    const int row = i % (kRows / kSize) * kSize;
    if (token >= num_tokens || row >= num_rows) continue;
    StoreGlobal(out + token * stride + row,
                LoadVec(staged + token * kStagedStride<T, kRows> + row));
  }
}

// Of two rows, if there are such and there is one.
template <typename T>
__device__ __forceinline__ float2 BiasOf(const SkinnyGemmArgs<T>& args,
                                         bool has_rows, int32_t first,
                                         int32_t second) {
  if (args.bias == nullptr || !has_rows) return {};
  return {AsFloat(args.bias[first]), AsFloat(args.bias[second])};
}

// Rows [first_row, end_row) are the warpgroup's.
template <typename T, int kTokens>
__device__ void StoreSums(const SkinnyGemmArgs<T>& args, int32_t first_row,
                          int32_t end_row, const float (&sums)[kTokens / 8][4],
                          const float* factors, unsigned char* staging) {
  constexpr int kRows = kWarpgroupUnits * kUnitRows;
  const int32_t num_rows = end_row - first_row;
  const int unit = threadIdx.x % 128 / 32;
  const int pair = threadIdx.x % 32 / 4;  // of the unit's eight
  const bool has_rows = unit * kUnitRows < num_rows;
  if (args.silu_mul) {
    const int32_t size = args.out_features / 2;
    const int32_t row = unit * 8 + pair;
    const float2 bias =
        BiasOf(args, has_rows, first_row / 2 + row, size + first_row / 2 + row);
    StoreByToken<T, kRows / 2, kTokens>(
        sums, factors, args.num_tokens, num_rows / 2, staging,
        args.out + first_row / 2, size, [&](float gate, float up, T* to) {
          to[row] = SiluMul<T>(gate + bias.x, up + bias.y);
        });
    return;
  }
  const int32_t row = unit * kUnitRows + 2 * pair;
  const float2 bias =
      BiasOf(args, has_rows, first_row + row, first_row + row + 1);
  StoreByToken<T, kRows, kTokens>(
      sums, factors, args.num_tokens, num_rows, staging, args.out + first_row,
      args.out_features, [&](float first, float second, T* to) {
        StorePair(to + row, first + bias.x, second + bias.y);
      });
}

// A warpgroup's link to that of the other thread block with the same rows. Turn
// by turn each sends the sums of kSums of a thread, and gets as many.
template <int kSums>
class Pair {
 public:
  // The barriers: Init()'s.
  __device__ Pair(int32_t rank, uint64_t* came, uint64_t* taken,
                  unsigned char* staging)
      : rank_(rank),
        came_(came),
        taken_(taken),
        staging_(reinterpret_cast<float4*>(staging) + threadIdx.x % 128) {}

  __device__ static void Init(uint64_t* came, uint64_t* taken, int count) {
    for (int i = 0; i < count; ++i) {
      Barrier(came + i).Init(1);
      Barrier(taken + i).Init(4);  // its warps
    }
    PublishBarriers();
  }

  __device__ int32_t rank() const { return rank_; }

  // Before the first Send.
  __device__ void BeginTurn() const {
    if (threadIdx.x % 128 == 0) came_.ArriveExpecting(128 * kSums * 4);
    if (turn_ == 0) {
      AwaitArrivals();
    } else {
      taken_.WaitInCluster((turn_ - 1) & 1);
    }
  }
  // Of the turn, the i-th four.
  __device__ void Send(int i, const float (&sums)[4]) const {
    SendTo(rank_ ^ 1, staging_ + 128 * i, sums, came_);
  }
  // What the other one has sent, when it has come.
  __device__ void AddTo(float (&sums)[kSums / 4][4]) const {
    came_.WaitInCluster(turn_ & 1);
#pragma unroll
    for (int i = 0; i < kSums / 4; ++i) {
      const float4 others = staging_[128 * i];
      sums[i][0] += others.x;
      sums[i][1] += others.y;
      sums[i][2] += others.z;
      sums[i][3] += others.w;
    }
  }

  // The other one may send again: this warp has done with what is in staging.
  // Not after the last turn: it may be gone.
  __device__ void EndTurn() {
    __syncwarp();
    if (threadIdx.x % 32 == 0) taken_.ArriveAt(rank_ ^ 1);
    ++turn_;
  }

 private:
  const int32_t rank_;
  const Barrier came_;
  const Barrier taken_;
  float4* const staging_;
  uint32_t turn_ = 0;
};

// Eights of tokens that one of the two ends. The second half of eight tokens is
// nobody's.
template <int kTokens>
constexpr int kOwnEights = kTokens == 8 ? 1 : kTokens / 16;
template <int kTokens>
using Link = Pair<4 * kOwnEights<kTokens>>;

// Of as many lanes, side by side, as share something.
template <int kLanes>
__device__ __forceinline__ float SumOfLanes(float value) {
#pragma unroll
  for (int distance = 1; distance < kLanes; distance *= 2) {
    value += __shfl_xor_sync(kAllLanes, value, distance);
  }
  return value;
}

// Sends a thread's sums of the tokens that the other block ends, and leaves
// those of its own.
template <int kTokens>
__device__ __forceinline__ void SendOthers(
    const Link<kTokens>& pair, const float (&sums)[kTokens / 8][4],
    float (&own)[kOwnEights<kTokens>][4]) {
#pragma unroll
  for (int i = 0; i < kOwnEights<kTokens>; ++i) {
    const int high = kTokens > 8 ? kOwnEights<kTokens> + i : i;
    float theirs[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      theirs[k] = pair.rank() == 0 ? sums[high][k] : sums[i][k];
      own[i][k] = pair.rank() == 0 ? sums[i][k] : sums[high][k];
    }
    pair.Send(i, theirs);
  }
}

// Multiplies, and returns the sum of the squares that there were.
template <typename T>
__device__ __forceinline__ float Weight(Vec<T>& row, const Vec<T>& weight) {
  float squares = 0.0f;
#pragma unroll
  for (int k = 0; k < Vec<T>::kSize; ++k) {
    const float value = AsFloat(row.values[k]);
    squares += value * value;
    row.values[k] = FromFloat<T>(value * AsFloat(weight.values[k]));
  }
  return squares;
}

// As StoreSums, with the other block's sums and the residual, and what a norm
// needs. group: of the squares' parts, this one.
template <typename T, int kTokens>
__device__ void JoinAndStore(const KernelArgs<T>& args, int32_t first_row,
                             int32_t end_row, int32_t group, bool has_more,
                             const float (&sums)[kTokens / 8][4],
                             const float* factors, unsigned char* staging,
                             Link<kTokens>& pair) {
  constexpr int kRows = kWarpgroupUnits * kUnitRows;
  constexpr int kSize = Vec<T>::kSize;
  constexpr int kRowVecs = kRows / kSize;
  constexpr int kOwn = kOwnEights<kTokens>;
  constexpr int kVecs = (8 * kOwn * kRowVecs + 127) / 128;
  const SkinnyGemmArgs<T>& gemm = args.gemm;
  const int32_t num_rows = end_row - first_row;
  const int32_t thread = threadIdx.x % 128;
  const int32_t chunk = thread % kRowVecs * kSize;
  const int32_t pair_row = thread / 32 * kUnitRows + 2 * (thread % 32 / 4);
  const float2 bias = BiasOf(gemm, pair_row < num_rows, first_row + pair_row,
                             first_row + pair_row + 1);
  const int32_t first_token = pair.rank() * 8 * kOwn;
  const auto token = [&](int j) {
    return j * (128 / kRowVecs) + thread / kRowVecs;
  };
  const auto is_own = [&](int j) {
    return token(j) < 8 * kOwn && first_token + token(j) < gemm.num_tokens &&
           chunk < num_rows;
  };
  const auto index = [&](int j) {
    return (first_token + token(j)) * gemm.out_features + first_row + chunk;
  };
  float own[kOwn][4];
  pair.BeginTurn();
  SendOthers<kTokens>(pair, sums, own);
  uint4 residual[kVecs] = {};
#pragma unroll
  for (int j = 0; j < kVecs; ++j) {
    if (gemm.residual != nullptr && is_own(j)) {
      residual[j] = LoadWords(gemm.residual + index(j));
    }
  }
  uint4 weight = {};
  if (gemm.norm_weight != nullptr && chunk < num_rows) {
    weight = LoadWords(gemm.norm_weight + first_row + chunk);
  }
  pair.AddTo(own);
  auto* const staged = reinterpret_cast<T*>(staging);
  Stage<T, kRows, 8 * kOwn>(
      own, factors == nullptr ? nullptr : factors + first_token, staged,
      [&](float first, float second, T* to) {
        StorePair(to + pair_row, first + bias.x, second + bias.y);
      });
#pragma unroll
  for (int j = 0; j < kVecs; ++j) {
    float squares = 0.0f;
    if (is_own(j)) {
      Vec<T> row = LoadVec(staged + token(j) * kStagedStride<T, kRows> + chunk);
      if (gemm.residual != nullptr) row = AddUp(row, AsVec<T>(residual[j]));
      StoreGlobal(gemm.out + index(j), row);
      if (gemm.norm_weight != nullptr) {
        squares = Weight(row, AsVec<T>(weight));
        StoreGlobal(gemm.weighted + index(j), row);
      }
    }
    if (gemm.norm_weight == nullptr) continue;
    squares = SumOfLanes<kRowVecs>(squares);
    if (is_own(j) && chunk == 0) {
      gemm.squares[(first_token + token(j)) * args.num_squares + group] =
          squares;
    }
  }
  if (has_more) pair.EndTurn();
}

// Each token's norm factor, to shared memory: warps of their own, beside the
// products, since loads take 3 us where weights crowd the memory.
template <typename T>
__device__ void FindNorms(const SkinnyGemmArgs<T>& args, float* norms) {
  constexpr int kLanes = 8;                        // share a token
  constexpr int kRows = 32 * kNormWarps / kLanes;  // tokens at once
  constexpr int kTurns = 2;                        // whose loads are together
  constexpr int kLoads = 8;                        // of a lane and token
  const int32_t lane = threadIdx.x % kLanes;
  const int32_t row = threadIdx.x % (32 * kNormWarps) / kLanes;
  for (int32_t first = 0; first < args.num_tokens; first += kTurns * kRows) {
    float sums[kTurns] = {};
    for (int32_t i = lane; i < args.num_x_squares; i += kLanes * kLoads) {
      float parts[kTurns][kLoads];
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
        const int32_t token = first + turn * kRows + row;
#pragma unroll
        for (int j = 0; j < kLoads; ++j) {
          const int32_t part = i + j * kLanes;
          parts[turn][j] =
              token < args.num_tokens && part < args.num_x_squares
                  ? args.x_squares[token * args.num_x_squares + part]
                  : 0.0f;
        }
      }
#pragma unroll
      for (int turn = 0; turn < kTurns; ++turn) {
#pragma unroll
        for (int j = 0; j < kLoads; ++j) sums[turn] += parts[turn][j];
      }
    }
#pragma unroll
    for (int turn = 0; turn < kTurns; ++turn) {
      const int32_t token = first + turn * kRows + row;
      sums[turn] = SumOfLanes<kLanes>(sums[turn]);
      if (lane == 0 && token < args.num_tokens) {
        norms[token] = rsqrtf(
            sums[turn] / static_cast<float>(args.in_features) + args.epsilon);
      }
    }
  }
}

template <typename T, int kTokens, bool kInPairs>
__device__ void Consume(const KernelArgs<T>& args, const Part& part,
                        const Ring<kTokens>& ring, unsigned char* staging,
                        Link<kTokens>& pair, float* norms) {
  const SkinnyGemmArgs<T>& gemm = args.gemm;
  const int warpgroup = __shfl_sync(kAllLanes, threadIdx.x / 128, 0);
  if (gemm.x_squares == nullptr) norms = nullptr;
  Place place;
  float sums[kTokens / 8][4] = {};
  int32_t group =
      part.block * args.num_tiles * ring.num_warpgroups() + warpgroup;
  for (int32_t tile = part.first_unit; tile < part.end_unit;
       tile += ring.num_units(), group += ring.num_warpgroups()) {
    const int32_t unit = tile + warpgroup * kWarpgroupUnits;
    const int32_t end_unit = min(min(part.end_unit, tile + ring.num_units()),
                                 unit + kWarpgroupUnits);
    const bool is_active = unit < end_unit;
    SumUnits<T, kTokens>(ring, warpgroup, is_active, part.num_chunks, place,
                         sums);
    if (norms != nullptr && tile == part.first_unit) {
      NamedSync(kNormsBarrier, 128 * ring.num_warpgroups() + 32 * kNormWarps);
    }
    if (!is_active) break;  // nor in a later tile, the last being the smallest
    const int32_t first_row = unit * kUnitRows;
    const int32_t end_row = end_unit * kUnitRows;
    if constexpr (!kInPairs) {
      StoreSums<T, kTokens>(gemm, first_row, end_row, sums, norms, staging);
    } else {
      const bool has_more = unit + ring.num_units() < part.end_unit;
      JoinAndStore<T, kTokens>(args, first_row, end_row, group, has_more, sums,
                               norms, staging, pair);
    }
  }
  if (!kInPairs || gemm.squares == nullptr || pair.rank() != 0) return;
  // The parts for which it had no rows.
  const int32_t end_group =
      (part.block + 1) * args.num_tiles * ring.num_warpgroups();
  for (; group < end_group; group += ring.num_warpgroups()) {
    for (int32_t t = threadIdx.x % 128; t < gemm.num_tokens; t += 128) {
      gemm.squares[t * args.num_squares + group] = 0.0f;
    }
  }
}

#endif  // __CUDA_ARCH_FEAT_SM90_ALL

template <typename T, int kTokens, bool kInPairs>
__global__ void __launch_bounds__(kMaxThreads, 1)
    SkinnyGemmKernel(const __grid_constant__ CUtensorMap weight_map,
                     const __grid_constant__ CUtensorMap x_map,
                     const __grid_constant__ KernelArgs<T> args) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ unsigned char memory[];
  __shared__ __align__(8) uint64_t full[kMaxStages];
  __shared__ __align__(8) uint64_t empty[kMaxStages];
  __shared__ __align__(8) uint64_t came[kMaxWarpgroups];
  __shared__ __align__(8) uint64_t taken[kMaxWarpgroups];
  // Also of the tokens that are nobody's: see kOwnEights.
  __shared__ float norms[std::max(kTokens, 16)];
  LetNextKernelStart();
  unsigned char* const aligned =
      memory + (1024 - SharedAddress(memory) % 1024) % 1024;
  const Ring<kTokens> ring(SharedAddress(aligned), full, empty, args.num_units,
                           RowsOfX(args.gemm.num_tokens), args.num_stages,
                           args.stage_chunks);
  const int warpgroup = threadIdx.x / 128;
  const bool is_producer =
      threadIdx.x / 32 == static_cast<uint32_t>(4 * ring.num_warpgroups());
  if (is_producer && threadIdx.x % 32 == 0) {
    ring.Init(4 * ring.num_warpgroups());
    if constexpr (kInPairs) Link<kTokens>::Init(came, taken, kMaxWarpgroups);
  }
  __syncthreads();
  if constexpr (kInPairs) ArriveInCluster();
  const Part part = FindPart<kInPairs>(args);
  if (warpgroup < ring.num_warpgroups()) {
    unsigned char* const staging = aligned +
                                   ring.num_stages() * ring.StageBytes() +
                                   warpgroup * kStagingBytes;
    Link<kTokens> pair(part.split, came + warpgroup, taken + warpgroup,
                       staging);
    WaitForInputs();
    Consume<T, kTokens, kInPairs>(args, part, ring, staging, pair, norms);
  } else if (!is_producer) {
    WaitForInputs();
    FindNorms(args.gemm, norms);
    NamedArrive(kNormsBarrier, 128 * ring.num_warpgroups() + 32 * kNormWarps);
  } else if (threadIdx.x % 32 == 0) {
    Produce<T, kTokens>(weight_map, x_map, args, part, ring);
  }
#else
  __trap();  // built for a Hopper without its own instructions
#endif
}

// ---- The host's side ----

int32_t Bucket(int32_t num_tokens) {
  return num_tokens <= 8    ? 8
         : num_tokens <= 16 ? 16
         : num_tokens <= 32 ? 32
                            : 64;
}

int32_t ChunkBytes(int32_t num_units, int32_t num_tokens) {
  return num_units * static_cast<int32_t>(kUnitBytes) +
         RowsOfX(num_tokens) * static_cast<int32_t>(kRowBytes);
}

int32_t NumWarpgroups(int32_t num_units) {
  return (num_units + kWarpgroupUnits - 1) / kWarpgroupUnits;
}

// The rows: each block, or pair of them, has tiles of num_units.
struct Deal {
  int32_t num_blocks = 1;
  int32_t num_tiles = 1;
  int32_t num_units = 1;
};

// At most 256 rows at once.
Deal DealOut(int32_t out_features, bool in_pairs, int32_t min_tiles) {
  const int32_t units = std::max(1, out_features / kUnitRows);
  const int32_t blocks = std::clamp(
      CurrentDevice().num_multiprocessors / (in_pairs ? 2 : 1), 1, units);
  const int32_t each = (units + blocks - 1) / blocks;
  Deal deal;
  deal.num_blocks = (units + each - 1) / each;
  deal.num_tiles =
      std::min(each, std::max(min_tiles, (each + kMaxUnits - 1) / kMaxUnits));
  deal.num_units = (each + deal.num_tiles - 1) / deal.num_tiles;
  return deal;
}

int32_t NumSquares(int32_t num_blocks, int32_t num_tiles, int32_t num_units) {
  return num_blocks * num_tiles * NumWarpgroups(num_units);
}

template <typename T, int kTokens, bool kInPairs>
void LaunchSkinny(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                  CudaStream stream) {
  static thread_local const bool allowed = [] {
    AllowSharedMemory(SkinnyGemmKernel<T, kTokens, kInPairs>,
                      kMaxRingBytes + kMaxWarpgroups * kStagingBytes + 1024);
    return true;
  }();
  static_cast<void>(allowed);
  const int32_t warpgroups = NumWarpgroups(shape.num_units);
  const int32_t units = args.out_features / kUnitRows;
  const int32_t each = (units + shape.num_blocks - 1) / shape.num_blocks;
  const int32_t tiles = (each + shape.num_units - 1) / shape.num_units;
  const auto chunks = static_cast<uint32_t>(shape.stage_chunks);
  const int32_t ring_bytes = shape.num_stages * shape.stage_chunks *
                             ChunkBytes(shape.num_units, args.num_tokens);
  const KernelArgs<T> kernel_args = {
      .gemm = args,
      .num_units = shape.num_units,
      .num_tiles = tiles,
      .num_stages = shape.num_stages,
      .stage_chunks = shape.stage_chunks,
      .num_squares = NumSquares(shape.num_blocks, tiles, shape.num_units)};
  Launch(
      SkinnyGemmKernel<T, kTokens, kInPairs>,
      {.grid =
           dim3(static_cast<uint32_t>((kInPairs ? 2 : 1) * shape.num_blocks)),
       .block = static_cast<uint32_t>(
           128 * warpgroups + 32 +
           (args.x_squares != nullptr ? 32 * kNormWarps : 0)),
       .shared_bytes = ring_bytes + warpgroups * kStagingBytes + 1024,
       .cluster = kInPairs ? 2u : 1u},
      stream,
      WeightMap(args.weight, args.out_features, args.in_features, args.silu_mul,
                static_cast<uint32_t>(shape.num_units), chunks),
      XMap(args.x, args.num_tokens, args.in_features, chunks), kernel_args);
}

}  // namespace

template <typename T>
bool SkinnyGemmSupported(const SkinnyGemmArgs<T>& args) {
  const bool adds = args.residual != nullptr;
  return sizeof(T) == 2 && TensorMapsSupported() && !(args.silu_mul && adds) &&
         (adds || args.norm_weight == nullptr) && args.num_tokens >= 1 &&
         args.num_tokens <= kMaxSkinnyTokens &&
         args.in_features % kDepth == 0 && args.out_features % kUnitRows == 0;
}

// One thread block on each multiprocessor.
template <typename T>
SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>& args) {
  SkinnyGemmShape shape;
  // Of more than 32 tokens x would take more of the ring than the weight.
  shape.in_pairs =
      args.residual != nullptr || (!args.silu_mul && args.num_tokens > 32);
  // One tile's SiLU is then beside the reading of another's rows.
  const bool is_halved = args.silu_mul && args.num_tokens > 32;
  const Deal deal =
      DealOut(args.out_features, shape.in_pairs, is_halved ? 2 : 1);
  shape.num_blocks = deal.num_blocks;
  shape.num_units = deal.num_units;
  const int32_t chunk_bytes = ChunkBytes(shape.num_units, args.num_tokens);
  shape.stage_chunks = std::clamp(kStageBytes / chunk_bytes, 1, 4);
  shape.num_stages = std::clamp(kRingBytes / (shape.stage_chunks * chunk_bytes),
                                2, kMaxStages);
  return shape;
}

template <typename T, bool kInPairs>
void LaunchSkinny(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                  CudaStream stream) {
  switch (Bucket(args.num_tokens)) {
    case 8:
      return LaunchSkinny<T, 8, kInPairs>(args, shape, stream);
    case 16:
      return LaunchSkinny<T, 16, kInPairs>(args, shape, stream);
    case 32:
      return LaunchSkinny<T, 32, kInPairs>(args, shape, stream);
    default:
      return LaunchSkinny<T, 64, kInPairs>(args, shape, stream);
  }
}

template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, const SkinnyGemmShape& shape,
                CudaStream stream) {
  if constexpr (sizeof(T) == 2) {
    return shape.in_pairs
               ? LaunchSkinny<T, /*kInPairs=*/true>(args, shape, stream)
               : LaunchSkinny<T, /*kInPairs=*/false>(args, shape, stream);
  }
}

template <typename T>
void SkinnyGemm(const SkinnyGemmArgs<T>& args, CudaStream stream) {
  SkinnyGemm(args, ChooseSkinnyGemmShape(args), stream);
}

int32_t NumSquares(int32_t out_features) {
  const Deal deal = DealOut(out_features, /*in_pairs=*/true, /*min_tiles=*/1);
  return NumSquares(deal.num_blocks, deal.num_tiles, deal.num_units);
}

#define DROVER_INSTANTIATE(T)                                                \
  template bool SkinnyGemmSupported(const SkinnyGemmArgs<T>&);               \
  template SkinnyGemmShape ChooseSkinnyGemmShape(const SkinnyGemmArgs<T>&);  \
  template void SkinnyGemm(const SkinnyGemmArgs<T>&, const SkinnyGemmShape&, \
                           CudaStream);                                      \
  template void SkinnyGemm(const SkinnyGemmArgs<T>&, CudaStream);
DROVER_INSTANTIATE(float)
DROVER_INSTANTIATE(Float16)
DROVER_INSTANTIATE(BFloat16)
#undef DROVER_INSTANTIATE

}  // namespace drover::kernels::cuda
