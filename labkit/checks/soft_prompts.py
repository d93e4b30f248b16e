"""Checks of lesson 03/03, soft prompts: `from labkit.checks import soft_prompts as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, learns, tensor, trains, whole

LESSON = "03/03"
INPUTS = ("queries", "keys", "values", "prefix keys", "prefix values")


def _splice(words: Tensor, prompt: Tensor) -> Tensor:
    return torch.cat([words[:, :1], prompt.expand(len(words), -1, -1), words[:, 1:]], 1)


@exercise(LESSON, _splice)
def splice(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Word vectors (batch, tokens, d) and a prompt (n, d) → (batch, tokens + n, d), the prompt behind the first token."""
    draw = torch.Generator().manual_seed(2)
    words, prompt = torch.randn(3, 5, 4, generator=draw), torch.randn(2, 4, generator=draw).requires_grad_()
    value = function(words.clone(), prompt)
    if torch.is_tensor(value) and value.shape == words.shape:
        raise Mistake("the text has as many tokens as before: the prompt's vectors stand between the words, they replace and change none")  # fmt: skip
    found = tensor(value, (3, 7, 4), nan="a place of torch.empty that was never filled?")
    rows = prompt.detach().expand(3, -1, -1)
    mistakes = [
        (torch.cat([rows, words], 1), "the prompt stands before [CLS]: keep the first token where it is, and put the prompt behind it"),
        (torch.cat([words, rows], 1), "the prompt stands at the end: put it behind the first token"),
        (torch.cat([words[:, :-1], rows, words[:, -1:]], 1), "the prompt stands before the last token: put it behind the first"),
        (torch.cat([words[:, :1], rows.flip(1), words[:, 1:]], 1), "the prompt's vectors are in reverse order"),
        (torch.cat([words[:, :1], torch.zeros_like(rows), words[:, 1:]], 1), "the places are right, but zeros stand there: put the prompt's vectors in"),
    ]  # fmt: skip
    expect(found, _splice(words, rows[0]), "wanted: first token, the prompt, the other tokens, in every row of the batch", mistakes)  # fmt: skip
    tensor(value, (3, 7, 4), gradient=True)
    learns(value, _splice(words, prompt), {"prompt": prompt},
           "the values are right, but the prompt's gradient is not: the prompt itself must stand in every row, so that all rows of the batch train it",
           "the values are right, but no gradient reaches the prompt: a copy of it made with .detach(), .data, torch.tensor(…) or nn.Parameter(…) trains in its place")  # fmt: skip
    long, few = torch.randn(4, 6, generator=draw), torch.randn(1, 3, 6, generator=draw)
    again = tensor(function(few.clone(), long.clone()), (1, 7, 6), "for one text of 3 tokens and a prompt of 4, the result")  # fmt: skip
    expect(again, _splice(few, long), "right for 3 texts of 5 tokens and a prompt of 2, wrong for one text of 3 tokens and a prompt of 4: take the numbers from the tensors' shapes")  # fmt: skip


def _prefix_attention(queries: Tensor, keys: Tensor, values: Tensor, before: Tensor, theirs: Tensor) -> Tensor:
    return _attention(queries, torch.cat([before, keys]), torch.cat([theirs, values]))


def _attention(queries: Tensor, keys: Tensor, values: Tensor, scale: float | None = None, dim: int = 1) -> Tensor:
    return (queries @ keys.T / (scale or queries.shape[1] ** 0.5)).softmax(dim) @ values


@exercise(LESSON, _prefix_attention)
def prefix_attention(function: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]) -> None:
    """Queries, keys, values (tokens, d) and prefix keys, values (n, d) → what attention gives with both: (tokens, d)."""
    draw = torch.Generator().manual_seed(4)
    inputs = [(torch.randn(rows, 4, generator=draw) * 2).requires_grad_() for rows in (5, 5, 5, 3, 3)]
    value = function(*inputs)
    found = tensor(value, (5, 4), nan="a division by a sum of 0, or exp of a large number?", gradient=True)
    queries, keys, values, before, theirs = (one.detach() for one in inputs)
    both, all_values = torch.cat([before, keys]), torch.cat([theirs, values])
    own, other = _attention(queries, keys, values), _attention(queries, before, theirs)
    causal = torch.ones(5, 8, dtype=torch.bool).triu(4).float() * -1e9  # a token's later ones are hidden
    mistakes = [
        (_attention(queries, both, all_values, 1.0), "the scores are not divided by √d: q·k / √d_head, here √4"),
        (_attention(queries, both, all_values, 4.0), "the scores are divided by d: the square root of it is wanted"),
        (_attention(queries, both, all_values, 5**0.5), "the scores are divided by the square root of the number of tokens: d is the length of a vector, queries.shape[1]"),
        (_attention(queries, both, all_values, dim=0), "your softmax runs over the queries: each query's weights, over the keys, must sum to 1"),
        (own, "this is attention without the prefix"),
        (other, "only the prefix is seen: the text's own keys and values belong to it too"),
        (own + other, "you added two attentions: prefix and text share one softmax, so that they compete for weight"),
        ((own + other) / 2, "you averaged two attentions: prefix and text share one softmax, so that they compete for weight"),
        (_attention(queries, both, torch.cat([values, theirs])), "keys begin with the prefix and values end with it: put both in the same order"),
        (_attention(queries, both, torch.cat([torch.zeros_like(theirs), values])), "the prefix's keys get weight, but its values are missing"),
        ((queries @ both.T / 2 + causal).softmax(1) @ all_values, "you hid the later tokens: here every token sees all of the text, and the prefix"),
    ]  # fmt: skip
    expect(found, _attention(queries, both, all_values), "wanted: softmax(Q [P_k; K]ᵀ / √d) [P_v; V]", mistakes)
    learns(value, _prefix_attention(*inputs), dict(zip(INPUTS, inputs, strict=True)),
           "the values are right, but the gradient that reaches the {} is not: .detach(), .data and torch.tensor(…) cut it off")  # fmt: skip
    _wider(function, [torch.randn(rows, 9, generator=draw) for rows in (4, 4, 4, 2, 2)])


