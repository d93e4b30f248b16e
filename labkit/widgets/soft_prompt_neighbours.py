"""What trained prompt vectors are near to: for each soft token the words with the most similar vectors, step by step.

A soft token begins as a word's vector and is then free. The words nearest to it (by the cosine of the angle, as in
Lester et al. 2021, §7) say where it has gone, as far as words can. `Recorder` keeps the vectors during a run of `fit`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from ipywidgets import IntSlider, SelectionSlider
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from labkit.errors import UsageError
from labkit.fewshot.prompts.soft_tokens import SoftEmbedding
from labkit.foundations.encoder import backbone, unwrapped
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, look

MOST, TOP = 24, 8
START, OTHER = "#0072B2", "#8a8a8a"
LINE = "display:flex;align-items:center;gap:8px;font-size:13px;line-height:1.6;white-space:nowrap"


def soft_rows(model: nn.Module) -> tuple[Tensor, Tensor]:
    """The model's trained vectors (n, d) and its word vectors (vocabulary, d), copied.

    Soft tokens of a template, or the prompt of `PromptTuning`; UsageError for a model that has neither.
    """
    embedding, prompt = unwrapped(model).get_input_embeddings(), getattr(backbone(model), "soft_prompt", None)
    if not isinstance(embedding, SoftEmbedding) and prompt is None:
        raise UsageError("the model has no soft tokens to look at: attach a prompt first")
    with torch.no_grad():
        rows = prompt.weight if prompt is not None else embedding.table()
        return rows.detach().cpu().clone(), embedding.weight.detach().cpu().clone()


@dataclass
class Recorder:
    """Keeps the soft tokens' vectors, now and every `every` steps of `fit(…, on_step=recorder)`."""

    model: nn.Module
    every: int = 5
    steps: list[int] = field(default_factory=list)
    rows: list[Tensor] = field(default_factory=list)  # (n, d) each
    losses: list[float | None] = field(default_factory=list)  # nats; None before the first step
    words: Tensor = field(init=False)  # the vocabulary's vectors at its making, (vocabulary, d)

    def __post_init__(self) -> None:
        if self.every < 1:
            raise UsageError(f"every={self.every}: keep the vectors every 1 or more steps")
        self.words = soft_rows(self.model)[1]
        self._keep(0, None)

    def __call__(self, step: int, loss: float) -> None:
        """Keep the vectors, if it is their turn."""
        if step % self.every == 0:
            self._keep(step, float(loss))

    def _keep(self, step: int, loss: float | None) -> None:
        self.steps.append(step)
        self.rows.append(soft_rows(self.model)[0])
        self.losses.append(loss)


@dataclass(frozen=True)
class Token:
    """One soft token at one step: the word it began as, the cosine to its start, and its nearest words with theirs."""

    start: str
    kept: float
    nearest: tuple[tuple[str, float], ...]


def compute(
    first: Tensor, rows: Tensor, words: Tensor, tokenizer: PreTrainedTokenizerBase, top: int = 5
) -> tuple[Token, ...]:
    """The tokens of `rows` (n, d), which were `first` (n, d), among `words` (vocabulary, d), special tokens left out.

    A start is named after the word nearest to it. UsageError for shapes that do not fit.
    """
    if first.shape != rows.shape or rows.ndim != 2 or rows.shape[1:] != words.shape[1:] or not len(rows):
        shapes = ", ".join(str(tuple(one.shape)) for one in (first, rows, words))
        raise UsageError(f"the vectors' shapes do not fit: {shapes}")
    special = set(tokenizer.all_special_ids)
    ids = [number for number in range(min(len(words), len(tokenizer))) if number not in special]
    table = _unit(words[ids])
    near = (_unit(rows) @ table.T).topk(min(top, len(ids)))  # (n, top)
    names = as_written(ids, tokenizer)
    starts = (_unit(first) @ table.T).argmax(1).tolist()
    kept = (_unit(first) * _unit(rows)).sum(1).tolist()
    return tuple(
        Token(names[start], cosine, tuple((names[at], value) for at, value in zip(places, values, strict=True)))
        for start, cosine, places, values in zip(starts, kept, near.indices.tolist(), near.values.tolist(), strict=True)
    )


def _unit(rows: Tensor) -> Tensor:
    return torch.nn.functional.normalize(rows.float(), dim=1)


def draw(tokens: Sequence[Token], step: int, loss: float | None = None) -> Picture:
    """The tokens with their nearest words as bars; the word that a token started as has its own colour and mark."""
    where = f"after {boxes.count(step, 'step')}" if step else "before training"
    loss_said = "" if loss is None else f", loss of that batch {loss:.3f} nats"
    blocks = [_block(number, token) for number, token in enumerate(tokens, 1)]
    marks = ((START, "■ the word it started as"), (OTHER, "▪ another word"))
    legend = " &nbsp; ".join(f'<span style="color:{colour}">{said[0]}</span>{said[1:]}' for colour, said in marks)
    heading = boxes.heading(f"Nearest words {where}{loss_said}", "(cosine between vectors; a whole bar is 1)")
    text = "; ".join(_said(number, token) for number, token in enumerate(tokens, 1))
    picture = boxes.frame(heading, boxes.side_by_side(*blocks), f"<div>{legend}</div>")
    return Picture(picture, f"Soft tokens {where}. {text}.")


def _block(number: int, token: Token) -> str:
    lines = []
    for word, cosine in token.nearest:
        own = word == token.start
        style = f"display:inline-block;width:12px;color:{START if own else OTHER}"
        mark = f'<span style="{style}">{"■" if own else "▪"}</span>'
        name = f'<span style="display:inline-block;width:90px">{boxes.escape(word)}</span>'
        shown = boxes.bar([(max(0.0, cosine), START if own else OTHER)], 110)
        lines.append(f'<div style="{LINE}">{mark} {name} {shown} {cosine:.2f}</div>')
    title = f"{number} · began as {token.start!r}"
    return boxes.heading(title, f"now {token.kept:.2f} to its start") + "".join(lines)


def _said(number: int, token: Token) -> str:
    words = ", ".join(f"{word} {cosine:.2f}" for word, cosine in token.nearest)
    return f"{number}, begun as {token.start!r}, {token.kept:.2f} to its start: {words}"


def soft_prompt_neighbours(recorder: Recorder, tokenizer: PreTrainedTokenizerBase) -> Shown:
    """A widget over the vectors that `recorder` kept: a slider goes through the steps, bars show each token's words.

    UsageError for more than 24 soft tokens. Words have the vectors of before the training.
    """
    if len(recorder.rows[0]) > MOST:
        raise UsageError(f"{len(recorder.rows[0])} soft tokens: at most {MOST} are shown")

    def picture(step: int, top: int) -> Picture:
        tokens = compute(recorder.rows[0], recorder.rows[step], recorder.words, tokenizer, top)
        return draw(tokens, recorder.steps[step], recorder.losses[step])

    steps = [(str(step), number) for number, step in enumerate(recorder.steps)]
    return Explorer(
        picture,
        step=SelectionSlider(options=steps, value=len(steps) - 1, description="after step", **look(110, 430)),
        top=IntSlider(5, min=1, max=TOP, description="words a token", **look(110, 430)),
    )
