"""Checks of lesson 01/03, the Transformer: `from labkit.checks import transformer as check`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, tensor
from labkit.foundations.transformer import attention as parts
from labkit.foundations.transformer import positions, tokenization
from labkit.foundations.transformer.transformer import Layer, Settings
from labkit.lab import seeded

LESSON = "01/03"
Spelled = Mapping[tuple[str, ...], int]


def _best_pair(words: Spelled) -> tuple[str, str]:
    counts = tokenization.count_pairs({word: word for word in words}, words)
    return min(counts, key=lambda pair: (-counts[pair], pair))


@exercise(LESSON, _best_pair)
def best_pair(function: Callable[[Spelled], Any]) -> None:
    """Words in pieces, with how often each occurs → the pair of neighbours that occurs most often."""
    for words, mistakes in (
        ({("z", "a", "b"): 1, ("y", "a", "b"): 1}, dict.fromkeys((("z", "a"), ("y", "a")), "only the first pair of each word is counted: look at all neighbours")),
        ({("b", "c", "b", "c"): 2, ("a", "d"): 3, ("e",): 9}, {("a", "d"): "a pair that stands twice in a word counts twice: (b, c) occurs 4 times in 2 × bcbc"}),
        ({("x", "y"): 5, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "b", "d"): 1}, {("a", "b"): "you counted the words that have the pair: a word that occurs 5 times counts 5 times"}),
        ({("m", "l"): 2, ("b", "y"): 2, ("b", "x"): 2}, {("m", "l"): "several pairs are equally frequent: take the first in the alphabet, as min does with tuples, not the first that comes along", ("b", "y"): "of equally frequent pairs whose first piece is the same, the second piece decides: compare the pairs, not their first pieces"}),
        ({("es", "t"): 2, ("e", "st"): 1, ("e", "st", "e"): 1, ("a", "b"): 3}, {("es", "t"): "(es, t) and (e, st) are two pairs, although they spell the same: count pairs, not joined texts", ("e", "st"): "(es, t) and (e, st) are two pairs, although they spell the same: count pairs, not joined texts"}),
    ):  # fmt: skip
        _pair(asked(function, words=words), _best_pair(words), mistakes, words)


def _pair(value: Any, right: tuple[str, str], mistakes: Mapping[Any, str], words: Spelled) -> None:
    if isinstance(value, str):
        raise Mistake("a pair of pieces is wanted, not one text: return the tuple (a, b); joining comes in the next exercise")  # fmt: skip
    found = tuple(items(value, f"a pair of two pieces is wanted, not {type(value).__name__}"))
    if len(found) != 2 or not all(isinstance(piece, str) for piece in found):
        raise Mistake(f"a pair of two pieces is wanted, such as ('l', 'o'), and nothing with it; you gave {value!r}")
    if found != right:
        raise Mistake(mistakes.get(found, f"of {dict(words)} the most frequent pair is {right}; you gave {found}"))


def _merge(pieces: Sequence[str], pair: tuple[str, str]) -> list[str]:
    return tokenization.merge(pieces, pair, "".join(pair))


@exercise(LESSON, _merge)
def merge(function: Callable[[Sequence[str], tuple[str, str]], Any]) -> None:
    """A word's pieces and a pair → its pieces with that pair joined wherever it stands, from left to right."""
    for pieces, pair, mistakes in (
        ("l o w", "l o", {"lo": "what follows the pair is lost: the last pieces have to be kept", "l o w": "nothing was joined: where two neighbours are the pair, they become one piece", "lo o w": "the second piece of the pair is still there: skip it when the two are joined"}),
        ("a n a n", "a n", {"an a n": "only the first place was joined: join the pair wherever it stands"}),
        ("b a a a", "a a", {"b aa aa": "one piece is joined twice: after joining, go on behind the pair", "b a aa": "the pair is joined from the right: go from left to right", "b aaa": "one join per call: here a joined piece was joined again"}),
        ("a a a a", "a a", {"aaaa": "what was joined in this call was joined again: (a, a) becomes aa, and aa is another piece"}),
        ("ab c a bc", "a bc", {"abc abc": "(ab, c) is not the pair (a, bc), although they spell the same: compare pieces, not texts"}),
        ("c x ab", "a b", {}), ("a", "a a", {}), ("b c a", "a b", {}),
    ):  # fmt: skip
        word, two = tuple(pieces.split()), tuple(pair.split())
        value = asked(function, pieces=word, pair=two)
        if isinstance(value, str):
            raise Mistake("a list of pieces is wanted, not one text: return a list or a tuple")
        found, right = items(value, "a list of pieces is wanted"), _merge(word, two)
        if found != right:
            raise Mistake(mistakes.get(" ".join(map(str, found)), f"{word} with the pair {two} should be {right}; you gave {found}"))  # fmt: skip


