#pragma once

#include "model/kernels/cpu/parallel.h"
#include "model/kernels/cpu/simd.h"
#include "model/kernels/kernels.h"

// The kernels that treat each token by itself.

namespace drover::kernels::DROVER_KERNEL_ISA {

template <typename T>
void GatherRows(const GatherRowsArgs<T>& args) {
  ParallelFor(args.num_rows, args.num_rows * args.row_size, [&](int64_t i) {
    __builtin_memcpy(args.out + i * args.row_size,
                     args.table + args.ids[i] * args.row_size,
                     args.row_size * sizeof(T));
  });
}

// weight * T(x * inverse_rms) for one row.
template <typename T>
void ScaleRow(const T* x, const T* weight, float inverse_rms, int64_t size,
              T* out) {
  ForVectors(0, size, [&](int64_t i, auto lanes) {
    const VecF normed = RoundTo<T>(Load(x + i, lanes) * inverse_rms);
    Store(Load(weight + i, lanes) * normed, out + i, lanes);
  });
}

inline float InverseRms(VecF squares, int64_t size, float epsilon) {
  const float mean = Sum(squares) / static_cast<float>(size);
  return 1.0f / __builtin_sqrtf(mean + epsilon);
}

template <typename T>
void RmsNorm(const RmsNormArgs<T>& args) {
  const int64_t size = args.hidden_size;
  ParallelFor(args.num_tokens, args.num_tokens * size, [&](int64_t token) {
    const T* x = args.x + token * size;
    VecF squares = {};
    ForVectors(0, size, [&](int64_t i, auto lanes) {
      const VecF v = Load(x + i, lanes);
      squares += v * v;
    });
    ScaleRow(x, args.weight, InverseRms(squares, size, args.epsilon), size,
             args.out + token * size);
  });
}

template <typename T>
void AddRmsNorm(const AddRmsNormArgs<T>& args) {
  const int64_t size = args.hidden_size;
  ParallelFor(args.num_tokens, args.num_tokens * size, [&](int64_t token) {
    T* residual = args.residual + token * size;
    const T* x = args.x + token * size;
    VecF squares = {};
    ForVectors(0, size, [&](int64_t i, auto lanes) {
      const VecF sum =
          RoundTo<T>(Load(residual + i, lanes) + Load(x + i, lanes));
      Store(sum, residual + i, lanes);
      squares += sum * sum;
    });
    ScaleRow(residual, args.weight, InverseRms(squares, size, args.epsilon),
             size, args.out + token * size);
  });
}

// Rotates one head from `in` to `out`, which may be the same.
template <typename T>
void RotateHead(const T* in, const float* cos, const float* sin, int64_t half,
                T* out) {
  ForVectors(0, half, [&](int64_t i, auto lanes) {
    const VecF a = Load(in + i, lanes);
    const VecF b = Load(in + half + i, lanes);
    const VecF c = Load(cos + i, lanes);
    const VecF s = Load(sin + i, lanes);
    Store(a * c - b * s, out + i, lanes);
    Store(b * c + a * s, out + half + i, lanes);
  });
}

template <typename T>
void RopeAppend(const RopeAppendArgs<T>& args) {
  const int64_t dim = args.head_dim;
  const int64_t half = dim / 2;
  const int64_t width = (args.num_heads + 2 * args.num_kv_heads) * dim;
  ParallelFor(args.num_tokens, args.num_tokens * width, [&](int64_t token) {
    T* q = args.qkv + token * width;
    const T* k = q + args.num_heads * dim;
    const T* v = k + args.num_kv_heads * dim;
    const float* cos = args.cos + args.positions[token] * half;
    const float* sin = args.sin + args.positions[token] * half;
    for (int32_t head = 0; head < args.num_heads; ++head) {
      RotateHead(q + head * dim, cos, sin, half, q + head * dim);
    }
    const int64_t block = args.slots[token] / kKvBlockSize;
    const int64_t row = args.slots[token] % kKvBlockSize;
    for (int32_t head = 0; head < args.num_kv_heads; ++head) {
      const int64_t offset =
          ((block * args.num_kv_heads + head) * kKvBlockSize + row) * dim;
      RotateHead(k + head * dim, cos, sin, half, args.k_cache + offset);
      __builtin_memcpy(args.v_cache + offset, v + head * dim, dim * sizeof(T));
    }
  });
}

// An exponential weighs as much as this many simpler operations.
inline constexpr int64_t kExpWork = 4;

template <typename T>
void SiluMul(const SiluMulArgs<T>& args) {
  const int64_t size = args.intermediate_size;
  const int64_t work = args.num_tokens * size * kExpWork;
  ParallelFor(args.num_tokens, work, [&](int64_t token) {
    const T* gate = args.gate_up + token * 2 * size;
    const T* up = gate + size;
    T* out = args.out + token * size;
    ForVectors(0, size, [&](int64_t i, auto lanes) {
      const VecF g = Load(gate + i, lanes);
      const VecF silu = RoundTo<T>(g / (1.0f + Exp(-g)));
      Store(silu * Load(up + i, lanes), out + i, lanes);
    });
  });
}

template <typename T>
void ConvertToFloat(const ToFloatArgs<T>& args) {
  constexpr int64_t kPiece = 16384;
  const int64_t num_pieces = (args.size + kPiece - 1) / kPiece;
  ParallelFor(num_pieces, args.size, [&](int64_t piece) {
    const int64_t begin = piece * kPiece;
    const int64_t end = begin + kPiece < args.size ? begin + kPiece : args.size;
    ForVectors(begin, end, [&](int64_t i, auto lanes) {
      Store(Load(args.x + i, lanes), args.out + i, lanes);
    });
  });
}

}  // namespace drover::kernels::DROVER_KERNEL_ISA
