"""A text as it is written: at each step the model's distribution, what the filters leave of it, and what was drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ipywidgets import Dropdown, FloatSlider, IntSlider

from labkit.errors import UsageError
from labkit.foundations.generation import Choice, Sampler, Steps, prompted, trace
from labkit.widgets import boxes
from labkit.widgets.shown import Explorer, Picture, Shown, as_written, look

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MOST, SHOWN = 24, 8  # tokens that are written, tokens of a distribution that are drawn


def compute(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompt: str, temperature: float, k: int, p: float,
    seed: int,
) -> list[Choice]:  # fmt: skip
    """Each choice of a text of at most MOST tokens after the prompt; k 0 keeps all tokens. UsageError as `Sampler`."""
    sampler = Sampler(temperature=temperature, k=k or None, p=p, seed=seed)
    return trace(Steps(model, **prompted(tokenizer, [prompt])), MOST, sampler, eos=tokenizer.eos_token_id, shown=SHOWN)


def draw(choices: Sequence[Choice], tokenizer: PreTrainedTokenizerBase, prompt: str, step: int) -> Picture:
    """The text, and the distribution of one step, from 1; of the last where the text is shorter."""
    if step < 1:
        raise UsageError(f"step {step}: the first is 1")
    at = min(step, len(choices)) - 1
    words, one = as_written([choice.chosen for choice in choices], tokenizer), choices[at]
    chips = "".join(
        boxes.chip(word, boxes.colour(5) if place == at else "", dashed=choice.chosen != choice.tokens[0],
                   title=f"step {place + 1}: {boxes.percent(choice.probability)}, {choice.kept} tokens kept")
        for place, (word, choice) in enumerate(zip(words, choices, strict=True))
    )  # fmt: skip
    limit = boxes.whole_bar(max(*one.before, *one.after))
    rows = []
    for token, before, after in zip(as_written(one.tokens, tokenizer), one.before, one.after, strict=True):
        bars = (boxes.bar([(share / limit, boxes.colour(place))]) for place, share in enumerate((before, after)))
        (model_bar, drawn_bar), name = bars, f"{boxes.escape(token)}{' ◀' if token == words[at] else ''}"
        rows.append((name, model_bar, boxes.percent(before), drawn_bar, boxes.percent(after) if after else "refused"))
    kept = boxes.count(one.kept, "token")
    told = f"{kept} kept; drawn: “{boxes.escape(words[at])}”, which the model gives {boxes.percent(one.probability)}"
    html = boxes.frame(
        f"{boxes.escape(prompt)} {chips}<br>dashed: not the likeliest token of its step",
        boxes.heading(f"Step {at + 1} of {len(choices)}:", told),
        boxes.table(("token", "the model", "", "drawn from", ""), rows),
    )
    spoken = (
        f"{token} {boxes.percent(b)} → {boxes.percent(a)}" for token, b, a in
        zip(as_written(one.tokens, tokenizer), one.before, one.after, strict=True)
    )  # fmt: skip
    alt = f"“{prompt} {' '.join(words)}”. Step {at + 1}, {kept} kept, drawn {words[at]}. "
    return Picture(html, alt + "Probability by the model → as drawn from: " + "; ".join(spoken) + ".")


def decoding_steps(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, prompts: Sequence[str]) -> Shown:
    """A widget that writes on after one of the prompts: sliders for temperature, k, p, the seed, and the step shown."""
    if not prompts:
        raise UsageError("no prompts: give at least one beginning of a text")

    def picture(prompt: str, temperature: float, k: int, p: float, seed: int, step: int) -> Picture:
        return draw(compute(model, tokenizer, prompt, temperature, k, p, seed), tokenizer, prompt, step)

    return Explorer(
        picture,
        prompt=Dropdown(options=list(prompts), description="prompt", **look(90, 420)),
        temperature=FloatSlider(value=1.0, min=0.1, max=2.0, step=0.1, description="temperature", **look(90, 320)),
        k=IntSlider(value=0, min=0, max=50, description="k (0: all)", **look(90, 320)),
        p=FloatSlider(value=0.9, min=0.05, max=1.0, step=0.05, description="p", **look(90, 320)),
        seed=IntSlider(value=0, min=0, max=20, description="seed", **look(90, 320)),
        step=IntSlider(value=1, min=1, max=MOST, description="step", **look(90, 320)),
    )
