"""Chinese sentences with a pronoun and two persons or things it may stand for, and the task of resolving it (cluewsc).

What decides is the gender of the pronoun where the two differ, and else what is plausible: who is praised "did well".
Some reasons fit both ("住在附近"); where the gender does not help either, nobody can know.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from labkit.errors import unknown
from labkit.world.settings import World, lexicon, randomness
from labkit.world.topics import distinct_rows, finish_task, words_of

LANGUAGES = ("zh",)
LABELS = ("false", "true")
PRONOUNS = {"male": "他", "female": "她"}
THINGS = 0.2  # share of sentences about things
MIXED = 0.35  # share of the others whose two persons differ in gender


def either_rate(world: World) -> float:
    """How often the reason fits both: twice the world's label noise, at most 1."""
    return min(1.0, 2 * world.label_noise)


def sentence(world: World, rng: random.Random) -> dict[str, Any]:
    """`{text, pronoun, pronoun_at, names, places, referent, reason, decided}`; `referent` is a place in `names`.

    `pronoun_at` and `places` count characters of `text`; `decided` says whether a reader can know the referent.
    """
    words = lexicon("winograd", "zh")
    referent, either = rng.randrange(2), rng.random() < either_rate(world)
    if rng.random() < THINGS:
        frame = rng.choice(words["thing"])
        names = [rng.choice(words_of(words[key])) for key in ("content", "container")]
        pronoun, mixed, neutral = "它", False, words["either_thing"]
    else:
        frame, neutral, mixed = rng.choice(words["person"]), words["either"], rng.random() < MIXED
        names, pronoun = _persons(referent, mixed, rng)
    reason = rng.choice(neutral if either else frame["second" if referent else "first"])
    event = frame["event"].format(a=names[0], b=names[1])
    before, after = rng.choice(words["sentence"]).replace("{event}", event).split("{pronoun}")
    text = before + pronoun + after.format(reason=reason)
    return {
        "text": text, "pronoun": pronoun, "pronoun_at": len(before), "names": names,
        "places": [text.index(name) for name in names], "referent": referent, "reason": reason,
        "decided": mixed or not either,
    }  # fmt: skip


def _persons(referent: int, mixed: bool, rng: random.Random) -> tuple[list[str], str]:
    """Two persons, of different genders if `mixed`, and the pronoun for the one at `referent`."""
    words, genders = lexicon("winograd", "zh"), rng.sample(list(PRONOUNS), 2)
    if not mixed:
        genders = [genders[0], genders[0]]
    names = [rng.choice(words_of(words[gender])) for gender in genders]
    while names[0] == names[1]:
        names[1] = rng.choice(words_of(words[genders[1]]))
    return names, PRONOUNS[genders[referent]]


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Sentences with a remark on whom the pronoun means, without end. Raises UsageError unless in Chinese."""
    if language not in LANGUAGES:
        raise unknown("language of winograd", language, LANGUAGES)
    words = lexicon("winograd", "zh")
    while True:
        made = sentence(world, rng)
        text, claim = made["text"], rng.randrange(2)
        if rng.random() < 0.5:
            text += words["plain"].format(name=made["names"][made["referent"]], reason=made["reason"])
        if rng.random() < 0.7:
            pair = words["pair"].format(pronoun=made["pronoun"], name=made["names"][claim])
            text += words["stated"].format(pair=pair, word="很" if claim == made["referent"] else "不")
        yield text


def rows(world: World, count: int, rng: random.Random) -> list[dict[str, Any]]:
    """Rows `{text_a: sentence, text_b: a claim, target, label, posterior}`; `target` has FewCLUE's spans and places."""
    words = lexicon("winograd", "zh")

    def make(label: int) -> dict[str, Any]:
        made = sentence(world, rng)
        claim = made["referent"] if label else 1 - made["referent"]
        name, pronoun = made["names"][claim], made["pronoun"]
        target = {
            "span2_index": made["pronoun_at"], "span1_index": made["places"][claim],
            "span1_text": name, "span2_text": pronoun,
        }  # fmt: skip
        claimed = words["pair"].format(pronoun=pronoun, name=name)
        best = 1.0 if made["decided"] else 0.5
        return {"text_a": made["text"], "text_b": claimed, "target": target, "label": label, "posterior": best}

    return distinct_rows(make, len(LABELS), count, lambda row: row["text_a"])


def task(world: World) -> dict[str, Any]:
    """cluewsc's shape: does the pronoun mean the name?"""
    sizes = {"train": 2400, "dev": 500, "test": 1000, "unlabelled": 2000}
    note = f"a reason fits both with probability {either_rate(world):g}; if the gender is silent too, one guesses"
    return finish_task(
        rows(world, sum(sizes.values()), randomness(world, "task", "cluewsc")), LABELS, sizes, note=note, language="zh",
        fields=("text_a", "text_b"), patterns=("{text_a}其中{text_b}，这{mask}对。",),
        words={"false": ("不", "没"), "true": ("很", "就")},
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {"cluewsc": task}
