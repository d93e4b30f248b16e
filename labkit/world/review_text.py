"""How a review is written: one thing, one person, one place and day; events in time; opinions, each of one polarity.

An opinion is one vote, for or against, whose wording may have to be composed: a word of praise or blame ("the soup was
superb"), a word that judges only together with its noun ("a long wait", "a long battery life"), a negation ("far from
dull"), a contrast, of which the last clause counts, or a remark without any such word ("i have seen a better pool").
Dense text (for pre-training) adds what such wordings are learned from: words side by side and short comments.
"""

from __future__ import annotations

import functools
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.world.settings import World, fits, join, lexicon, zipf_choice
from labkit.world.topics import fill

POLARITY = ("negative", "positive")
OPPOSITE = {"negative": "positive", "positive": "negative"}
REMARKS = 0.12  # share of opinions that hold no word of praise or blame at all
STORY = 0.5  # share of the events of a film, book or play that its story tells; half as many opinions are about it
GENERAL = 0.25  # share of events that fit any domain
CLOSING_TAIL = 0.5  # verdicts and comments take commoner words: this much is added to the world's tail
HEADLINES = 0.15  # share of verdicts that stand in front of their review, and of those that stand within it
NAME = "{name}"
ARTICLE = re.compile(r"\ba (?=(?!us|uni[^mn]|one)[aeiou]|honest|hour)")


@functools.cache
def contextual(language: str, domain: str, polarity: str) -> tuple[tuple[str, str], ...]:
    """Pairs (noun, word): the word is praise, or blame, of this noun."""
    table = lexicon("reviews", language)["domains"][domain]["contextual"][polarity]
    return tuple((noun, word) for word, nouns in table.items() for noun in nouns)


@functools.cache
def _worded(language: str, kind: str, name: str, side: str) -> tuple[str, ...]:
    """The patterns of `lexicon[kind][name]` that suit a polarity, or another side."""
    lists = lexicon("reviews", language)[kind]
    lists = lists[name] if name else lists
    return (*lists.get("both", ()), *lists.get(side, ()))


