"""Pairs of sentences about facts: paraphrases, duplicate questions, answers, entailment; and text for matching.

What decides is whether two wordings name the same entities in the same relation. Half of the non-matches keep the words
and change one name, the others keep the names and change the relation, so overlap alone does not tell. A share
`label_noise / 2` of the labels is wrong, and the best possible reader therefore right with `1 - label_noise / 2`.

Texts are bare (no closing mark), so that they fit the cloze "{text_a} ? {mask} , {text_b} ."; `documents` is dense in
it: "amber fox was directed by anna reed ? yes , anna reed is the director of amber fox ."
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from labkit.world.examples import SPLITS, UNLABELLED, Row, behind, collect, cut, kept, pop_ceiling
from labkit.world.graph import Fact
from labkit.world.matching import Matcher, follows
from labkit.world.settings import World, lexicon, randomness, zipf_choice

NLI = ("entailment", "neutral", "contradiction")
CHAINS = {"born_in": "located_in", "lives_in": "located_in", "based_in": "located_in", "set_in": "located_in"}
CHAINED = 0.3  # share of entailment examples that need two facts together
STYLED = 0.3  # share of matching documents that open in the style of a genre
Pair = tuple[str, str, str]  # text_a, text_b, what was done to make them


def paraphrase(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """The same fact in other words (1), or one slot or the relation changed (0)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 1:
        return *matcher.twice(fact), "same"
    other, change = matcher.unlike(fact)
    return matcher.say(fact), matcher.say(other), change


