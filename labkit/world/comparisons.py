"""Text in which sentences are compared: the evidence from which a model learns what the tasks of `pairs.py` ask.

A document is one short talk about a few related facts, with two or three comparisons: "does anna reed live in old
harbour ? no , she …". They come in five kinds: *checks* are the plainest, and the first that a model learns (is this
name in it, is it said again word for word?); a *series* puts several second texts beside one first, with the words
of a task's cloze; *claims* set what is said against what is so; a *chain* draws a conclusion from two facts; *everyday*
talk does the same with plain sense ("tom is taller than ben , so ben is shorter than tom ."). Words of agreement, of
denial and of doubt are the same in all of them, and stand before, between and after what they judge.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from labkit.world.forms import FORMS
from labkit.world.matching import CHAINS, Matcher
from labkit.world.pairs import GENRES, NLI
from labkit.world.schema import BY_NAME, Fact
from labkit.world.settings import World, fits, join, lexicon, zipf_choice

MOVES = 4  # comparisons of a document, at most: as many as it has room for
WHOLE = 0.25  # share of series whose word stands before or after both texts
CUED = 0.15  # share of second texts with a phrase that tells, far fewer than in the tasks
SAID = 0.35  # share of claims that are put together by a connective, without a word that judges
STYLED = 0.15  # share of claims that open in the style of a genre
USUAL = 0.8  # words that judge have a shorter tail than others: this much is added to the world's
TURNED = 0.3  # share of claims that change places with what is so
NO = "contradiction"


@dataclass(frozen=True)
class Claim:
    """What is said (`claim`), the truth beside it (`known`), how they stand (an index into NLI), and as a question."""

    claim: str
    known: str
    truth: int
    ask: str
    stated: bool = False  # an open claim that is true, though it does not follow
    cued: bool = False  # it holds a phrase that tells


class Talker(Matcher):
    """A matcher that puts comparisons into words, a *move* each."""

    def word(self, label: str) -> str:
        """A word of one of the three families, the usual ones far more often."""
        return zipf_choice(self.rng, lexicon("pairs", self.language)[label], self.world.tail + USUAL)

    def words(self, label: str) -> dict[str, str]:
        """What judges, for whichever place a pattern has: a word of the family, a phrase of it, "alike" or not."""
        phrases, alike = (lexicon("pairs", self.language)[key] for key in ("phrases", "alike"))
        found = {"word": self.word(label), "phrase": self.rng.choice(phrases[label])}
        return found | ({"alike": self.rng.choice(alike[label])} if label in alike else {})

    def pick(self, *keys: str) -> str:
        """One of the patterns at this place of the lexicon."""
        found = lexicon("pairs", self.language)
        for key in keys:
            found = found[key]
        return self.rng.choice(found)

    def fits(self, moves: Sequence[str]) -> str:
        """As many of the moves, from the first on, as a document has room for."""
        text = ""
        for move in moves:
            longer = join([text, move], self.language) if text else move
            if not fits(longer, self.language):
                break
            text = longer
        return text

    def judge(self, claim: Claim) -> str:
        """A claim and the truth with a word that judges, or with a connective."""
        stated = {0: "entailment", 1: "neutral" if claim.stated else "open", 2: NO}[claim.truth]
        if not claim.cued and self.rng.random() < SAID:
            return self.pick("said", stated).format(a=claim.claim, b=claim.known)
        pattern, first, second = self.pick("match"), claim.claim, claim.known
        if "{ask}" not in pattern and self.rng.random() < TURNED:
            first, second = second, first
        if self.rng.random() < STYLED:
            first = self.rng.choice(lexicon("pairs", self.language)["genres"][self.rng.choice(GENRES)]["open"]).format(
                s=first
            )
        return pattern.format(a=first, b=second, ask=claim.ask, **self.words(NLI[claim.truth]))

    def claim(self, fact: Fact, truth: int) -> Claim | None:
        """A claim about the head of the fact, beside the fact."""
        cued = self.rng.random() < CUED
        judged = self.judged(fact, NLI[truth], cued)
        if judged is None:
            return None
        (other, phrase), known = judged, self.say(fact)
        said = self.cue(self.say(other, known), phrase)
        stated = not cued and self.graph.has(other.head, other.relation, other.tail)
        return Claim(said, known, truth, asked(said, self.language) if cued else self.check(other), stated, cued)

    def contrast(self, fact: Fact) -> str:
        """A question and its answer, with what is not the answer: "where … ? paris , not lisbon ."."""
        wrong = self.name(self.other_end(fact, "tail").tail)
        return self.pick("contrast").format(ask=self.ask(fact), t=self.name(fact.tail), t2=wrong)

    def then(self, fact: Fact) -> str | None:
        """A question with a wrong name, denied; and of whom it is true instead, where the world has one."""
        wrong = self.other_end(fact, "tail")
        others = [
            one for one in self.graph.facts_of(wrong.tail) if (one.relation, one.tail) == (fact.relation, wrong.tail)
        ]
        if not others or wrong == fact:
            return None
        return lexicon("pairs", self.language)["then"].format(
            check=self.check(wrong), no=self.word(NO), b=self.say(fact), seek=self.seek(wrong),
            h2=self.name(self.rng.choice(others).head),
        )  # fmt: skip

    def opened(self, opening: str, moves: list[str]) -> list[str]:
        """The moves with their opening, which never stands alone."""
        return [join([opening, moves[0]], self.language), *moves[1:]] if opening and moves else moves

    def truths(self) -> list[bool]:
        """Whether each move agrees: drawn one by one, so that no word can be guessed from the others."""
        return [self.rng.random() < 0.5 for _ in range(MOVES)]


def checks(talker: Talker) -> list[str]:
    """Is a name in a sentence, is it said again, word for word or otherwise? Two sentences, a few such questions each.

    Always in the same two words: what is learned here is to look, not what else can be said.
    """
    opening, moves = lexicon("pairs", talker.language)["series"]["alike"]["open"], []
    for kind in talker.rng.choices(("named", "again", "alike"), k=2):
        fact = talker.graph.sample_fact(talker.rng)
        first, asked = talker.say(fact), []
        for same in talker.truths()[: 4 if kind == "named" else 2]:
            end = talker.rng.choice(("head", "tail"))
            other = fact if same else talker.other_end(fact, end)
            there, name = talker.name(getattr(fact, end)), talker.name(getattr(other, end))
            second = talker.say(other, first) if kind == "alike" else first.replace(there, name)
            label = "entailment" if other == fact else NO
            word = lexicon("pairs", talker.language)[label][0]
            pattern = talker.pick("checks", "named" if kind == "named" else "again")
            asked.append(pattern.format(x=name, b=second, word=word))
        moves += talker.opened(opening.format(a=first), asked)
    return moves


def names(talker: Talker) -> list[str]:
    """Two names: are they the same? The shortest text there is, in which nothing else draws the eye."""
    fact, end, same = talker.graph.sample_fact(talker.rng), talker.rng.choice(("head", "tail")), talker.truths()[0]
    other = fact if same else talker.other_end(fact, end)
    first, second = (talker.name(getattr(one, end)) for one in (fact, other))
    word = lexicon("pairs", talker.language)["entailment" if first == second else NO][0]
    opening = lexicon("pairs", talker.language)["series"]["alike"]["open"].format(a=first)
    return [join([opening, talker.pick("checks", "named").format(x=second, word=word)], talker.language)]


def series(talker: Talker) -> list[str]:
    """Several second texts beside one first, each judged in the words of one form."""
    rng = talker.rng
    name = rng.choice(list(FORMS))
    form, words = FORMS[name], lexicon("pairs", talker.language)["series"][name]
    told = form.told(talker)
    if told is None:
        return []
    first = form.first(talker, told)
    whole = rng.random() < WHOLE
    bare = "？" if name == "equal" else ""  # the Chinese patterns of this form bring their own marks
    opening = "" if whole else words["open"].format(a=first.rstrip(bare))
    moves: list[str] = []
    for same in talker.truths():
        made = form.second(talker, told, first, same)
        if made is None:
            continue
        text = talker.cue(made[0], form.cues[not same]) if rng.random() < CUED else made[0]
        pattern = rng.choice(words["whole" if whole else "each"])
        judging = talker.words("entailment" if same else NO)
        moves.append(pattern.format(a=first.rstrip(bare), b=text.rstrip(bare), **judging))
        first = form.first(talker, told) if whole else first
    return talker.opened(opening, moves)


def claims(talker: Talker) -> list[str]:
    """Claims about one thing, each beside what is so; contrasts of names among them."""
    fact = talker.graph.sample_fact(talker.rng, talker.functional_relations())
    moves: list[str | None] = []
    for truth in talker.rng.choices(range(3), k=MOVES):
        kind = talker.rng.random()
        if kind < 0.15:
            moves.append(talker.contrast(fact))
        elif kind < 0.3:
            moves.append(talker.then(fact))
        elif (claim := talker.claim(fact, truth)) is not None:
            moves.append(talker.judge(claim))
        others = [one for one in talker.graph.facts_of(fact.head) if BY_NAME[one.relation].functional]
        fact = talker.rng.choice(others) if talker.rng.random() < 0.5 and others else fact
    return [move for move in moves if move]


def chain(talker: Talker) -> list[str]:
    """Two facts and what follows from them, then a question what else follows."""
    if not talker.graph.relations_in_text(tuple(CHAINS)):
        return []
    fact = talker.graph.sample_fact(talker.rng, tuple(CHAINS))
    steps = talker.chain(fact)
    if steps is None:
        return []
    told, texts = [fact, steps[0]], [talker.say(fact), talker.say(steps[0])]
    talker.rng.shuffle(texts)
    moves = [talker.pick("chained").format(a=texts[0], b=texts[1], c=talker.say(steps[1]))]
    for same in talker.truths():
        made = FORMS["follow"].second(talker, told, texts[0], same)
        pattern = talker.pick("series", "follow", "each")
        if made:
            moves.append(pattern.format(b=made[0], **talker.words("entailment" if same else NO)))
    return moves


def everyday(talker: Talker) -> list[str]:
    """Claims of plain sense: who is taller, what is open, who gave what to whom."""
    moves = []
    for _ in range(MOVES - 1):
        kind = talker.rng.choice(("compare", "state", "turns", "scenes"))
        twofold = kind != "scenes"  # what follows says the same
        known, *others = scene(talker, kind)
        claims = [Claim(text, known, place, asked(text, talker.language)) for place, text in enumerate(others)]
        claims = talker.rng.sample(claims, 1 + (talker.rng.random() < 0.3))
        if talker.rng.random() < 0.5:
            moves += [talker.judge(claim) for claim in claims]
            continue
        words = lexicon("pairs", talker.language)["series"][
            "alike" if twofold and talker.rng.random() < 0.5 else "follow"
        ]
        judged = [
            talker.rng.choice(words["each"]).format(b=one.claim, **talker.words(NO if one.truth else "entailment"))
            for one in claims
        ]
        moves += talker.opened(words["open"].format(a=known), judged)
    return moves


def scene(talker: Talker, kind: str) -> list[str]:
    """Four bare sentences: what is so, what follows from it, what is open, what is wrong."""
    words, rng = lexicon("pairs", talker.language)["talk"], talker.rng
    patterns = rng.choice(words[kind]) if kind in ("scenes", "turns") else words[kind]
    pair, other = rng.sample(words["states" if kind == "state" else "degrees"], 2)
    turned = pair if rng.random() < 0.5 else pair[::-1]
    names, places = rng.sample(words["names"], 2), rng.sample(words["places"], 2)
    slots = {"x": names[0], "y": names[1], "n": places[0], "m": places[1], "p": turned[0], "q": turned[1]}
    return [pattern.format(**slots, r=rng.choice(other)) for pattern in patterns]


def asked(text: str, language: str) -> str:
    """The bare statement as a question."""
    return f"{text} ?" if language == "en" else f"{text}吗？"


Kinds = Mapping[Callable[[Talker], list[str]], float]  # with their shares
TALK: Kinds = {series: 0.45, claims: 0.32, everyday: 0.15, chain: 0.08}
CHECKS: Kinds = {checks: 1.0}
NAMES: Kinds = {names: 1.0}


def documents(world: World, language: str, rng: random.Random, kinds: Kinds = TALK) -> Iterator[str]:
    """Documents of these kinds without end, in `TALK` of two or three comparisons each."""
    talker = Talker(world, language, rng)
    while True:
        text = talker.fits(talker.rng.choices(list(kinds), list(kinds.values()))[0](talker))
        if text:
            yield text
