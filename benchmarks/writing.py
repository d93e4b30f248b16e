"""Writing under a contract, on real data, with small models trained from scratch: verse, sums, sentences from facts.

    python benchmarks/writing.py math --real-data DIR      labkit/results/math_problems.json
    python benchmarks/writing.py verse --real-data DIR     labkit/results/verse.json
    python benchmarks/writing.py webnlg --real-data DIR    labkit/results/data_to_text.json

What is there is not measured again; a training that was stopped goes on (--work has its checkpoints).

math: a BART of 1 M weights (2 + 2 layers, 128 wide) learns to write expressions in the first phase (batches of 32,
learning rate 2e-3 to 0). Then there are rounds, each of so many steps at 1e-3 to 0: once of writing alone, once of
Generate & Rank, with a new bank for each round's problems (their beam of 5, and 6 changes of the right expression; 4
compared). Answers to problems that do not stand in the training set; right is the value within 0.01 %.
Math23K: the valid split; MAWPS: the dev part of fold 0; SVAMP: trained on MAWPS and ASDiv-A.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import BartConfig, BartForConditionalGeneration, GPT2Config, GPT2LMHeadModel

from labkit.evaluation import answers
from labkit.foundations.generation import Sampler, Steps, bleu, decode, distinct, prompted, verse
from labkit.foundations.generation import data_to_text as facts
from labkit.foundations.generation import math_problems as sums
from labkit.foundations.generation.seq2seq import Generation
from labkit.foundations.pretraining.causal import CausalLM
from labkit.foundations.sequences.language_model import character_tokenizer
from labkit.lab import seeded
from labkit.report import Report
from labkit.training import Batches, fit
from labkit.world.expressions import ORDER

RESULTS = Path("labkit/results")
Add = Callable[..., None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--tasks", nargs="+", help="of math: some of its tasks")
    parser.add_argument("--real-data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--work", type=Path, default=Path("writing_runs"), help="folder of checkpoints")
    options = parser.parse_args()
    torch.set_num_threads(1)
    run, name, title = PARTS[options.part]
    path = RESULTS / f"{name}.json"

    def report() -> Report:
        """As it is on disk now: another process may measure another seed."""
        found = Report.load(path) if path.exists() else Report(title=title)
        found.command = f"python benchmarks/writing.py {options.part}"
        return found

    def add(method: str, task: str, seed: int, value: float, **costs: Any) -> None:
        found = report()
        found.add(method, task, value, seed=seed, **{"metric": "accuracy", **costs})
        found.save(path)
        print(time.strftime("%H:%M:%S"), method, task, seed, round(value, 4), costs, flush=True)

    for seed in options.seeds:
        run(add, {(row.method, row.task, row.seed) for row in report().rows}, seed, options)


def trained(
    model: Any, method: Any, rows: Sequence[Any], steps: int, rate: float, folder: Path, *, seed: int
) -> Any:  # fmt: skip
    """The model after so many steps of 32 rows; a run that was stopped goes on."""
    batches = Batches(rows, method.collate, 32, seed=seed, lengths=[len(row["text"]) for row in rows])
    history = fit(model, method.loss, batches, steps=steps, lr=rate, seed=seed, folder=folder, resume=True,
                  save_every=100, keep=1, progress=False, precision="fp32")  # fmt: skip
    print(time.strftime("%H:%M:%S"), folder.name, f"loss {sum(history.losses[-50:]) / 50:.3f}", flush=True)
    return model.eval()


def small_bart(tokenizer: Any, seed: int) -> Any:
    """A new encoder-decoder of 2 + 2 layers, 128 wide."""
    sizes = {f"{side}_{what}": number for side in ("encoder", "decoder")
             for what, number in (("layers", 2), ("attention_heads", 4), ("ffn_dim", 256))}  # fmt: skip
    special = {"pad_token_id": 0, "bos_token_id": 0, "decoder_start_token_id": 0, "forced_eos_token_id": None}
    with seeded(seed):
        return BartForConditionalGeneration(BartConfig(
            vocab_size=len(tokenizer), d_model=128, max_position_embeddings=128, dropout=0.1, init_std=0.05,
            eos_token_id=tokenizer.eos_token_id, **sizes, **special,
        ))  # fmt: skip


# Word problems

SUMS = {  # task: steps of the first phase, rounds, steps of a round
    "Math23K": (1600, 4, 150),
    "MAWPS": (300, 4, 48),
    "SVAMP": (600, 4, 75),
}
BEAM = {"num_beams": 10, "num_return_sequences": 10, "max_encoder_length": 96}


def problems(task: str, data: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training rows, and test rows whose text is not among them."""
    if task == "Math23K":
        folder = data / "math23k"
        lines = (folder / "valid23k_answers.jsonl").read_text(encoding="utf-8").splitlines()
        train = sums.read_math23k(folder / "infix_math23k_processed.train")
        numbers = [json.loads(line)["num_list"] for line in lines]
        test = sums.read_math23k(folder / "infix_math23k_processed.valid", numbers)
    else:
        folder = data / ("mawps/fold0" if task == "MAWPS" else "svamp/mawps-asdiv-a_svamp")
        train, test = (sums.read_prefix(folder / f"{part}.csv") for part in ("train", "dev"))
    known = {row["text"] for row in train}
    return train, [row for row in test if row["text"] not in known]


