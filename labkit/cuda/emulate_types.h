// emulate_types.h: CUDA's small types and functions for emulate.h, in plain C++.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct __half {
  uint16_t bits;
};
struct __nv_bfloat16 {
  uint16_t bits;
};

inline float emulate_float(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

inline uint32_t emulate_bits(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return bits;
}

inline float __bfloat162float(__nv_bfloat16 value) { return emulate_float(uint32_t{value.bits} << 16); }

// To the nearest, ties to even: add half of the last place kept, less one where that place is 0.
inline __nv_bfloat16 __float2bfloat16(float value) {
  uint32_t bits = emulate_bits(value);
  if (value != value) return {0x7FFF};
  return {static_cast<uint16_t>((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16)};
}

inline float __half2float(__half value) {
  uint32_t sign = uint32_t{value.bits & 0x8000u} << 16, rest = value.bits & 0x7FFFu;
  if (rest >= 0x7C00) return emulate_float(sign | 0x7F800000 | (rest << 13));  // infinity, NaN
  // The exponent moves from bias 15 to bias 127: a product with 2^112 is exact, subnormal numbers included.
  return emulate_float(sign | emulate_bits(emulate_float(rest << 13) * 0x1p112f));
}

inline __half __float2half(float value) {
  uint32_t bits = emulate_bits(value), sign = (bits >> 16) & 0x8000, rest = bits & 0x7FFFFFFF;
  if (rest > 0x7F800000) return {static_cast<uint16_t>(sign | 0x7FFF)};  // NaN
  if (rest >= 0x477FF000) return {static_cast<uint16_t>(sign | 0x7C00)};  // from 65520 on: infinity
  if (rest < 0x38800000) {  // below 2^-14: subnormal, in steps of 2^-24; the addition to 2^-1 rounds as it must
    return {static_cast<uint16_t>(sign | (emulate_bits(emulate_float(rest) + 0.5f) - 0x3F000000))};
  }
  rest += 0xFFF + ((rest >> 13) & 1);
  return {static_cast<uint16_t>(sign | ((rest - 0x38000000) >> 13))};
}

inline uint32_t __umulhi(uint32_t a, uint32_t b) { return static_cast<uint32_t>((uint64_t{a} * b) >> 32); }
inline float __expf(float value) { return std::exp(value); }
inline float rsqrtf(float value) { return 1.0f / std::sqrt(value); }

// Four products of signed bytes, added to `sum`: one instruction from compute capability 6.1 on.
inline int __dp4a(int a, int b, int sum) {
  for (int byte = 0; byte < 4; ++byte) {
    sum += static_cast<int8_t>(a >> (8 * byte)) * static_cast<int8_t>(b >> (8 * byte));
  }
  return sum;
}

// One thread runs at a time, so these need nothing more.
template <class T>
T atomicAdd(T* address, T value) {
  T old = *address;
  *address = old + value;
  return old;
}
