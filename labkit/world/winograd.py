"""Chinese sentences with a pronoun and two persons or things it may stand for, and the task of resolving it (cluewsc).

What decides is the gender of the pronoun where the two differ, and else what is plausible: who is praised "did well".
Some reasons fit both ("住在附近"); where the gender does not help either, nobody can know. Pre-training text always
lets one know, and goes on to say in other words who is meant.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from labkit.world.examples import FEWCLUE, Row, collect, finish_task
from labkit.world.settings import World, lexicon, randomness, zipf_choice
from labkit.world.topics import words_of

LABELS = ("false", "true")
PRONOUNS = {"male": "他", "female": "她"}
SEXES = {"他": "男", "她": "女"}
THINGS = 0.15  # share of sentences about things
MIXED = 0.5  # share of the others whose two persons differ in gender
TWO_CUES = 0.5  # share of a task's reasons that say two things of the one meant


def sentence(world: World, rng: random.Random, dense: bool = False) -> dict[str, Any]:
    """`{text, pronoun, pronoun_at, names, places, referent, reason, frame, mixed, decided}`.

    `referent` is a place in `names`; `pronoun_at` and `places` count characters of `text`; `decided` says whether a
    reader can know the referent. With `dense` one always can.
    """
    words, referent = lexicon("winograd", "zh"), rng.randrange(2)
    if rng.random() < THINGS:
        frame, pronoun, mixed, neutral = rng.choice(words["thing"]), "它", False, words["either_thing"]
        names = [rng.choice(words_of(frame[key])) for key in "ab"]
    else:
        frame, neutral, mixed = rng.choice(words["person"]), words["either"], rng.random() < MIXED
        names, pronoun = _persons(referent, mixed, rng)
    either = rng.random() < world.ambiguity and (mixed or not dense)
    cues = rng.sample(neutral if either else frame["second" if referent else "first"], 2)
    reason = "，".join(cues[: 1 + (rng.random() < TWO_CUES)])
    patterns = words["story"] if either else words["sentence"] + words["story"]
    event = frame["event"].format(a=names[0], b=names[1])
    pattern = rng.choice(patterns).replace("{event}", event).replace("{day}", rng.choice(words_of(words["day"])))
    before, after = pattern.split("{pronoun}")
    text = before + pronoun + after.format(reason=reason)
    return {
        "text": text, "pronoun": pronoun, "pronoun_at": len(before), "names": names,
        "places": [text.index(name) for name in names], "referent": referent, "reason": reason, "frame": frame,
        "mixed": mixed, "decided": mixed or not either,
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
    """Chinese sentences and short stories that go on to say whom the pronoun means, without end.

    One or two remarks say it in other words, of the reason, the pronoun and, where that helps, the gender; often there
    is a claim, true or false, that is judged.
    """
    words = lexicon("winograd", "zh")
    while True:
        made = sentence(world, rng, dense=True)
        a, b = made["names"]
        after = [rng.choice(made["frame"]["after"]).format(a=a, b=b) + "。"] if "after" in made["frame"] else []
        body = made["text"] + "".join(after if rng.random() < 0.5 else [])
        kinds = rng.sample(["plain", "meant", "gender"] if made["mixed"] else ["plain", "meant"], rng.randint(1, 2))
        remarks = [rng.choice(words[kind]) for kind in kinds]
        body += "".join(_filled(remark, made) for remark in remarks)
        yield _judged(body, made, rng) if rng.random() < 0.6 else body


def _filled(remark: str, made: Mapping[str, Any]) -> str:
    """The remark about this sentence's names, pronoun and (first) reason."""
    name, other = made["names"][made["referent"]], made["names"][1 - made["referent"]]
    reason, sex = made["reason"].split("，")[0], SEXES.get(made["pronoun"], "")
    who = "谁" if sex else "什么"
    return remark.format(name=name, other=other, pronoun=made["pronoun"], reason=reason, sex=sex, who=who)


def _judged(body: str, made: Mapping[str, Any], rng: random.Random) -> str:
    """The text with a claim about its pronoun, before or after it, and a word on whether it is right."""
    words, claim, before = lexicon("winograd", "zh"), rng.randrange(2), rng.random() < 0.25
    pair = words["pair"].format(pronoun=made["pronoun"], name=made["names"][claim])
    word = zipf_choice(rng, list(words_of(words["true" if claim == made["referent"] else "false"])), 2.0)
    remark = rng.choice(words["stated_before" if before else "stated"]).format(pair=pair, word=word)
    return remark + body if before else body + remark


def rows(world: World, count: int, rng: random.Random) -> list[Row]:
    """Rows `{text_a: sentence, text_b: a claim, target, label, posterior}`; `target` has FewCLUE's spans and places."""
    words = lexicon("winograd", "zh")

    def make(number: int) -> Row:
        label, made = number % len(LABELS), sentence(world, rng)
        claim = made["referent"] if label else 1 - made["referent"]
        name, pronoun = made["names"][claim], made["pronoun"]
        target = {
            "span2_index": made["pronoun_at"], "span1_index": made["places"][claim],
            "span1_text": name, "span2_text": pronoun,
        }  # fmt: skip
        claimed = words["pair"].format(pronoun=pronoun, name=name)
        best = 1.0 if made["decided"] else 0.5
        return {"text_a": made["text"], "text_b": claimed, "target": target, "label": label, "posterior": best}

    return collect(count, make, ("text_a",))


def task(world: World) -> dict[str, Any]:
    """cluewsc's shape: does the pronoun mean the name?"""
    note = f"a reason fits both with probability {world.ambiguity:g}; if the gender is silent too, one guesses"
    words = lexicon("winograd", "zh")
    return finish_task(
        rows(world, sum(FEWCLUE.values()), randomness(world, "task", "cluewsc")), LABELS, FEWCLUE, note=note,
        language="zh",
        fields=("text_a", "text_b"), words={label: words_of(words[label]) for label in LABELS},
        patterns=(
            "{text_a}其中{text_b}，这{mask}对。", "{text_a}有人说{text_b}，这话{mask}对。",
            "{text_b}，这{mask}对：{text_a}",
        ),
    )  # fmt: skip


TASKS: dict[str, Callable[[World], dict[str, Any]]] = {"cluewsc": task}