def measure_sums(add: Add, there: set[Any], seed: int, options: Any) -> None:
    for task in options.tasks or SUMS:
        if ("Generate & Rank", task, seed) not in there:
            solve(add, task, seed, options)


def solve(add: Add, task: str, seed: int, options: Any) -> None:
    train, test = problems(task, options.real_data)
    tokenizer, folder = sums.piece_tokenizer(train), options.work / f"{task}{seed}"
    first, rounds, steps = SUMS[task]
    common = Counter(row["label"] for row in train).most_common(1)[0][0]
    score(add, "most frequent expression", task, seed, test, [[common]] * len(test))
    for name in ("plain", "ranked"):
        model = sums.with_ranker(small_bart(tokenizer, seed), seed)
        writer = Generation.of(model, tokenizer, ("text",), **BEAM)
        bank = Generation.of(model, tokenizer, ("text",), **BEAM | {"num_beams": 5, "num_return_sequences": 5})
        ranker = sums.GenerateAndRank.of(model, tokenizer, ("text",), max_encoder_length=96)
        trained(model, writer, train, first, 2e-3, folder / "first", seed=seed)
        rng = random.Random(seed)
        for number in range(rounds):
            rows = rng.sample(train, min(32 * steps, len(train)))
            rows = sums.with_bank(model, bank, rows, rng) if name == "ranked" else rows
            how = ranker if name == "ranked" else writer
            trained(model, how, rows, steps, 1e-3, folder / f"{name}{number}", seed=seed)
        if name == "plain":
            greedy = Generation.of(model, tokenizer, ("text",), **BEAM | {"num_beams": 1, "num_return_sequences": 1})
            score(add, "writing alone, beam 1", task, seed, test, answers(model, greedy, test))
        beams = answers(model, Generation.of(model, tokenizer, ("text",), **BEAM), test)
        label = "writing alone" if name == "plain" else "Generate & Rank, unranked"
        score(add, f"{label}, beam 10", task, seed, test, beams)
        score(add, f"{label}, any of the 10", task, seed, test, beams, best=10)
    for ranker.likelihood, label in ((1, "Generate & Rank, times likelihood"), (0, "Generate & Rank")):
        score(add, label, task, seed, test, answers(model, ranker, test))


