"""The text that teaches to judge: plain checks, read back from the text; plain reviews, of one polarity each; the words
that judge.
"""

import random
import re
from collections import Counter
from itertools import islice

import pytest

from labkit.world import LANGUAGES, World, corpus, judging_words, reviews
from labkit.world.comparisons import Talker, checks
from labkit.world.settings import lexicon
from labkit.zoo.tokenizer import build_tokenizer

TINY = World(entities=60, facts=60)  # where other names are hard to find


class Checker:
    """Reads a text of checks with the lexicon in hand: `(kind, word, is it so)` for each question.

    A name is so where it stands in the statement before, a statement where it says the same fact of this world.
    """

    def __init__(self, talker: Talker) -> None:
        self.language, self.graph, self.true = talker.language, talker.graph, true_statements(talker)
        words = lexicon("pairs", self.language)
        self.family = {word: label for label in ("entailment", "contradiction") for word in words[label]}
        forms = {(kind, form) for kind, forms in words["checks"].items() for form in forms}
        ordered = sorted(forms, key=lambda one: (-len(one[1]), one[0] != "named"))  # "so {b} ?" before "{b} ?"
        self.forms = [(kind, re.compile(self.expression(form))) for kind, form in ordered]

    def expression(self, form: str) -> str:
        slots = {"x": "(?P<said>.+)", "b": "(?P<said>.+)", "word": f"(?P<word>{'|'.join(self.family)})"}
        return re.sub(r"\\{(\w+)\\}", lambda slot: slots[slot[1]], re.escape(form))

    def read(self, text: str):
        mark = {"en": " .", "zh": "。"}[self.language]
        first = ""
        for one in text.removesuffix(mark).split(mark):
            kind, word, said = self.question(one.strip() + mark)
            if kind == "named":
                yield kind, word, f" {said} " in f" {first} " if self.language == "en" else said in first
            elif kind:
                yield kind, word, self.true.get(said) == self.true[first]
            else:
                first = one.strip()

    def question(self, sentence: str) -> tuple[str, str, str]:
        for kind, form in self.forms:
            found = form.fullmatch(sentence)
            if found and (kind == "again" or self.graph.find(found["said"], self.language)):
                return kind, found["word"], found["said"]
        return "", "", ""


def true_statements(talker: Talker) -> dict[str, tuple]:
    """Every wording of every fact of the world -> the fact, the same one for both directions of a symmetric one."""
    relations = lexicon("facts", talker.language)["relations"]
    return {
        talker.put(form, fact): (fact.relation, *sorted((fact.head, fact.tail)))
        for fact in talker.graph.facts for form in relations[fact.relation]["say"]
    }  # fmt: skip


@pytest.mark.parametrize("world", [World(), TINY], ids=["usual", "tiny"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_checks_are_judged_truly(language, world):
    """A name stands in the sentence or not, a sentence is said again or says something else."""
    talker = Talker(world, language, random.Random(0))
    checker, seen = Checker(talker), Counter()
    for _ in range(300):
        text = talker.fits(checks(talker))
        for kind, word, so in checker.read(text):
            assert checker.family[word] == ("entailment" if so else "contradiction"), text
            seen[kind, so] += 1
    assert len(seen) == 4
    if world == TINY:
        return
    assert min(seen.values()) > 80, seen
    for kind in ("named", "again"):
        assert 0.4 < seen[kind, True] / (seen[kind, True] + seen[kind, False]) < 0.6, "a word could be guessed"


def polarities(text: str, language: str) -> set[str]:
    """The polarities of the words of praise and blame in a review, without those that are nouns of a domain too."""
    words = lexicon("reviews", language)
    nouns = {noun for own in words["domains"].values() for noun in own["aspects"]}
    said = text.split() if language == "en" else text
    return {
        polarity
        for polarity in reviews.POLARITY for word in words[polarity]
        if word in said and word not in nouns and (language == "en" or len(word) > 1)
    }  # fmt: skip


def review_polarities(world: World, language: str, monkeypatch) -> list[set[str]]:
    """The polarities in each of 300 pre-training reviews of the domains without a story, whose characters judge too."""
    own = lexicon("reviews", language)["domains"]
    chosen = tuple(name for name in own if not own[name].get("story"))
    monkeypatch.setattr(reviews, "domains", lambda language: chosen)
    monkeypatch.setattr(reviews, "STANCE_RATE", 0.0)
    texts = islice(reviews.documents(world, language, random.Random(0)), 300)
    return [polarities(text, language) for text in texts]


@pytest.mark.parametrize("language", LANGUAGES)
def test_plain_reviews_of_things_praise_or_blame(language, monkeypatch):
    found = review_polarities(World(plain=1.0), language, monkeypatch)
    assert all(len(one) < 2 for one in found)
    counts = Counter(next(iter(one), "") for one in found)
    assert min(counts[polarity] for polarity in reviews.POLARITY) > 100 and counts[""] < 10, counts
    composed = review_polarities(World(plain=0.0), language, monkeypatch)
    assert sum(len(one) > 1 for one in composed) > 100, "this reader finds nothing at all"


@pytest.mark.parametrize("language", LANGUAGES)
def test_judging_words_are_whole_tokens_of_one_meaning_and_common(language):
    words, judged, opinions = judging_words(language), lexicon("pairs", language), lexicon("reviews", language)
    assert len(words) == len(set(words))
    for label in ("entailment", "neutral", "contradiction"):
        assert set(judged[label]) <= set(words)
    closing = [opinions.get(f"verdict_{polarity}", opinions[polarity]) for polarity in reviews.POLARITY]
    assert all(set(some[:12]) <= set(words) for some in closing)
    texts = corpus(World(), language, 3000, ["pairs", "reviews"])
    tokenizer = build_tokenizer(texts, least=1)
    assert tokenizer.unk_token_id not in tokenizer.convert_tokens_to_ids(words)
    counts = Counter(token for text in texts for token in (text.split() if language == "en" else text))
    assert min(counts[word] for word in words) >= 5
    for some in closing:
        rest = [counts[word] for word in some[12:]]
        assert not rest or sum(counts[word] for word in some[:12]) / 12 > 3 * sum(rest) / len(rest)
