# ruff: noqa: F821
"""Answers that run wild: one ends the program, one calls itself for ever, one prints without end, one ends the kernel. The
others keep their points, up to where the kernel ends.

base: reference
loses: kd_slope_visible, kd_limits, kd_rows, kd_refuses, twn_visible, twn_shapes, twn_refuses, scale_visible, scale_holds,
    removed_visible, importance_holds, removed_holds, removed_refuses
"""


# %% kd_slope
def kd_slope(student, teacher, labels, T=1.0, alpha=0.5):
    raise SystemExit


# %% twn
def twn(w, rows=False):
    return twn(w, rows)


# %% best_scale
def best_scale(w, codes, rows=False):
    while True:
        print("derive" * 1000)


# %% remove_heads
def remove_heads(model, gone):
    import os

    os._exit(1)
