"""CUDA C++ kernels, each with its reference in plain PyTorch, built on demand."""
