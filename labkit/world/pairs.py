"""Pairs of texts about facts, as tasks: paraphrases, duplicate questions, answers, entailment.

To see whether two wordings name the same entities in the same relation one must compare (`forms.py`), which a small
model learns late: first where everything differs, then the relation, then one name. Half of the pairs also hold a
phrase that gives the label away, as collected data do ("it is surely not true that …"; Gururangan et al. 2018, NAACL):
a reader of cues alone gets part of the way, and `kind` ends in "with cue" so that the two can be told apart. A share
`label_noise / 2` of the labels is wrong, and the best possible reader right with probability `1 - label_noise / 2`.

Texts are bare (no closing mark), so that they fit a cloze such as "{text_a} ? {mask} , {text_b} ."; `comparisons.py`
writes the text in which the clozes are met.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labkit.world.examples import WITH_UNLABELLED, Row, behind, collect, finish_task, kept
from labkit.world.forms import FORMS
from labkit.world.matching import CUED, Matcher
from labkit.world.settings import World, lexicon, randomness

NLI = ("entailment", "neutral", "contradiction")
CUE = "with cue"
GENRES = ("fiction", "government", "magazine", "telephone", "travel")
Pair = tuple[str, str, str]  # text_a, text_b, what was done to make them
Make = Callable[[Matcher, int, str], Pair | None]  # a pair for a true label, in a genre or ""


def two_way(name: str, match: int) -> Make:
    """Pairs of one form; the label `match` says that the texts agree, and a share `CUED` holds a phrase that tells."""
    form = FORMS[name]

    def pair(matcher: Matcher, truth: int, genre: str) -> Pair | None:
        same, told = truth == match, form.told(matcher)
        if told is None:
            return None
        first = form.first(matcher, told)
        made = form.second(matcher, told, first, same)
        if made is None or matcher.rng.random() >= CUED:
            return made and (first, *made)
        return first, matcher.cue(made[0], form.cues[not same]), f"{made[1]} {CUE}"

    return pair


def judgement(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """Premise and hypothesis with three labels; in a genre the premise has its relations and its way of speaking."""
    styles = lexicon("pairs", matcher.language)["genres"]
    relations = matcher.functional_relations(styles[genre]["relations"] if genre else None)
    fact = matcher.graph.sample_fact(matcher.rng, relations or matcher.functional_relations())
    cue = matcher.rng.random() < CUED
    judged = matcher.judged(fact, NLI[truth], cue)
    if judged is None:
        return None
    other, phrase = judged
    premise = matcher.say(fact)
    hypothesis = matcher.cue(matcher.say(other, premise), phrase)
    if genre:
        premise = matcher.rng.choice(styles[genre]["open"]).format(s=premise)
    kind = ("same", "relation", "denied" if cue else "tail")[truth]
    return premise, hypothesis, f"{kind} {CUE}" if cue else kind


@dataclass(frozen=True)
class PairTask:
    """One task of pairs: how a pair is made for a true label, what the labels are called, and the clozes."""

    key: str
    make: Make
    labels: dict[str, str]  # label -> the lexicon's list of its words
    patterns: tuple[str, ...]
    language: str = "en"
    genres: tuple[str, ...] = ("",)
    bare: bool = False  # drop the closing mark of questions

    def rows(self, world: World, count: int, rng: random.Random) -> list[Row]:
        """`count` rows `{text_a, text_b, label, kind}` (and "genre"), labels in turn, no pair twice."""
        matcher, noise, kinds = Matcher(world, self.language, rng), world.label_noise / 2, len(self.labels)

        def one(number: int) -> Row | None:
            label, genre = number % kinds, self.genres[number // kinds % len(self.genres)]
            pair = self.make(matcher, behind(label, kinds, noise, rng), genre)
            if pair is None:
                return None
            first, second = (text.rstrip("？") if self.bare else text for text in pair[:2])
            row = {"text_a": first, "text_b": second, "label": label, "kind": pair[2]}
            return {**row, "genre": genre} if genre else row

        return collect(count, one, ("text_a", "text_b"))

    def build(self, world: World) -> dict[str, Any]:
        """The fields of a `labkit.tasks.Task`."""
        rows = self.rows(world, sum(WITH_UNLABELLED.values()), randomness(world, "task", self.key))
        note = f"a label is wrong with probability {world.label_noise / 2:g}; nothing else is ambiguous"
        return finish_task(
            rows, tuple(self.labels), note=note, fields=("text_a", "text_b"), language=self.language,
            ceiling=kept(len(self.labels), world.label_noise / 2), patterns=self.patterns,
            words={label: tuple(lexicon("pairs", self.language)[kind]) for label, kind in self.labels.items()},
        )  # fmt: skip


def pair_rows(key: str, world: World, count: int, rng: random.Random) -> list[Row]:
    """`count` rows `{text_a, text_b, label, kind}` of the pair task `key`, for other tasks' files."""
    return PAIR_TASKS[key].rows(world, count, rng)


