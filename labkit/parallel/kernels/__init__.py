"""Lesson 06/02: why kernels are about bytes, and how to move fewer of them.

`access` counts what one warp asks of memory, in closed form and by brute force. `fusion` counts the bytes of chains of
operators, fused and not, `tally` those of programs that run. `roofline` says how fast a program can be, and measures
how fast it is. `workbench` compiles a kernel of one's own and runs it in the emulator. The library's kernels are in
`labkit.cuda`.
"""
