"""Decoding, measured, for `foundations.py`: speed beside `transformers.generate`, quality by temperature, k and p."""

from __future__ import annotations

import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from few_shot_runs import opened

from labkit.foundations.generation import (
    Sampler,
    Steps,
    beam_search,
    decode,
    distinct,
    greedy,
    perplexity,
    prompted,
    repetition,
)
from labkit.report import Report
from labkit.world import World, corpus
from labkit.zoo import load

FOLDER = Path("labkit/results")
SPEED_METRIC = "speed over transformers"
ROUNDS, TURNS, TOKENS = 3, 5, 40
START, BATCH = 5, 25  # words of a beginning; texts written at once
RULES = {
    **{f"T = {value}": {"temperature": value} for value in (0.5, 0.7, 1.0, 1.3)},
    **{f"k = {value}": {"k": value} for value in (2, 10, 50)},
    **{f"p = {value}": {"p": value} for value in (0.5, 0.8, 0.9, 0.95)},
}


def speed(name: str = "mini-gpt-en") -> None:
    """The same tokens from the same prompts, in turns: the median over the turns of a round is a row."""
    torch.set_num_threads(1)
    model, tokenizer = load(name)
    report = Report(command="python benchmarks/foundations.py decoding", title="Decoding, one thread")
    texts = [" ".join(text.split()[:8]) for text in invented()]
    for rows in (1, 8):
        given = prompted(tokenizer, texts[:rows])
        for how, pair in ways(model, given).items():
            for way in pair:
                way()
            for number in range(ROUNDS):
                seconds = [[timed(way) for way in pair] for _ in range(TURNS)]
                ratio = statistics.median(theirs / ours for ours, theirs in seconds)
                ours, theirs = (rows * TOKENS / statistics.median(each) for each in zip(*seconds, strict=True))
                task = f"{rows} text{'s' * (rows > 1)}"
                report.add(how, task, ratio, metric=SPEED_METRIC, seed=number, labkit=ours, transformers=theirs)
                print(f"{how:<9} {task:<8} {ours:6,.0f} tokens/s, {theirs:6,.0f} by generate: {ratio:.2f}", flush=True)
    report.save(FOLDER / "decoding_speed.json")
    print(report.table())


def ways(model: Any, given: dict[str, torch.Tensor]) -> dict[str, tuple[Callable[[], Any], Callable[[], Any]]]:
    """Ours and theirs, with no end token, so that both write TOKENS tokens."""
    fixed = {"max_new_tokens": TOKENS, "eos_token_id": None, "pad_token_id": 0, "use_cache": True}

    def theirs(**how: Any) -> Callable[[], Any]:
        return lambda: model.generate(**given, **fixed, **how)

    return {
        "greedy": (lambda: decode(Steps(model, **given), greedy, TOKENS), theirs(do_sample=False)),
        "sampling": (lambda: decode(Steps(model, **given), Sampler(k=50, p=0.9), TOKENS),
                     theirs(do_sample=True, top_k=50, top_p=0.9)),
        "beam of 4": (lambda: beam_search(Steps(model, **given), TOKENS, 4), theirs(do_sample=False, num_beams=4)),
    }  # fmt: skip


def timed(work: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def invented() -> Iterator[str]:
    """The world's reviews of 30 to 60 words that no model was trained on."""
    found = corpus(World(), "en", 2000, ["reviews"], "held out")
    return (text for text in found if 30 < len(text.split()) < 60)


def real(folder: Path) -> Iterator[str]:
    """Sentences of 20 to 40 words of SST-2's test split, with no blanks before their marks."""
    (path,) = (folder / "sst2").glob("*test*")
    lines = (line.split(" ", 1)[1].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return (re.sub(r" (?=[,.;:!?]|'|n't)", "", line) for line in lines if 20 <= len(line.split()) <= 40)


def quality(name: str, folder: Path | None, count: int) -> None:
    """Perplexity under the model itself, distinct pairs and repeated fours of tokens, of texts that go on from a text's
    beginning; and of that text, TOKENS long at most. What a rule writes is cut to the length of that text.
    """
    path, (model, tokenizer) = FOLDER / "decoding.json", load(name)
    report = opened(path, "python benchmarks/foundations.py quality, and --model gemma-270m --data DIR --texts 24")
    texts = [shortened(tokenizer, text, TOKENS) for text in list(real(folder) if folder else invented())[:count]]
    for rule, write in rules(tokenizer.eos_token_id).items():
        if any((row.method, row.task) == (rule, name) for row in report.rows):
            continue
        began = time.perf_counter()
        found = texts if write is None else written(model, tokenizer, texts, write)
        tokens = [tokenizer.tokenize(text) for text in found]
        scores = {"perplexity": perplexity(model, tokenizer, found), "distinct-2": distinct(tokens),
                  "repeated fours": repetition(tokens)}  # fmt: skip
        for metric, value in scores.items():
            report.add(rule, name, value, metric=metric, texts=len(texts), seconds=time.perf_counter() - began)
        report.save(path)
        print(f"{rule:<16}", *(f"{metric} {value:.3f}" for metric, value in scores.items()), found[0], flush=True)
    print(report.table(task=name))


def shortened(tokenizer: Any, text: str, most: int) -> str:
    """Its first tokens, at most so many."""
    return tokenizer.decode(tokenizer(text, add_special_tokens=False)["input_ids"][:most])


def rules(eos: int) -> dict[str, Callable[[Steps], torch.Tensor] | None]:
    """By name; None is the text itself."""

    def drawn(rule: dict[str, Any]) -> Callable[[Steps], torch.Tensor]:
        return lambda steps: decode(steps, Sampler(**rule), TOKENS, eos=eos)

    return {
        "the text itself": None,
        "greedy": lambda steps: decode(steps, greedy, TOKENS, eos=eos),
        **{name: drawn(rule) for name, rule in RULES.items()},
        "beam of 4": lambda steps: beam_search(steps, TOKENS, 4, eos=eos),
    }


def written(model: Any, tokenizer: Any, texts: Sequence[str], write: Callable[[Steps], torch.Tensor]) -> list[str]:
    """What `write` makes of each text's beginning, of at most as many tokens."""
    found = []
    for start in range(0, len(texts), BATCH):
        some = texts[start : start + BATCH]
        beginnings = [" ".join(text.split()[:START]) for text in some]
        ids = write(Steps(model, **prompted(tokenizer, beginnings)))
        rests = tokenizer.batch_decode(ids, skip_special_tokens=True)
        for text, first, rest in zip(some, beginnings, rests, strict=True):
            found.append(shortened(tokenizer, f"{first} {rest}", len(tokenizer.tokenize(text))))
    return found
