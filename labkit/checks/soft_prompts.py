"""Checks of lesson 03/03, soft prompts: `from labkit.checks import soft_prompts as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "03/03"


@exercise(LESSON)
def splice(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Word vectors (batch, tokens, d) and a prompt (n, d) → (batch, tokens + n, d), the prompt behind the first token."""
    draw = torch.Generator().manual_seed(2)
    words, prompt = torch.randn(3, 5, 4, generator=draw), torch.randn(2, 4, generator=draw)
    rows = prompt.expand(3, -1, -1)
    value = function(words.clone(), prompt.clone())
    if torch.is_tensor(value) and value.shape == words.shape:
        raise Mistake("the text has as many tokens as before: the prompt's vectors stand between the words, they replace and change none")  # fmt: skip
    found = tensor(value, (3, 7, 4))
    mistakes = [
        (torch.cat([rows, words], 1), "the prompt stands before [CLS]: keep the first token where it is, and put the prompt behind it"),
        (torch.cat([words, rows], 1), "the prompt stands at the end: put it behind the first token"),
        (torch.cat([words[:, :-1], rows, words[:, -1:]], 1), "the prompt stands before the last token: put it behind the first"),
        (torch.cat([words[:, :1], rows.flip(1), words[:, 1:]], 1), "the prompt's vectors are in reverse order"),
        (torch.cat([words[:, :1], torch.zeros_like(rows), words[:, 1:]], 1), "the places are right, but zeros stand there: put the prompt's vectors in"),
    ]  # fmt: skip
    expect(found, torch.cat([words[:, :1], rows, words[:, 1:]], 1), "wanted: first token, the prompt, the other tokens, in every row of the batch", mistakes)  # fmt: skip
    trained = prompt.clone().requires_grad_(True)
    again = function(words, trained)
    if again.requires_grad:
        again.sum().backward()
    if trained.grad is None or not same(trained.grad, torch.full_like(prompt, 3.0)):
        raise Mistake("the values are right, but no gradient reaches the prompt: use expand and cat on the prompt itself, no .detach(), .data or torch.tensor(…)")  # fmt: skip


@exercise(LESSON)
def prefix_attention(function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Queries, keys, values (tokens, d) and prefix keys, values (n, d) → what attention gives with both: (tokens, d)."""
    draw = torch.Generator().manual_seed(4)
    queries, keys, values = (torch.randn(5, 4, generator=draw) * 2 for _ in range(3))
    before, given = (torch.randn(3, 4, generator=draw) * 2 for _ in range(2))
    found = tensor(function(*(one.clone() for one in (queries, keys, values, before, given))), (5, 4))

    def attention(every: Tensor, what: Tensor, scale: float = 2.0, dim: int = 1) -> Tensor:
        return (queries @ every.T / scale).softmax(dim) @ what

    both, all_values = torch.cat([before, keys]), torch.cat([given, values])
    own, other = attention(keys, values), attention(before, given)
    mistakes = [
        (attention(both, all_values, 1.0), "the scores are not divided by √d: q·k / √d_head, here √4"),
        (attention(both, all_values, 4.0), "the scores are divided by d: the square root of it is wanted"),
        (attention(both, all_values, dim=0), "your softmax runs over the queries: each query's weights, over the keys, must sum to 1"),
        (own, "this is attention without the prefix"),
        (other, "only the prefix is seen: the text's own keys and values belong to it too"),
        (own + other, "you added two attentions: prefix and text share one softmax, so that they compete for weight"),
        ((own + other) / 2, "you averaged two attentions: prefix and text share one softmax, so that they compete for weight"),
        (attention(both, torch.cat([values, given])), "keys begin with the prefix and values end with it: put both in the same order"),
        (attention(both, torch.cat([torch.zeros_like(given), values])), "the prefix's keys get weight, but its values are missing"),
    ]  # fmt: skip
    expect(found, attention(both, all_values), "wanted: softmax(Q [P_k; K]ᵀ / √d) [P_v; V]", mistakes)


@exercise(LESSON)
def trained_weights(function: Callable[[int, int, int, int], Mapping[str, int]]) -> None:
    """Tokens n, layers, width d, classes → {"prompt tuning": …, "prefix": …, "WARP": …}, the weights each trains."""
    cases = [(4, 3, 32, 2), (5, 7, 16, 9)]
    for n, layers, d, classes in cases:
        found = function(n, layers, d, classes)
        if not isinstance(found, Mapping) or set(found) != {"prompt tuning", "prefix", "WARP"}:
            raise Mistake('a dictionary with "prompt tuning", "prefix" and "WARP" is wanted')
        case = f"n = {n}, {layers} layers, d = {d}, {classes} classes"
        right = {"prompt tuning": n * d, "prefix": 2 * layers * n * d, "WARP": (n + classes) * d}
        likely = {
            "prompt tuning": [(n * layers * d, "a prompt stands before the first layer only"), (n, "each token is a vector of d numbers")],
            "prefix": [
                (layers * n * d, "a layer gets keys *and* values"),
                (2 * n * d, "every layer has a prefix of its own"),
                (n * d, "every layer has a prefix of its own, with keys and values"),
                (3 * layers * n * d, "a prefix has no queries: nobody asks from it"),
            ],
            "WARP": [
                (n * d, "each class has a trained vector too"),
                (classes * d, "the prompt's vectors train too"),
                (n * classes * d, "classes share one prompt: add their vectors, do not multiply"),
                (n * d + classes, "a class's vector has d numbers"),
            ],
        }  # fmt: skip
        for name, value in right.items():
            if found[name] != value:
                hint = next(
                    (text for wrong, text in likely[name] if found[name] == wrong), "count the vectors, times d"
                )
                raise Mistake(f"{name} with {case}: {found[name]} is not right; {hint}")