def score(add: Add, method: str, task: str, seed: int, rows: Sequence[Any], given: Sequence[Sequence[str]],
          best: int = 1) -> None:  # fmt: skip
    """Accuracy of the first `best` answers; of Math23K also by the number of operators of the solution."""
    groups: dict[str, list[bool]] = {}
    for row, texts in zip(rows, given, strict=True):
        right = any(sums.solves(one, row) for one in texts[:best])
        count = sum(one in ORDER for one in row["label"].split())
        groups.setdefault(task, []).append(right)
        if task == "Math23K" and count:
            name = "4 or more operators" if count > 3 else f"{count} operator{'s' * (count != 1)}"
            groups.setdefault(f"{task}, {name}", []).append(right)
    for name in sorted(groups):
        add(method, name, seed, sum(groups[name]) / len(groups[name]), rows=len(groups[name]))


# Verse

ASKED = ("五言絕句", "七言絕句", "五言律詩", "七言律詩")
WRITTEN = 100  # poems of each form
GPT = {
    "n_embd": 128, "n_layer": 2, "n_head": 4, "n_inner": 384, "n_positions": 128, "bos_token_id": 0, "eos_token_id": 0,
    "resid_pdrop": 0.2, "embd_pdrop": 0.2, "attn_pdrop": 0.1,
}  # fmt: skip


def measure_verse(add: Add, there: set[Any], seed: int, options: Any) -> None:
    if ("GPT", "Tang verse", seed) in there:
        return
    poems = [poem for name in ("poet.tang.0", "唐诗三百首")
             for poem in verse.read_poems(options.real_data / "chinese_poetry" / f"{name}.json")]  # fmt: skip
    poems = list({poem["poem"]: poem for poem in poems}.values())
    random.Random(0).shuffle(poems)  # the same split for each seed
    held_out, poems = poems[: len(poems) // 10], poems[len(poems) // 10 :]
    seen = Counter("".join(row["text"] for row in verse.verse_rows(poems)))
    tokenizer = character_tokenizer("".join(one for one, count in seen.items() if count > 1))
    for order, name in ((1, "unigram"), (2, "bigram")) if seed == 0 else ():
        add(name, "Tang verse", 0, counted(poems, held_out, tokenizer, order), metric="perplexity of a character")
    with seeded(seed):
        model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **GPT))
    trained(model, CausalLM(tokenizer), verse.verse_rows(poems), 900, 2e-3, options.work / f"verse{seed}", seed=seed)
    names = [verse.NAMES.get(verse.Form.of(one["poem"]), verse.OTHER) for one in held_out]
    whole = [{"before": verse.asked(name, one["title"]), **one} for name, one in zip(names, held_out, strict=True)]
    add("GPT", "Tang verse", seed, likelihood(model, tokenizer, whole), metric="perplexity of a character")
    write_poems(add, model, tokenizer, held_out, seed)
    write_couplets(add, model, tokenizer, held_out, seed)


def numbers(tokenizer: Any, poem: str, before: str = "：") -> tuple[list[int], list[int]]:
    """The tokens of a text, and the places of the poem's characters, without its marks."""
    text = before + poem
    places = [place for place, one in enumerate(text) if place >= len(before) and one not in verse.MARKS]
    return tokenizer(text)["input_ids"], places


def likelihood(model: Any, tokenizer: Any, rows: Sequence[dict[str, Any]]) -> float:
    """Perplexity of the poems' characters, as the model reads them (128 at most)."""
    nats, count = 0.0, 0
    for row in rows:
        ids, places = numbers(tokenizer, row["poem"], row["before"])
        ids, places = ids[:128], [place for place in places if place < 128]
        with torch.no_grad():
            logs = model(torch.tensor([ids])).logits[0].log_softmax(-1)  # (tokens, vocabulary)
        nats, count = nats - sum(float(logs[at - 1, ids[at]]) for at in places), count + len(places)
    return math.exp(nats / count)


