"""Lesson 06/01: where the memory of training goes, and four ways to need less of it.

`anatomy` counts in closed form, `tracker` watches every tensor, `peaks` lays one beside the other. Then `precision`
(16 bits and fp32 masters), `accumulation`, `checkpointing`, `lamb`; `growth` starts a large model from a small one, and
`plan` says what fits on how many GPUs.
"""
