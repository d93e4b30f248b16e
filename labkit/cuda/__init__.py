"""CUDA C++ kernels, each with its reference in plain PyTorch, compiled on demand and tested without a GPU.

| file | what |
|---|---|
| `layernorm.cu` `gelu.cu` `softmax.cu` `int8.cu` `cross_entropy.cu` | the kernels, one file a family |
| `common.cuh`, `int8_tensor.cuh` | what they share; the tensor-core path of `int8.cu` |
| `emulate.h` | the same files as plain C++: threads are fibers, barriers and shuffles really wait |
| `build.py` | `nvcc` for the GPU that is here, `g++` for the emulator; kept in `LABKIT_CACHE/cuda` |
| `reference.py` | every operation in plain PyTorch, on any device, in float64 too |
| `kernels.py` | the same functions through the compiled libraries |
| `ops.py` | the operations as `torch.compile` and autograd know them |
| `functions.py` | the public functions |

Every public function takes `backend`: "auto" (the kernels on a GPU, else the reference, with one notice), "cuda",
"reference", "emulate", or "emulate-falling" (the emulator's threads in the opposite order).

The emulator checks that the results are right; how fast a kernel is, only a GPU can say: benchmarks/cuda.py
measures it there, and no speed is claimed before. The tensor-core path of `int8.cu` uses `mma.sync` (compute capability
8.0 on): Turing's tensor cores and Hopper's `wgmma` are left unused.

    from labkit.cuda import bias_gelu
    y = bias_gelu(x, bias)                       # a GPU's kernel, or the reference
    y = bias_gelu(x, bias, backend="emulate")    # the kernel itself, on a CPU
"""

from __future__ import annotations

from labkit.cuda.build import Library, compile_source, load
from labkit.cuda.functions import (
    bias_dropout_residual_layernorm,
    bias_gelu,
    cross_entropy,
    gather_rows,
    int8_linear,
    quantise_rows,
    scale_mask_softmax,
)
from labkit.cuda.ops import BACKENDS

__all__ = [
    "BACKENDS",
    "Library",
    "bias_dropout_residual_layernorm",
    "bias_gelu",
    "compile_source",
    "cross_entropy",
    "gather_rows",
    "int8_linear",
    "load",
    "quantise_rows",
    "scale_mask_softmax",
]
