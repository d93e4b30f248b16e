"""Lesson 06/02: why kernels are about bytes, and how to move fewer of them.

`access` counts what one warp asks of memory, `traffic` what whole kernels move, both in closed form and by brute force.
`fusion` counts the bytes of chains of operators, fused and not, and watches real ones; `roofline` says how fast they
can be, `workbench` compiles a kernel of one's own for what is here: a GPU, or the emulator. The kernels are in
`labkit.cuda`.
"""