def _attention(q: Tensor, k: Tensor, v: Tensor, seen: Tensor) -> Tensor:
    return parts.attention(q, k, v, parts.Sight(seen))[0]


@exercise(LESSON, _attention)
def attention(function: Callable[..., Tensor]) -> None:
    """Queries (…, n, d), keys (…, m, d), values (…, m, d) and a mask (n, m), True where a query may look → (…, n, d)."""
    generator = torch.Generator().manual_seed(3)
    q, k, v = (2 * torch.randn(2, n, 4, generator=generator) for n in (3, 5, 5))
    seen = torch.tensor([[1, 0, 0, 0, 0], [1, 1, 1, 0, 1], [1, 0, 1, 1, 1]]).bool()
    inputs = {"q": q.requires_grad_(), "k": k.requires_grad_(), "v": v.requires_grad_()}
    result, right = asked(function, **inputs, seen=seen), _attention(q, k, v, seen)
    found = tensor(result, (2, 3, 4), nan="a softmax over −inf alone, or 0 · inf? Hide with scores.masked_fill(~seen, float('-inf'))", gradient=True)  # fmt: skip
    expect(found, right, "wanted: softmax(q kᵀ / √d) v, the softmax over the keys that each query may see", _wrong_attentions(q @ k.mT, v, seen))  # fmt: skip
    learns(result, right, inputs, "the values are right, but not the gradient of `{0}`: no .detach(), .data or .item()")
    for leading in ((), (2, 3)):
        q, k, v = (torch.randn(*leading, 4, 2, generator=generator) for _ in range(3))
        message = f"right for (batch, n, d), but not for queries of shape {tuple(q.shape)}: use .mT or transpose(-2, -1), and the last axes"
        own = function(q, k, v, parts.causal_mask(4))
        expect(tensor(own, q.shape), _attention(q, k, v, parts.causal_mask(4)), message)


def _wrong_attentions(scores: Tensor, v: Tensor, seen: Tensor) -> list[tuple[Tensor, str]]:
    """What scores (2, 3, 5), not yet divided by 2, come to with one mistake."""

    def mean(scores: Tensor, seen: Tensor = seen, dim: int = -1) -> Tensor:
        return scores.masked_fill(~seen, -torch.inf).softmax(dim).nan_to_num(0) @ v

    return [
        (mean(scores), "the scores are not divided by √d"), (mean(scores / 4), "the scores are divided by d: it is the root of d"),
        (mean(scores / 5**0.5), "the scores are divided by the root of the number of keys: it is the root of d, q.shape[-1]"),
        (mean(scores / 2, ~seen), "the mask is turned round: True is where a query may look"),
        (mean(scores / 2, torch.ones_like(seen)), "the mask is not used: every query sees every key"),
        ((scores / 2).softmax(-1) * seen @ v, "the mask comes after the softmax, so the weights of a query no longer sum to 1: put −inf into the scores before it"),
        ((scores / 2 * seen).softmax(-1) @ v, "a hidden score of 0 still has the weight e⁰: put −inf there, not 0"),
        (mean(scores / 2, dim=-2), "the softmax is over the queries: each query's weights over the keys sum to 1, softmax(-1)"),
        ((scores / 2).masked_fill(~seen, 0) @ v, "the softmax is missing: the scores themselves weigh the values"),
        (mean(scores / 2) / 5, "you took the mean over the keys on top of it: the weights sum to 1 already"),
    ]  # fmt: skip


def _sinusoids(n: int, d: int) -> Tensor:
    return positions.sinusoids(torch.arange(n), d)


