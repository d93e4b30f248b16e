"""Module 6, many devices: collectives, data, tensor and pipeline parallelism, sharded states."""