def counted(train: Sequence[Any], test: Sequence[Any], tokenizer: Any, order: int) -> float:
    """The same by counts: (n(ab) + k p(b)) / (n(a) + k); k is the best on a tenth of the training poems."""

    def surprise(rows: Sequence[Any], held_out: Sequence[Any], k: float) -> float:
        single, before, pairs = Counter(), Counter(), Counter()
        for ids, places in (numbers(tokenizer, row["poem"]) for row in rows):
            single.update(ids[at] for at in places)
            before.update(ids[at - 1] for at in places)
            pairs.update((ids[at - 1], ids[at]) for at in places)
        total, logs = single.total() + len(tokenizer), []
        for ids, places in (numbers(tokenizer, row["poem"]) for row in held_out):
            for at in places:
                alone = (single[ids[at]] + 1) / total
                both = (pairs[ids[at - 1], ids[at]] + k * alone) / (before[ids[at - 1]] + k)
                logs.append(-math.log(alone if order == 1 else both))
        return sum(logs) / len(logs)

    cut = len(train) // 10
    k = min((10, 30, 100, 300, 1000, 3000), key=lambda k: surprise(train[cut:], train[:cut], k))
    return math.exp(surprise(train, test, k))


def written(model: Any, tokenizer: Any, prompts: Sequence[str], most: int, seed: int, hold: Any) -> list[str]:
    """What is drawn from a nucleus of 0.9 after each prompt, up to the end; "□" for a character without a token."""
    end = tokenizer.get_vocab()[verse.END]
    steps = Steps(model, **prompted(tokenizer, prompts))
    ids = decode(hold(steps) if hold else steps, Sampler(p=0.9, seed=seed), most, eos=end, pad=end)
    tokens = [tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    return ["".join(verse.LOST if one == "[UNK]" else one for one in row).split(verse.END)[0] for row in tokens]


def write_poems(add: Add, model: Any, tokenizer: Any, held_out: Sequence[Any], seed: int) -> None:
    """Poems on the titles of unseen ones: the share in the form asked for, and how they vary."""
    titles = [one["title"] for one in held_out if len(one["title"]) < 20]
    themes = [titles[at % len(titles)] for at in range(WRITTEN)]
    texts: dict[str, list[str]] = {"the form by name": [], "the form held": []}
    for name in ASKED:
        form, prompts = verse.FORMS[name], [verse.asked(name, theme) for theme in themes]
        for way in texts:
            hold = (
                functools.partial(verse.Held, tokenizer=tokenizer, forms=[form] * WRITTEN)
                if way == "the form held"
                else None
            )
            found = written(model, tokenizer, prompts, len(form.places) + 10, seed, hold)
            good = [not form.faults(one) for one in found]
            add(way, name, seed, sum(good) / WRITTEN)
            print(way, name, themes[seed], found[seed], flush=True)
            texts[way] += found
    for way, found in (*texts.items(), ("poems of the Tang", [one["poem"] for one in held_out])):
        lines = [line for one in found for line in re.split("[，。]", one) if line]
        some = random.Random(0).sample(lines, min(600, len(lines)))
        add(way, "Distinct-2", seed, distinct(some), metric="Distinct-2 of 600 lines")


def write_couplets(add: Add, model: Any, tokenizer: Any, held_out: Sequence[Any], seed: int) -> None:
    """Second lines to first lines that nobody has seen."""
    rows = [row for row in verse.verse_rows(held_out) if row["form"].endswith("對聯")]
    rows = random.Random(0).sample(rows, 200)
    firsts, seconds = zip(*(row["poem"].split("，") for row in rows), strict=True)
    prompts = [verse.asked(row["form"], row["theme"]) + first + "，" for row, first in zip(rows, firsts, strict=True)]
    forms = [verse.Form(((len(first), "。"),)) for first in firsts]
    held = functools.partial(verse.Held, tokenizer=tokenizer, forms=forms)
    ways = {"the form by name": None, "the form held": held,
            "the form held, no character twice": functools.partial(held, fresh=True, before=firsts)}  # fmt: skip
    for way, hold in ways.items():
        found = written(model, tokenizer, prompts, 16, seed, hold)
        good = [not form.faults(one) for form, one in zip(forms, found, strict=True)]
        fresh = [ok and len(set(b) - set(a)) == len(b) for ok, a, b in zip(good, firsts, found, strict=True)]
        add(way, "second line", seed, sum(good) / len(good))
        add(way, "second line, no character twice", seed, sum(fresh) / len(good))
        print(way, *(f"{a}，{b}" for a, b in zip(firsts[:4], found, strict=False)), flush=True)
    own = [{"before": prompt, "poem": second} for prompt, second in zip(prompts, seconds, strict=True)]
    mixed = []
    for one in (5, 7):  # a first line of the same length from another poem
        some = [row for row, first in zip(own, firsts, strict=True) if len(first) == one]
        mixed += [{**row, "before": other["before"]} for row, other in zip(some, some[1:] + some[:1], strict=True)]
    for name, some in (("its own first line", own), ("another poem's first line", mixed)):
        add(name, "true second line", seed, likelihood(model, tokenizer, some), metric="perplexity of a character")


# Facts to text


def measure_facts(add: Add, there: set[Any], seed: int, options: Any) -> None:
    train, test = (facts.read_webnlg(options.real_data / "webnlg2017" / f"{part}.jsonl") for part in ("train", "dev"))
    task, wanted = "WebNLG", [[facts.words(text) for text in entry["texts"]] for entry in test]

    def measured(method: str, texts: Sequence[str], seed: int) -> None:
        for least, most, name in ((1, 9, task), (1, 1, f"{task}, one fact"), (4, 9, f"{task}, four or more facts")):
            some = [place for place, entry in enumerate(test) if least <= len(entry["facts"]) <= most]
            value = bleu([texts[place].split() for place in some], [wanted[place] for place in some])
            add(method, name, seed, value, metric="BLEU", rows=len(some))

    if ("template", task, 0) not in there:
        measured("template", [facts.template(entry["facts"]) for entry in test], 0)
    for method in ("BART, names as ENTk", "BART, names as they are"):
        if (method, task, seed) in there:
            continue
        hidden = method.endswith("ENTk")
        model, how = fact_writer(train, hidden, seed, options)
        rows = [{"text": source(entry["facts"], hidden)} for entry in test]
        given = [facts.lexicalised(texts[0], entry["facts"]) if hidden else texts[0]
                 for texts, entry in zip(answers(model, how, rows), test, strict=True)]  # fmt: skip
        for place in range(0, len(test), 200):
            print(test[place]["facts"], given[place], sep="\n", flush=True)
        measured(method, given, seed)


def source(given: Sequence[Any], hidden: bool) -> str:
    """What the model reads."""
    text = facts.linearised(given)
    return text if hidden else facts.lexicalised(text, given)


def fact_writer(train: Sequence[Any], hidden: bool, seed: int, options: Any) -> tuple[Any, Any]:
    rows = [{"text": source(entry["facts"], hidden),
             "label": facts.delexicalised(text, entry["facts"]) if hidden else " ".join(facts.words(text))}
            for entry in train for text in entry["texts"]]  # fmt: skip
    tokenizer = sums.piece_tokenizer(rows, 3)
    model = small_bart(tokenizer, seed)
    how = Generation.of(model, tokenizer, ("text",), max_encoder_length=128, max_decoder_length=80, num_beams=4)
    folder = options.work / f"facts{'-hidden' * hidden}{seed}"
    return trained(model, how, rows, 1500, 2e-3, folder, seed=seed), how


PARTS: dict[str, tuple[Callable[..., None], str, str]] = {
    "math": (measure_sums, "math_problems", "Word problems by Generate & Rank"),
    "verse": (measure_verse, "verse", "Tang verse under a form"),
    "webnlg": (measure_facts, "data_to_text", "Sentences from facts"),
}

if __name__ == "__main__":
    main()