def duplicate(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """The same question in other words (1), or about another thing or another property (0)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 1:
        return *matcher.ask_twice(fact), "same"
    if matcher.rng.random() < 0.5:
        return matcher.ask(fact), matcher.ask(matcher.other_end(fact, "head")), "head"
    kinds = [r.name for r in matcher.graph.relations if r.head == matcher.graph.entities[fact.head].type]
    others = [name for name in kinds if name != fact.relation]
    if not others:
        return None
    return matcher.ask(fact), matcher.ask(Fact(fact.head, matcher.rng.choice(others), fact.tail)), "relation"


def answer(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """A question and a sentence that answers it (0: entailment), or speaks of another thing or property (1)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 0:
        return matcher.ask(fact), matcher.say(fact), "same"
    if matcher.rng.random() < 0.5:
        other = matcher.aside(fact)
        return other and (matcher.ask(fact), matcher.say(other), "relation")
    other = matcher.graph.sample_fact(matcher.rng, [fact.relation])
    if fact.head in (other.head, other.tail) or matcher.graph.has(fact.head, fact.relation, other.tail):
        return None
    return matcher.ask(fact), matcher.say(other), "head"


def entailment(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """Two or three facts, and a hypothesis that follows from them (0: entailment) or does not (1)."""
    chained = matcher.rng.random() < CHAINED and matcher.graph.relations_in_text(tuple(CHAINS))
    fact = matcher.graph.sample_fact(matcher.rng, chained or None)
    chain = _chain(matcher, fact) if chained else None
    rest = matcher.aside(fact) if matcher.rng.random() < 0.5 or chain is None else None
    told = [one for one in (fact, chain and chain[0], rest) if one]
    if len(told) < 2:
        return None
    if truth == 0:
        hypothesis, kind = (chain[1], "chain") if chain else (fact, "same")
    else:
        hypothesis, kind = _elsewhere(matcher, chain[1]) if chain else matcher.unlike(fact)
        if any(follows(one, hypothesis) for one in told):
            return None
    matcher.rng.shuffle(told)
    return _premise(matcher, told), matcher.say(hypothesis), kind


def _chain(matcher: Matcher, fact: Fact) -> tuple[Fact, Fact] | None:
    """From "born in a city" the fact that the city lies in a country, and the conclusion "born in that country"."""
    link = CHAINS[fact.relation]
    steps = [one for one in matcher.graph.facts_of(fact.tail) if one.head == fact.tail and one.relation == link]
    return (steps[0], Fact(fact.head, fact.relation, steps[0].tail)) if steps else None


def _elsewhere(matcher: Matcher, conclusion: Fact) -> tuple[Fact, str]:
    """The conclusion of a chain about another country, or about another head."""
    graph, rng = matcher.graph, matcher.rng
    end = rng.choice(("head", "tail"))
    old = conclusion.head if end == "head" else conclusion.tail
    new = rng.choice([one.id for one in graph.of_type(graph.entities[old].type) if one.id != old])
    return replace(conclusion, **{end: new}), end


def _premise(matcher: Matcher, facts: list[Fact]) -> str:
    return matcher.rng.choice(lexicon("pairs", matcher.language)["and"]).join(matcher.say(fact) for fact in facts)


def judgement(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """Premise and hypothesis with three labels; in a genre the premise has its relations and its way of speaking."""
    styles = lexicon("pairs", matcher.language)["genres"]
    relations = matcher.functional_relations(styles[genre]["relations"] if genre else None)
    fact = matcher.graph.sample_fact(matcher.rng, relations or matcher.functional_relations())
    other = matcher.judged(fact, NLI[truth])
    if other is None or truth > 0 and follows(fact, other):
        return None
    premise, hypothesis = matcher.twice(fact) if truth == 0 else (matcher.say(fact), matcher.say(other))
    if genre:
        premise = matcher.rng.choice(styles[genre]["open"]).format(s=premise)
    kind = {0: "same", 2: "tail"}.get(truth, "relation" if other.relation != fact.relation else "head")
    return premise, hypothesis, kind


@dataclass(frozen=True)
class PairTask:
    """One task of pairs: how a pair is made for a true label, what the labels are called, and the clozes."""

    key: str
    make: Callable[[Matcher, int, str], Pair | None]
    labels: dict[str, str]  # label -> the lexicon's list of its words
    patterns: tuple[str, ...]
    language: str = "en"
    genres: tuple[str, ...] = ("",)
    bare: bool = False  # drop the closing mark of questions

    def rows(self, world: World, count: int, rng: random.Random) -> list[Row]:
        """`count` rows `{text_a, text_b, label, kind, posterior}` (and "genre"), labels in turn, no pair twice."""
        matcher, noise, kinds = Matcher(world, self.language, rng), world.label_noise / 2, len(self.labels)

        def one(number: int) -> Row | None:
            label, genre = number % kinds, self.genres[number // kinds % len(self.genres)]
            pair = self.make(matcher, behind(label, kinds, noise, rng), genre)
            if pair is None:
                return None
            first, second = (text.rstrip("？") if self.bare else text for text in pair[:2])
            row = {"text_a": first, "text_b": second, "label": label, "kind": pair[2], "posterior": kept(kinds, noise)}
            return {**row, "genre": genre} if genre else row

        return collect(count, one, ("text_a", "text_b"))

    def build(self, world: World) -> dict[str, Any]:
        """The fields of a `labkit.tasks.Task`."""
        sizes = {**SPLITS, **UNLABELLED}
        rows = self.rows(world, sum(sizes.values()), randomness(world, "task", self.key))
        ceiling = pop_ceiling(rows)
        note = f"a label is wrong with probability {world.label_noise / 2:g}; nothing else is ambiguous"
        return {
            "fields": ("text_a", "text_b"), "labels": tuple(self.labels), "splits": cut(rows, sizes),
            "language": self.language, "metric": "accuracy", "chance": 1 / len(self.labels), "ceiling": ceiling,
            "note": note, "patterns": self.patterns,
            "words": {label: tuple(lexicon("pairs", self.language)[kind]) for label, kind in self.labels.items()},
        }  # fmt: skip


def pair_rows(key: str, world: World, count: int, rng: random.Random) -> list[Row]:
    """`count` rows `{text_a, text_b, label, kind, posterior}` of the pair task `key`, for other tasks' files."""
    return PAIR_TASKS[key].rows(world, count, rng)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Small dialogues without end, in which one speaker asks and the other says whether it is so."""
    matcher, words = Matcher(world, language, rng), lexicon("pairs", language)
    makers: list[Callable[[], str | None]] = [lambda: _match(matcher), lambda: _premises(matcher)]
    makers += [
        lambda: _compare(matcher, duplicate, words["equal"]),
        lambda: _compare(matcher, paraphrase, words["alike"]),
    ]
    makers += [lambda: _answered(matcher)]
    while True:
        made = rng.choices(makers, (11, 3, 2, 2, 2))[0]()
        if made is not None:
            yield made


def _word(matcher: Matcher, label: str) -> str:
    return zipf_choice(matcher.rng, lexicon("pairs", matcher.language)[label], matcher.world.tail)


def _match(matcher: Matcher) -> str | None:
    """What is asked may be false; what is replied is true, except in "maybe"."""
    words, label = lexicon("pairs", matcher.language), matcher.rng.choice(NLI)
    fact = matcher.graph.sample_fact(matcher.rng, matcher.functional_relations())
    other = matcher.judged(fact, label)
    if other is None:
        return None
    asked, reply = matcher.twice(fact) if label == NLI[0] else (matcher.say(other), matcher.say(fact))
    if label == NLI[1] and matcher.rng.random() < 0.5:
        asked, reply = reply, asked
    form = matcher.rng.choice(words["match"])
    if form == words["match"][0] and matcher.rng.random() < STYLED:
        style = words["genres"][matcher.rng.choice(list(words["genres"]))]
        asked = matcher.rng.choice(style["open"]).format(s=asked)
    return form.format(a=asked, b=reply, word=_word(matcher, label))


def _premises(matcher: Matcher) -> str | None:
    truth = matcher.rng.randrange(2)
    pair = entailment(matcher, truth, "")
    label = NLI[0] if truth == 0 else NLI[1 if pair and pair[2] == "relation" else 2]
    form = lexicon("pairs", matcher.language)["match"][0]
    return pair and form.format(a=pair[0], b=pair[1], word=_word(matcher, label))


def _compare(matcher: Matcher, make: Callable[[Matcher, int, str], Pair | None], forms: list[str]) -> str | None:
    truth = matcher.rng.randrange(2)
    pair = make(matcher, truth, "")
    word = _word(matcher, "equal_word" if truth else "different")
    return pair and matcher.rng.choice(forms).format(a=pair[0].rstrip("？"), b=pair[1].rstrip("？"), word=word)


def _answered(matcher: Matcher) -> str | None:
    truth = matcher.rng.randrange(2)
    pair = answer(matcher, truth, "")
    form = lexicon("pairs", matcher.language)["answer"][0]
    return pair and form.format(a=pair[0], b=pair[1], word=_word(matcher, NLI[2] if truth else NLI[0]))


SAME = {"entailment": "entailment", "not_entailment": "contradiction"}
THREE = {label: label for label in NLI}
GENRES = ("fiction", "government", "magazine", "telephone", "travel")
MATCH = ("{text_a} ? {mask} , {text_b} .", "is it true that {text_a} ? {mask} , {text_b} .")
ALIKE = "{text_a} . {text_b} . do they say the same ? {mask} ."
MATCH_ZH = ("{text_a}？{mask}，{text_b}。", "{text_a}对吗？{mask}，{text_b}。")
ANSWER, ANSWER_ZH = ("{text_a} {text_b} . does that answer it ? {mask} .",), ("{text_a}{text_b}，这算回答吗？{mask}。",)
EQUAL = ("{text_a} {text_b} the same question ? {mask} .",)
EQUAL_ZH = ("{text_a}，{text_b}，这两句话意思{mask}同。",)
EQUIVALENT = {"not_equivalent": "contradiction", "equivalent": "entailment"}
PAIR_TASKS = {
    task.key: task
    for task in (
        PairTask("mrpc", paraphrase, EQUIVALENT, (*MATCH, ALIKE)),
        PairTask("mrpc-zh", paraphrase, EQUIVALENT, MATCH_ZH, "zh"),
        PairTask("qqp", duplicate, {"not_duplicate": "contradiction", "duplicate": "entailment"}, EQUAL),
        PairTask("bustm", duplicate, {"0": "different", "1": "equal_word"}, EQUAL_ZH, "zh", bare=True),
        PairTask("qnli", answer, SAME, ANSWER),
        PairTask("qnli-zh", answer, SAME, ANSWER_ZH, "zh"),
        PairTask("rte", entailment, SAME, MATCH),
        PairTask("rte-zh", entailment, SAME, MATCH_ZH, "zh"),
        PairTask("genres", judgement, THREE, MATCH, genres=GENRES),
        PairTask("genres-zh", judgement, THREE, MATCH_ZH, "zh", GENRES),
        PairTask("ocnli", judgement, THREE, MATCH_ZH, "zh"),
    )
}
TASKS: dict[str, Callable[[World], dict[str, Any]]] = {key: task.build for key, task in PAIR_TASKS.items()}
