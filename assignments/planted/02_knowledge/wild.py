# ruff: noqa: F821
"""Answers that run wild: one ends the program, one calls itself for ever, one prints without end, one ends the kernel. The
others keep their points, up to where the kernel ends.

base: reference
loses: transe_slopes_visible, transe_holds, transe_refuses, search_visible, search_holds, bm25_refuses,
    decoding_visible, decoding_holds, dkplm_refuses, ties_visible, ndcg_holds, ties_holds, ndcg_refuses
"""


# %% transe_slopes
def transe_slopes(*_, **__):
    raise SystemExit


# %% search
def search(*given):
    return search(*given)


# %% decoding_loss
def decoding_loss(*_, **__):
    while True:
        print("derive" * 1000)


# %% tied_ndcg
def tied_ndcg(*_):
    import os

    os._exit(1)
