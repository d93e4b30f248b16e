"""Decoding: tokens per second beside `transformers.generate`, and how text changes with temperature, k and p.

    python benchmarks/decoding.py speed                                             -> decoding_speed.json
    python benchmarks/decoding.py quality                                           -> decoding.json, in labkit/results/
    python benchmarks/decoding.py quality --model gemma-270m --data DIR    with DIR/sst2's text

Speed: both write the same tokens from the same prompts and take turns; a row is the ratio of one turn, labkit over
transformers (above 1 labkit is faster), with the tokens per second of both. Quality: each text goes on from a text's
first words; "the text itself" is how that text went on.
"""

from __future__ import annotations

import argparse
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

RESULTS = {part: Path(f"labkit/results/{name}.json") for part, name in
           (("quality", "decoding"), ("speed", "decoding_speed"))}  # fmt: skip
SETTINGS = {
    **{f"T = {value}": {"temperature": value} for value in (0.3, 0.5, 0.7, 1.0, 1.3, 1.5)},
    **{f"k = {value}": {"k": value} for value in (2, 10, 50)},
    **{f"p = {value}": {"p": value} for value in (0.3, 0.5, 0.8, 0.9, 0.95)},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["speed", "quality"])
    parser.add_argument("--model", default="mini-gpt-en")
    parser.add_argument("--data", type=Path, help="folder of real data sets")
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--texts", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=40)
    options = parser.parse_args()
    model, tokenizer = load(options.model)
    report = opened(RESULTS[options.part], f"python benchmarks/decoding.py {options.part}")
    texts = list(real(options.data) if options.data else invented())[: options.texts]
    (speed if options.part == "speed" else quality)(report, model, tokenizer, texts, options)
    report.save(RESULTS[options.part])
    print(report.table())


def invented() -> Iterator[str]:
    """The world's reviews of 30 to 60 words that no model was trained on."""
    found = corpus(World(), "en", 2000, ["reviews"], "held out")
    return (text for text in found if 30 < len(text.split()) < 60)


def real(folder: Path) -> Iterator[str]:
    """Sentences of 20 to 40 words of SST-2's test split."""
    (path,) = (folder / "sst2").glob("*test*")
    lines = (line.split(" ", 1)[1].strip() for line in path.read_text(encoding="utf-8").splitlines())
    return (line for line in lines if 20 <= len(line.split()) <= 40)


def speed(report: Report, model: Any, tokenizer: Any, texts: Sequence[str], options: argparse.Namespace) -> None:
    most = options.tokens
    for rows in (1, 8):
        given = prompted(tokenizer, [" ".join(text.split()[:8]) for text in texts[:rows]])
        for name, (ours, theirs) in ways(model, given, most).items():
            ours(), theirs()
            for turn in range(options.turns):
                ways_now = ((ours, theirs), (theirs, ours))[turn % 2]
                seconds = {way: timed(way) for way in ways_now}
                rates = {who: rows * most / seconds[way] for who, way in (("labkit", ours), ("transformers", theirs))}
                ratio = rates["labkit"] / rates["transformers"]
                task = f"{options.model}, {rows} text{'s' * (rows > 1)}"
                report.add(name, task, ratio, metric="speed over transformers", seed=turn, **rates)
                print(f"{task} {name:<10} {ratio:.2f} {rates}", flush=True)


def ways(model: Any, given: dict[str, torch.Tensor], most: int) -> dict[str, tuple[Callable[[], Any], ...]]:
    """Ours and theirs, with no end token, so that both write `most` tokens."""
    fixed = {"max_new_tokens": most, "eos_token_id": None, "pad_token_id": 0, "use_cache": True}

    def theirs(**how: Any) -> Callable[[], Any]:
        return lambda: model.generate(**given, **fixed, **how)

    return {
        "greedy": (lambda: decode(Steps(model, **given), greedy, most), theirs(do_sample=False)),
        "sampling": (lambda: decode(Steps(model, **given), Sampler(k=50, p=0.9), most),
                     theirs(do_sample=True, top_k=50, top_p=0.9)),
        "beam 4": (lambda: beam_search(Steps(model, **given), most, 4), theirs(do_sample=False, num_beams=4)),
    }  # fmt: skip


def timed(work: Callable[[], Any]) -> float:
    """Seconds of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def quality(report: Report, model: Any, tokenizer: Any, texts: Sequence[str], options: argparse.Namespace) -> None:
    beginnings, most = [" ".join(text.split()[:5]) for text in texts], options.tokens
    end = next(one for one in (tokenizer.eos_token_id, tokenizer.sep_token_id) if one is not None)

    def written(write: Callable[[Steps], torch.Tensor]) -> list[str]:
        found = []
        for start in range(0, len(texts), 20):
            some = beginnings[start : start + 20]
            ids = write(Steps(model, **prompted(tokenizer, some)))
            found += [
                f"{a} {b}" for a, b in zip(some, tokenizer.batch_decode(ids, skip_special_tokens=True), strict=True)
            ]
        return found

    def add(name: str, found: Sequence[str]) -> None:
        words = [text.split() for text in found]
        for metric, value in (("perplexity", perplexity(model, tokenizer, found)), ("distinct-2", distinct(words)),
                              ("repetition", repetition(words))):  # fmt: skip
            report.add(name, options.model, value, metric=metric, seed=0, texts=len(texts))
        report.save(RESULTS["quality"])
        print(f"{name:<16} perplexity {perplexity(model, tokenizer, found):.2f}", flush=True)

    add("the text itself", [" ".join(text.split()[:40]) for text in texts])
    add("greedy", written(lambda steps: decode(steps, greedy, most, eos=end)))
    add("beam 4", written(lambda steps: beam_search(steps, most, 4, eos=end)))
    for name, rule in SETTINGS.items():
        add(name, written(lambda steps, rule=rule: decode(steps, Sampler(**rule), most, eos=end)))


if __name__ == "__main__":
    main()