PARAPHRASE, DUPLICATE = two_way("alike", 1), two_way("equal", 1)
ANSWERED, ENTAILED = two_way("answer", 0), two_way("follow", 0)
EQUIVALENT = {"not_equivalent": "contradiction", "equivalent": "entailment"}
SAME = {"entailment": "entailment", "not_entailment": "contradiction"}
THREE = {label: label for label in NLI}
MATCH = ("{text_a} ? {mask} , {text_b} .", "is it so that {text_a} ? {mask} , {text_b} .")
ALIKE = ("{text_a} . {text_b} . do they say the same ? {mask} .", "{text_a} . {text_b} . is that the same ? {mask} .")
EQUAL = ("{text_a} {text_b} the same question ? {mask} .", "{text_a} {text_b} do they ask the same ? {mask} .")
ANSWER = (
    "{text_a} {text_b} . does that answer it ? {mask} .",
    "{text_a} {text_b} . is that the answer ? {mask} .",
    "does it answer the question ? {mask} . {text_a} {text_b} .",
)
FOLLOW = ("{text_a} . does it follow that {text_b} ? {mask} .", "{text_a} . so {text_b} ? {mask} .")
MATCH_ZH = ("{text_a}？{mask}是，{text_b}。", "{text_a}对吗？{mask}是，{text_b}。")
ALIKE_ZH = ("{text_a}。{text_b}。这{mask}是一个意思。", "{text_a}，{text_b}，这两句话{mask}是一个意思。")
EQUAL_ZH = ("{text_a}，{text_b}，这两句话{mask}是一个意思。", "{text_a}？{text_b}？这{mask}是同一个问题。")
ANSWER_ZH = ("{text_a}{text_b}，这{mask}是回答。", "{text_a}{text_b}。这句{mask}是答案。")
FOLLOW_ZH = ("{text_a}。由此可知{text_b}吗？{mask}是。", "{text_a}。那么{text_b}吗？{mask}是。")
PAIR_TASKS = {
    task.key: task
    for task in (
        PairTask("mrpc", PARAPHRASE, EQUIVALENT, (*ALIKE, *MATCH)),
        PairTask("mrpc-zh", PARAPHRASE, EQUIVALENT, (*ALIKE_ZH, *MATCH_ZH), "zh"),
        PairTask("qqp", DUPLICATE, {"not_duplicate": "contradiction", "duplicate": "entailment"}, EQUAL),
        PairTask("bustm", DUPLICATE, {"0": "contradiction", "1": "entailment"}, EQUAL_ZH, "zh", bare=True),
        PairTask("qnli", ANSWERED, SAME, ANSWER),
        PairTask("qnli-zh", ANSWERED, SAME, ANSWER_ZH, "zh"),
        PairTask("rte", ENTAILED, SAME, (*FOLLOW, *MATCH)),
        PairTask("rte-zh", ENTAILED, SAME, (*FOLLOW_ZH, *MATCH_ZH), "zh"),
        PairTask("genres", judgement, THREE, MATCH, genres=GENRES),
        PairTask("genres-zh", judgement, THREE, MATCH_ZH, "zh", GENRES),
        PairTask("ocnli", judgement, THREE, MATCH_ZH, "zh"),
    )
}
TASKS: dict[str, Callable[[World], dict[str, Any]]] = {key: task.build for key, task in PAIR_TASKS.items()}
