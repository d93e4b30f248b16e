"""Pairs of sentences about facts: paraphrases, duplicate questions, answers, entailment; and text for matching.

What decides is whether two wordings name the same entities in the same relation. To see it one must compare, which a
micro model learns late: first where everything differs, then the relation, then one name. Half of the pairs also hold a
phrase that gives the label away, as collected data do ("it is surely not true that …"; Gururangan et al. 2018, NAACL):
a reader of cues alone gets part of the way, and `kind` ends in "with cue" so that the two can be told apart. A share
`label_noise / 2` of the labels is wrong, and the best possible reader right with probability `1 - label_noise / 2`.

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
from labkit.world.matching import CUED, Matcher, follows
from labkit.world.settings import World, lexicon, randomness, zipf_choice

NLI = ("entailment", "neutral", "contradiction")
CHAINS = {"born_in": "located_in", "lives_in": "located_in", "based_in": "located_in", "set_in": "located_in"}
CHAINED = 0.3  # share of entailment examples that need two facts together
JUDGED = 0.5  # share of pre-training documents with three answers, yes, maybe and no
STYLED = 0.3  # share of matching documents that open in the style of a genre
CUE = "with cue"
Pair = tuple[str, str, str]  # text_a, text_b, what was done to make them
Make = Callable[[Matcher, int, str], Pair | None]  # a pair for a true label, in a genre or ""


def paraphrase(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """The same fact in other words (1), or another (0)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 1:
        return *matcher.twice(fact), "same"
    other, change = matcher.unlike(fact)
    return matcher.say(fact), matcher.say(other), change


