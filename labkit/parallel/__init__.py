"""Module 06: where memory and time go, and how many devices share them.

    memory/          16 bytes a parameter: precision, accumulation, checkpointing, LAMB, and a plan of a whole run
    kernels/         bytes moved, access patterns, the roofline; the kernels themselves are in `labkit.cuda`
    data_parallel/   collectives, DDP, ZeRO 1, 2 and 3
    model_parallel/  tensor and pipeline parallelism, the 3-D grid of ranks
    offload/         the optimizer on the host, models larger than memory
    deepspeed.py     DeepSpeed's engine behind `labkit.fit`; `torchrun.py` starts ranks that may be restarted

`processes.py` starts the ranks of a program and names the one that fails; `trace.py` records what each did, and when.
"""