def _wider(function: Callable[..., Tensor], inputs: list[Tensor]) -> None:
    """Another d than 4, and scores so large that exp of them is infinite."""
    again = tensor(function(*inputs), (4, 9), "for d = 9, the result")
    expect(again, _prefix_attention(*inputs), "right for d = 4, wrong for d = 9: take d from the shape of the queries")
    wide = [inputs[0] * 100, *inputs[1:]]
    large = tensor(function(*wide), (4, 9), "for large scores, the result", "exp of a large score is infinite, and infinity divided by infinity is NaN: softmax guards against it")  # fmt: skip
    expect(large, _prefix_attention(*wide), "for large scores the answer breaks: do not take exp by hand, softmax guards against overflow", tolerance=1e-3)  # fmt: skip


def _trained_weights(n: int, layers: int, d: int, classes: int) -> dict[str, int]:
    return {"prompt tuning": n * d, "prefix": 2 * layers * n * d, "WARP": (n + classes) * d}


@exercise(LESSON, _trained_weights)
def trained_weights(function: Callable[[int, int, int, int], Mapping[str, int]]) -> None:
    """Tokens n, layers, width d, classes → {"prompt tuning": …, "prefix": …, "WARP": …}, the weights each trains."""
    for n, layers, d, classes in ((5, 7, 16, 9), (4, 3, 32, 2)):
        found, right = _counts(function(n, layers, d, classes)), _trained_weights(n, layers, d, classes)
        likely = {
            "prompt tuning": [
                (n * layers * d, "a prompt stands before the first layer only"),
                (n, "each token is a vector of d numbers"),
                ((n + classes) * d, "the label words stay as they are: no vectors for the classes"),
            ],
            "prefix": [
                (layers * n * d, "a layer gets keys *and* values"),
                (2 * n * d, "every layer has a prefix of its own"),
                (n * d, "every layer has a prefix of its own, with keys and values"),
                (3 * layers * n * d, "a prefix has no queries: nobody asks from it"),
                (2 * layers * n, "each key and each value is a vector of d numbers"),
            ],
            "WARP": [
                (n * d, "each class has a trained vector too"),
                (classes * d, "the prompt's vectors train too"),
                (n * classes * d, "classes share one prompt: add their vectors, do not multiply"),
                (n * d + classes, "a class's vector has d numbers"),
            ],
        }  # fmt: skip
        for name, value in right.items():
            told = f"{name} with n = {n}, {layers} layers, d = {d}, {classes} classes: {found[name]} is not right; "
            mistakes = [(wrong, told + text) for wrong, text in likely[name]]
            expect(found[name], value, told + "count the vectors, times d", mistakes)


def _counts(value: Any) -> dict[str, int]:
    """The learner's three counts as plain whole numbers; Mistake where they are none."""
    given(value)
    if not isinstance(value, Mapping) or set(value) != {"prompt tuning", "prefix", "WARP"}:
        raise Mistake('a dictionary with the keys "prompt tuning", "prefix" and "WARP", and no others, is wanted')
    return {name: whole(number, f'the number under "{name}"') for name, number in value.items()}


class _Mixture(nn.Module):
    """Four vectors, each a mixture of the same eight words: 32 numbers."""

    def __init__(self, words: Tensor) -> None:
        super().__init__()
        places = torch.randint(len(words), (8,), generator=torch.Generator().manual_seed(0))
        self.register_buffer("some", words[places])
        self.shares = nn.Parameter(torch.eye(4, 8))

    def forward(self) -> Tensor:
        return self.shares @ self.some


@exercise(LESSON, _Mixture)
def own_prompt(function: Callable[[Tensor], nn.Module]) -> None:
    """Word vectors (vocabulary, d) → a module that trains fewer than d numbers; called, it gives a prompt (n, d)."""
    draw = torch.Generator().manual_seed(6)
    for vocabulary, d in ((300, 160), (200, 128)):
        words = torch.randn(vocabulary, d, generator=draw)
        module = asked(function, words=words)
        if not isinstance(module, nn.Module):
            raise Mistake(f"a torch.nn.Module is wanted, so that training finds its numbers, not {type(module).__name__}")  # fmt: skip
        prompt = module()
        given(prompt, "what the module gives when it is called")
        rows = len(prompt) if torch.is_tensor(prompt) and prompt.ndim == 2 else 1
        tensor(prompt, (rows, d), "the prompt", "a place of torch.empty that was never filled?")
        if not 1 <= rows <= 16:
            raise Mistake(
                f"the prompt has {rows} vectors: 1 to 16 are wanted, each of them takes a place from the text"
            )
        trains(module, module, d - 1, f"fewer than d = {d} are wanted, because one free vector has as many. Is the table of words a Parameter? Keep what does not train with register_buffer(name, tensor)")  # fmt: skip