def duplicate(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """The same question in other words (1), or about another thing, another property or both (0)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 1:
        return *matcher.ask_twice(fact), "same"
    change = matcher.change()
    if change == "all":
        return matcher.ask(fact), matcher.ask(matcher.elsewhere(fact)), change
    if change == "name":
        return matcher.ask(fact), matcher.ask(matcher.other_end(fact, "head")), "head"
    kinds = [r.name for r in matcher.graph.relations if r.head == matcher.graph.entities[fact.head].type]
    others = [name for name in kinds if name != fact.relation]
    if not others:
        return None
    return matcher.ask(fact), matcher.ask(Fact(fact.head, matcher.rng.choice(others), fact.tail)), change


def answer(matcher: Matcher, truth: int, genre: str) -> Pair | None:
    """A question and a sentence that answers it (0: entailment), or speaks of another thing or property (1)."""
    fact = matcher.graph.sample_fact(matcher.rng)
    if truth == 0:
        return matcher.ask(fact), matcher.say(fact), "same"
    change = matcher.change()
    if change == "all":
        return matcher.ask(fact), matcher.say(matcher.elsewhere(fact)), change
    if change == "relation":
        other = matcher.aside(fact)
        return other and (matcher.ask(fact), matcher.say(other), change)
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


def cued(make: Make, match: int, yes: str, no: str) -> Make:
    """`make`, with a phrase in `CUED` of its second texts that tells whether the true label is `match`."""

    def both(matcher: Matcher, truth: int, genre: str) -> Pair | None:
        pair = make(matcher, truth, genre)
        if pair is None or matcher.rng.random() >= CUED:
            return pair
        return pair[0], matcher.cue(pair[1], yes if truth == match else no), f"{pair[2]} {CUE}"

    return both


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
    cue = matcher.rng.random() < CUED
    judged = matcher.judged(fact, NLI[truth], cue)
    if judged is None or (not cue and truth > 0 and follows(fact, judged[0])):
        return None
    other, phrase = judged
    premise, hypothesis = matcher.twice(fact) if other == fact else (matcher.say(fact), matcher.say(other))
    if genre:
        premise = matcher.rng.choice(styles[genre]["open"]).format(s=premise)
    kind = ("same", "relation", "denied" if cue else "tail")[truth]
    return premise, matcher.cue(hypothesis, phrase), f"{kind} {CUE}" if cue else kind


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
            "words": {label: tuple(lexicon("pairs", self.language)[kind][:6]) for label, kind in self.labels.items()},
        }  # fmt: skip


def pair_rows(key: str, world: World, count: int, rng: random.Random) -> list[Row]:
    """`count` rows `{text_a, text_b, label, kind, posterior}` of the pair task `key`, for other tasks' files."""
    return PAIR_TASKS[key].rows(world, count, rng)


def documents(world: World, language: str, rng: random.Random) -> Iterator[str]:
    """Small dialogues without end, in which one speaker asks and the other says whether it is so."""
    matcher, words = Matcher(world, language, rng), lexicon("pairs", language)
    forms = {"mrpc": "alike", "qqp": "equal", "qnli": "answer", "rte": "follow"}
    while True:
        if rng.random() < JUDGED:
            made = _match(matcher)
        else:
            key, truth = rng.choice(list(forms)), rng.randrange(2)
            form, labels = forms[key], list(PAIR_TASKS[key].labels.values())
            pair = PAIR_TASKS[key].make(matcher, truth, "")
            word = _word(matcher, labels[truth])
            # Only Chinese drops the mark of a question that goes on; in English it is a word of its own.
            texts = [text.rstrip("？") if form == "equal" else text for text in pair[:2]] if pair else []
            made = rng.choice(words[form]).format(a=texts[0], b=texts[1], word=word) if pair else None
        if made is not None:
            yield made


def _word(matcher: Matcher, label: str) -> str:
    return zipf_choice(matcher.rng, lexicon("pairs", matcher.language)[label], matcher.world.tail)


def _match(matcher: Matcher) -> str | None:
    """A question, a word, and the true statement that the word rests on; what is asked may be false."""
    words, truth = lexicon("pairs", matcher.language), matcher.rng.randrange(3)
    pair = judgement(matcher, truth, "")
    if pair is None:
        return None
    asked, reply = pair[:2] if pair[2] != "tail" else pair[1::-1]  # what is replied is true
    form = matcher.rng.choice(words["match"])
    if form == words["match"][0] and matcher.rng.random() < STYLED:
        style = words["genres"][matcher.rng.choice(GENRES)]
        asked = matcher.rng.choice(style["open"]).format(s=asked)
    return form.format(a=asked, b=reply, word=_word(matcher, NLI[truth]))


GENRES = ("fiction", "government", "magazine", "telephone", "travel")
PARAPHRASE = cued(paraphrase, 1, "again", "instead")
DUPLICATE = cued(duplicate, 1, "again", "instead")
ANSWERED = cued(answer, 0, "affirm", "hedge")
ENTAILED = cued(entailment, 0, "affirm", "hedge")
SAME = {"entailment": "entailment", "not_entailment": "contradiction"}
THREE = {label: label for label in NLI}
MATCH = ("{text_a} ? {mask} , {text_b} .", "is it so that {text_a} ? {mask} , {text_b} .")
ALIKE, ALIKE_ZH = (
    ("{text_a} . {text_b} . do they say the same ? {mask} .",),
    ("{text_a}，{text_b}，这两句话意思{mask}同。",),
)
FOLLOW, FOLLOW_ZH = ("{text_a} . does it follow that {text_b} ? {mask} .",), ("{text_a}。由此可知{text_b}吗？{mask}。",)
MATCH_ZH = ("{text_a}？{mask}，{text_b}。", "{text_a}对吗？{mask}，{text_b}。")
ANSWER, ANSWER_ZH = ("{text_a} {text_b} . does that answer it ? {mask} .",), ("{text_a}{text_b}，这算回答吗？{mask}。",)
EQUAL = ("{text_a} {text_b} the same question ? {mask} .",)
EQUAL_ZH = ("{text_a}，{text_b}，这两句话意思{mask}同。",)
EQUIVALENT = {"not_equivalent": "different", "equivalent": "equal_word"}
PAIR_TASKS = {
    task.key: task
    for task in (
        PairTask("mrpc", PARAPHRASE, EQUIVALENT, (*ALIKE, *MATCH)),
        PairTask("mrpc-zh", PARAPHRASE, EQUIVALENT, ALIKE_ZH, "zh"),
        PairTask("qqp", DUPLICATE, {"not_duplicate": "different", "duplicate": "equal_word"}, EQUAL),
        PairTask("bustm", DUPLICATE, {"0": "different", "1": "equal_word"}, EQUAL_ZH, "zh", bare=True),
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