class Writer:
    """Writes the sentences of one document. What it is about, who, where and when stay the same throughout."""

    def __init__(self, world: World, language: str, rng: random.Random, domain: str) -> None:
        self.world, self.language, self.rng, self.domain = world, language, rng, domain
        self.words: Mapping[str, Any] = lexicon("reviews", language)
        self.own: Mapping[str, Any] = self.words["domains"][domain]
        people = self.words["people"]
        pronoun, self.hero_pronoun = rng.choice(list(people)), rng.choice(list(people))
        self.scene = {
            "item": rng.choice(self.own["items"]), "city": rng.choice(self.words["cities"]),
            "day": rng.choice(self.words["days"]), "name": rng.choice(people[pronoun]), "pronoun": pronoun,
            "hero": rng.choice(self.words["plot"]["heroes"]), "thing": rng.choice(self.words["plot"]["things"]),
        }  # fmt: skip
        self.judged: set[str] = set()  # a noun is judged once
        self.named = self.told = self.in_story = False

    # Words

    def word(self, polarity: str, closing: bool = False) -> str:
        """A word of praise or blame: the domain's own with chance `domain_shift`, else a general one.

        What closes a review or a sentence uses common general ones only (`closing`), in Chinese those of `verdict_…`.
        """
        if closing:
            general = self.words.get(f"verdict_{polarity}", self.words[polarity])
            return zipf_choice(self.rng, general, self.world.tail + CLOSING_TAIL)
        if self.rng.random() < self.world.domain_shift:
            return self.rng.choice(self.own[polarity])
        return zipf_choice(self.rng, self.words[polarity], self.world.tail)

    def judge(self, polarity: str) -> tuple[str, str]:
        """A noun that was not judged yet and a word that is praise (or blame) of it."""
        if self.rng.random() < self.world.contextual:
            noun, word = self.rng.choice(contextual(self.language, self.domain, polarity))
            if noun not in self.judged:
                self.judged.add(noun)
                return noun, word
        noun = self.rng.choice([one for one in self.own["aspects"] if one not in self.judged])
        self.judged.add(noun)
        return noun, self.word(polarity)

    def fill(self, pattern: str, polarity: str = "", closing: bool = False, **given: str) -> str:
        """The pattern with its slots filled: from `given`, the scene, or drawn for this sentence alone.

        Who has been named becomes a pronoun half of the time, at the beginning of a sentence.
        """
        if pattern.startswith(NAME) and self.named and self.rng.random() < 0.5:
            pattern = "{pronoun}" + pattern.removeprefix(NAME)

        def word(slot: str) -> str:
            if slot not in given:
                given[slot] = self.scene.get(slot) or self._draw(slot, polarity, closing, given)
            return given[slot]

        text = fill(pattern, word)
        self.named, self.in_story = self.named or NAME in pattern, False
        return ARTICLE.sub("an ", text.replace("  ", " ")) if self.language == "en" else text

    def _draw(self, slot: str, polarity: str, closing: bool, given: Mapping[str, str]) -> str:
        """A word for a slot of one sentence, different from the words that fill its other slots."""
        while True:
            drawn = self._any(slot, polarity, closing)
            if drawn not in given.values():
                return drawn

    def _any(self, slot: str, polarity: str, closing: bool) -> str:
        rng, words, plot = self.rng, self.words, self.words["plot"]
        match slot:
            case "polar" | "polar2":
                return self.word(polarity or rng.choice(POLARITY), closing)
            case "other":
                return self.word(OPPOSITE[polarity], closing)
            case "noun" | "noun2":
                return rng.choice(self.own["aspects"])
            case "much":
                return rng.choice(words["intensifiers"]) if rng.random() < 0.5 else ""
            case "stars":
                return rng.choice(words["stars"][polarity])
            case "place":
                return rng.choice(plot["places"]).format(city=rng.choice(words["cities"]))
            case "trait" | "trait2":
                return rng.choice(plot["traits"])
            case "hero2":
                return rng.choice([one for one in plot["heroes"] if one != self.scene["hero"]])
        return rng.choice(words[slot + "s"])  # time, number, relative

    # Sentences

    def opening(self) -> str:
        """The first sentence: what, who, where and when."""
        return self.fill(self.rng.choice(self.own["openings"]))

    def event(self, pattern: str) -> str:
        """A sentence that says nothing for or against: the domain's `pattern`, or one for any domain, or of a story."""
        if self.own.get("story") and self.rng.random() < STORY:
            return self.plot()
        if self.rng.random() < GENERAL:
            pattern = self.rng.choice(self.words["neutral"])
        return self.fill(pattern)

    def plot(self) -> str:
        """A sentence of the story: the first introduces its hero and a thing, and the others go on from there."""
        plot = self.words["plot"]
        pattern = self.rng.choice(plot["then" if self.told else "first"])
        pronoun = self.hero_pronoun if self.in_story else plot["again"].format(**self.scene)
        text = self.fill(pattern, pronoun=pronoun)
        self.told, self.in_story, self.named = True, True, False
        return text

    def opinion(self, polarity: str, dense: bool = False, story: float = STORY / 2) -> str:
        """A sentence of praise or blame, a share `story` of them about the story where there is one.

        Dense text may set two words side by side, and adds comments.
        """
        if self.own.get("story") and self.rng.random() < story:
            pattern = self.rng.choice(_worded(self.language, "plot", "judged", polarity))
            text = self.fill(pattern, polarity)
        else:
            form = self._form(dense)
            pattern = self.rng.choice(_worded(self.language, "forms", form, polarity))
            text = self.fill(pattern, polarity, **self._judgements(form, polarity))
        if dense and self.rng.random() < self.world.comments:
            return self._commented(text, pattern, polarity)
        return text

    def _form(self, dense: bool) -> str:
        """Which kind of wording the next opinion takes."""
        shares = {"negated": self.world.negation, "contrast": self.world.contrast, "remark": REMARKS}
        place = self.rng.random()
        for form, share in shares.items():
            place -= share
            if place < 0:
                return form
        if not dense or self.rng.random() < 0.5:
            return "plain"
        return "corrected" if self.world.contrast and self.rng.random() < 0.4 else "pair"

    def _judgements(self, form: str, polarity: str) -> dict[str, str]:
        """Nouns and the words said of them: in a negation the word is of the other polarity than the sentence."""
        said = "other" if form == "negated" else "polar"
        noun, word = self.judge(OPPOSITE[polarity] if said == "other" else polarity)
        given = {"noun": noun, said: word}
        if form == "contrast":
            given["noun2"], given["other"] = self.judge(OPPOSITE[polarity])
        return given

    def _commented(self, text: str, pattern: str, polarity: str) -> str:
        """The sentence with a comment of the same polarity before or behind it."""
        comments = self.words["comments"]
        if self.rng.random() < 0.5 and pattern.startswith(tuple(comments["starts"])):
            return join([self.rng.choice(comments["before"][polarity]), text], self.language)
        end = self.fill(self.rng.choice(comments["after"][polarity]), polarity, closing=True)
        return text.removesuffix("。").removesuffix(" .") + (" " if self.language == "en" else "") + end

    def verdict(self, polarity: str, kind: str = "verdicts") -> str:
        """A sentence about the whole: one that closes a review, or its "headlines"."""
        patterns = _worded(self.language, kind, "", polarity)
        if not self.world.contrast:
            patterns = tuple(one for one in patterns if "{other}" not in one)
        return self.fill(self.rng.choice(patterns), polarity, closing=True)

    # Texts

    def passage(self, kind: str, count: int) -> list[str]:
        """Sentences of one kind: "subjective", "plot", or "objective" (what happened)."""
        if kind == "subjective":
            return [self.opinion(self.rng.choice(POLARITY), story=STORY) for _ in range(count)]
        if kind == "plot":
            return [self.plot() for _ in range(count)]
        events = sorted(self.rng.sample(range(len(self.own["events"])), count - 1))
        return [self.opening(), *(self.event(self.own["events"][place]) for place in events)]

    def review(self, polarities: Sequence[str], events: int, dense: bool = False, verdict: str = "") -> str:
        """An opening, then opinions of these polarities among up to `events` others, in time; perhaps a `verdict`.

        The last events are left out where the text would be too long for a document; without any it may still be so.
        """
        own, events = self.own["events"], min(events, len(self.own["events"]))
        patterns = iter(sorted(self.rng.sample(range(len(own)), events)))
        order = [*polarities, *[""] * events]
        self.rng.shuffle(order)
        told = [("opening", self.opening())]
        told += [(one, self.opinion(one, dense) if one else self.event(own[next(patterns)])) for one in order]
        if verdict:
            self._conclude(told, verdict)
        while not fits(join([text for _, text in told], self.language), self.language):
            left = [place for place, (kind, _) in enumerate(told) if not kind]
            if not left:
                break
            del told[left[-1]]
        return join([text for _, text in told], self.language)

    def _conclude(self, told: list[tuple[str, str]], polarity: str) -> None:
        """Puts a verdict behind what was told; at times in front of it, or somewhere between."""
        place = self.rng.random()
        if place < HEADLINES:
            told.insert(0, ("verdict", self.verdict(polarity, "headlines")))
        elif place < 2 * HEADLINES:
            told.insert(self.rng.randint(1, len(told)), ("verdict", self.verdict(polarity)))
        else:
            told.append(("verdict", self.verdict(polarity)))


def stance_remark(kind: str, language: str, rng: random.Random, place: str = "after", **scene: str) -> str:
    """A sentence that says what kind of passage stands `place` ("after": in front of the remark; "before": behind it).

    Kinds: "objective", "plot" (a story, told by `scene["item"]`) or "subjective".
    """
    stance = lexicon("reviews", language)["stance"]
    others = ("objective", "plot") if kind == "subjective" else ("subjective",)
    pattern = rng.choice(_worded(language, "stance", place, kind))
    words = {"word": rng.choice(stance["words"][kind]), "otherword": rng.choice(stance["words"][rng.choice(others)])}
    return pattern.format(**words, **scene)