@exercise(LESSON, _sinusoids)
def sinusoids(function: Callable[[int, int], Tensor]) -> None:
    """A number of places n and an even width d → (n, d), sines in the even columns and cosines in the odd ones."""
    found, right = tensor(asked(function, n=7, d=6), (7, 6)), _sinusoids(7, 6)
    sines, cosines, i = right[:, ::2], right[:, 1::2], torch.arange(3)
    places = torch.arange(7.0)[:, None]

    def woven(angles: Tensor) -> Tensor:
        return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)

    expect(found, right, "row p should hold sin(p / 10000^(2i/d)) in column 2i and its cosine in column 2i + 1", [
        (torch.cat([sines, cosines], 1), "all sines stand before all cosines: they take turns, column by column"),
        (torch.stack([cosines, sines], -1).flatten(1), "sines and cosines are exchanged: the even columns are sines"),
        (woven(places / 10000 ** (i / 6)), "the exponent is i / d here: it is 2i / d, where 2i is the number of the sine's column"),
        (woven((places + 1) / 10000 ** (2 * i / 6)), "the places begin at 1: they begin at 0"),
        (woven(places * 10000 ** (2 * i / 6)), "the exponent's sign is wrong: the place is divided by 10000^(2i/d)"),
        (woven(places / (10000 * 2 * i / 6).clamp(min=1)), "10000 is multiplied by 2i/d: it is a power, 10000 ** (2i/d)"),
        (woven(places / 1000 ** (2 * i / 6)), "the base is 1000 here: it is 10000"),
        (torch.where(torch.arange(6) % 2 == 0, (places / 10000 ** (torch.arange(6) / 6)).sin(), (places / 10000 ** (torch.arange(6) / 6)).cos()), "a sine and the cosine beside it have the same angle: both take the exponent of the sine's column"),
    ], 1e-4)  # fmt: skip
    expect(tensor(function(2, 10), (2, 10)), _sinusoids(2, 10), "right for n = 7 and d = 6, but not for n = 2 and d = 10: use the arguments", tolerance=1e-4)  # fmt: skip


def _decoder_layer(x: Tensor, part: Layer) -> Tensor:
    return part(x, parts.Sight(parts.causal_mask(x.shape[1], x.device)))


@exercise(LESSON, _decoder_layer)
def decoder_layer(function: Callable[[Tensor, nn.Module], Tensor]) -> None:
    """States (batch, n, d) and a layer's parts → (batch, n, d): causal attention and MLP, each added to what was there."""
    with seeded(5):
        part, x = Layer(Settings(1, 6, 2, ffn=8)), torch.randn(2, 4, 6) * 2
        for weight in part.parameters():
            nn.init.normal_(weight)
    result, right = function(x.requires_grad_(), part), _decoder_layer(x, part)
    found = tensor(result, x.shape, gradient=True)
    expect(found, right, "wanted: x + out(attention of norm_attend(x)), and to that its own mlp(norm_mlp(…))", _wrong_layers(x, part), 1e-4)  # fmt: skip
    weights = {
        name: weight for name, weight in part.named_parameters() if name != "attend.key.bias"
    }  # no effect, by softmax
    learns(result, right, {"x": x, **weights}, "the values are right, but not the gradient of `{0}`: no .detach(), .data or no_grad")  # fmt: skip


def _wrong_layers(x: Tensor, part: Layer) -> list[tuple[Tensor, str]]:
    a, y, causal = part.attend, part.norm_attend(x), parts.causal_mask(4)

    def mixed(
        y: Tensor = y, seen: Tensor = causal, heads: int = 2, join: Any = parts.join_heads, v: Tensor = y
    ) -> Tensor:
        q, k, v = (parts.split_heads(f(s), heads) for f, s in ((a.query, y), (a.key, y), (a.value, v)))
        return join(_attention(q, k, v, seen))

    def layer(x: Tensor) -> Tensor:
        return x + part.mlp(part.norm_mlp(x))

    attended, post = x + a.out(mixed()), part.norm_attend(x + a.out(mixed(x, v=x)))
    return [
        (layer(x + a.out(mixed(seen=torch.ones_like(causal)))), "every token sees the whole text: a decoder's token sees itself and what stands before it, so the mask is tril"),
        (layer(x + a.out(mixed(seen=causal.T))), "a token sees itself and what comes *after* it: tril, not triu"),
        (layer(x + a.out(mixed(heads=1))), "all d dimensions are in one head: split them into part.attend.heads heads"),
        (layer(x + a.out(mixed(join=lambda m: m.reshape(2, 4, 6)))), "the heads are joined in the wrong order: transpose(1, 2) back before flatten(2)"),
        (layer(x + mixed()), "part.attend.out is missing: it maps the joined heads back"),
        (layer(a.out(mixed())), "the first residual connection is missing: x + what attention found"),
        (part.mlp(part.norm_mlp(attended)), "the second residual connection is missing: what was there + what the MLP found"),
        (layer(y + a.out(mixed())), "the residual connection begins at the normed states: add to x itself"),
        (layer(x + a.out(mixed(x, v=x))), "norm_attend is missing: queries, keys and values are made from norm_attend(x)"),
        (layer(x + a.out(mixed(v=x))), "the values are made from x: they come from norm_attend(x), as queries and keys do"),
        (attended + part.mlp(attended), "norm_mlp is missing before the MLP"),
        (attended + part.mlp(part.norm_mlp(x)), "the MLP reads x: it reads the states after attention"),
        (attended, "the MLP is missing"), (layer(x), "attention is missing"),
        (part.norm_mlp(post + part.mlp(post)), "the norms stand after the parts (post-norm): here each stands before its part"),
    ]  # fmt: skip
