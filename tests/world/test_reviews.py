"""Reviews: a reader of the grammar alone reaches the stated ceiling; splits, dials, clozes met in ordinary text."""

import functools
import itertools
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.world import TASKS, World, fewclue, reviews
from labkit.world.review_text import OPPOSITE, Writer, contextual, stance_remark
from labkit.world.settings import LONGEST, fits, lexicon, randomness
from labkit.world.topics import SLOT

WORDS = lexicon("reviews", "en")


@functools.cache
def built_once(name):
    return TASKS[name](World())


@given(st.integers(1, 5), st.floats(0.01, 0.45))
def test_posterior_is_bayes_rule_by_enumeration(count, noise):
    """Over all flip patterns, the mean posterior is the accuracy of a majority vote (ties are coins)."""
    expected = accuracy = 0.0
    for flips in itertools.product((0, 1), repeat=count):
        wrong = sum(flips)
        chance = noise**wrong * (1 - noise) ** (count - wrong)
        expected += chance * reviews.posterior(count - wrong, wrong, noise)
        accuracy += chance * (1.0 if 2 * wrong < count else 0.5 if 2 * wrong == count else 0.0)
    assert expected == pytest.approx(accuracy, abs=1e-9)


class Reader:
    """Reads the votes off a text of one domain with the lexicon in hand, and without the code that wrote it."""

    def __init__(self, domain: str) -> None:
        self.domain, own = domain, WORDS["domains"][domain]
        self.polarity = {word: p for p in reviews.POLARITY for word in (*WORDS[p], *own[p])}
        self.pairs = {pair: p for p in reviews.POLARITY for pair in contextual("en", domain, p)}
        nouns = {*own["aspects"], *(noun for noun, _ in self.pairs)}
        polar = {*self.polarity, *(word for _, word in self.pairs)}
        names = {*itertools.chain(*WORDS["people"].values()), *WORDS["people"]}
        places = {one.replace("{city}", city) for one in WORDS["plot"]["places"] for city in WORDS["cities"]}
        self.slots = {
            "noun": nouns, "noun2": nouns, "polar": polar, "other": polar, "name": names, "city": WORDS["cities"],
            "hero": WORDS["plot"]["heroes"], "hero2": WORDS["plot"]["heroes"], "thing": WORDS["plot"]["things"],
            "place": places, "number": WORDS["numbers"], "item": own["items"],
        }  # fmt: skip
        forms = [WORDS["forms"][form] for form in ("plain", "negated", "contrast", "remark")]
        forms += [WORDS["plot"]["judged"]] if own.get("story") else []
        self.patterns = [
            (self.expression(pattern), side)
            for sides in forms for side, patterns in sides.items() for pattern in patterns
        ]  # fmt: skip

    def expression(self, pattern: str) -> re.Pattern[str]:
        first, *rest = SLOT.split(pattern)
        text = re.escape(first)
        for slot, part in zip(rest[::2], rest[1::2], strict=True):
            if slot == "much":
                text += f"(?:(?:{'|'.join(WORDS['intensifiers'])}) )?" + re.escape(part.removeprefix(" "))
            else:
                text += f"(?P<{slot}>{'|'.join(map(re.escape, self.slots[slot]))})" + re.escape(part)
        return re.compile(re.sub(r"(^|\\ )a\\ \(", r"\1an?\\ (", text))

    def vote(self, sentence: str) -> str:
        """ "positive", "negative", or "" for a sentence that is no opinion."""
        votes = set()
        for expression, side in self.patterns:
            found = expression.fullmatch(sentence)
            said = found.groupdict() if found else {}
            if found and side != "both":
                votes.add(side)
            elif "polar" in said:
                votes.add(self.of(said["polar"], said.get("noun", "")))
            elif "other" in said:
                votes.add(OPPOSITE[self.of(said["other"], said.get("noun", ""))])
        votes.discard("")
        assert len(votes) < 2, sentence
        return votes.pop() if votes else ""

    def of(self, word: str, noun: str) -> str:
        return self.pairs.get((noun, word)) or self.polarity.get(word, "")


@pytest.mark.parametrize("name", ["amazon", "mr", "cr"])
def test_a_reader_of_the_grammar_reaches_the_ceiling(name):
    """Every vote can be read off the text, composed as it may be, and the majority of them is the best guess."""
    built, reader = built_once(name), functools.cache(Reader)
    hits = []
    for row in built["splits"]["test"]:
        votes = [
            reader(row["domain"]).vote(sentence + " .") for sentence in row["text"].removesuffix(" .").split(" . ")
        ]
        positive, negative = votes.count("positive"), votes.count("negative")
        assert positive + negative >= 1, row["text"]
        hits.append(0.5 if positive == negative else float((positive > negative) == row["label"]))
    assert sum(hits) / len(hits) == pytest.approx(built["ceiling"], abs=0.03)


@pytest.mark.parametrize("name", sorted(reviews.TASKS))
def test_rows_of_tasks_are_no_longer_than_documents(name):
    built = built_once(name)
    assert all(fits(row["text"], built["language"]) for rows in built["splits"].values() for row in rows)


def test_the_same_world_writes_the_same_rows_and_another_seed_others():
    assert TASKS["sst2"](World()) == built_once("sst2")
    assert TASKS["sst2"](World(seed=1))["splits"]["test"] != built_once("sst2")["splits"]["test"]


def test_more_noise_lowers_the_ceiling_and_no_noise_lifts_it_to_one():
    count, ceilings = 400, []
    for noise in (0.0, 0.12, 0.3):
        world = World(label_noise=noise)
        rows = reviews.task_rows(world, "en", count, randomness(world, "test"))
        ceilings.append(sum(row["posterior"] for row in rows) / count)
    assert ceilings[0] == 1.0 > ceilings[1] > ceilings[2]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_cloze_is_met_in_ordinary_text_with_its_label_words(language):
    stream = reviews.documents(World(), language, random.Random(0))
    text = "\n".join(itertools.islice(stream, 8000))
    names = {"en": ("reviews", "subj"), "zh": ("reviews-zh",)}[language]
    built = [built_once(name) for name in names] + ([fewclue.eprstmt(World())] if language == "zh" else [])
    for one in built:
        assert len(one["patterns"]) == 3
        for pattern in one["patterns"]:
            cloze = pattern.removeprefix("{text}").strip()
            for words in one["words"].values():
                assert 3 <= len(words) <= 6
                assert sum(text.count(cloze.format(mask=word)) for word in words) >= 10, (cloze, words)


@pytest.mark.parametrize(("name", "closings"), [
    ("sst2", ("all in all", "overall", "in short", " stars")), ("reviews-zh", ("总之", "总的来说", "整体", "一句话")),
])  # fmt: skip
def test_rows_of_tasks_hold_no_verdict(name, closings):
    for row in built_once(name)["splits"]["test"]:
        assert not any(closing in row["text"] for closing in closings), row["text"]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pretraining_reviews_fit_and_mostly_hold_evidence(language):
    texts = list(itertools.islice(reviews.documents(World(), language, random.Random(1)), 500))
    assert len(set(texts)) > 495
    lengths = [len(text.split()) if language == "en" else len(text) for text in texts]
    assert max(lengths) <= LONGEST[language] and sum(lengths) / 500 > LONGEST[language] / 2


def test_a_verdict_follows_the_majority_and_the_last_word_where_there_is_none():
    p, n = "positive", "negative"
    assert [reviews.majority(one) for one in ([p, n, p], [n, n, p], [p, n], [n, p])] == [p, n, n, p]


def test_dials_turn_what_they_say():
    def opinions(**dials):
        world, rng = World(**dials), random.Random(0)
        return [Writer(world, "en", rng, "hotel").opinion("positive") for _ in range(200)]

    negations = (
        "not ",
        "never",
        "hardly",
        "nobody",
        "nothing",
        "far from",
        "anything but",
        "no means",
        "wrong",
        "but no",
    )
    assert all(any(sign in text for sign in negations) for text in opinions(negation=1.0, contrast=0.0))
    clauses = ("but", "although", "while", "yet", "and got")
    assert all(any(sign in text for sign in clauses) for text in opinions(negation=0.0, contrast=1.0))
    writer = Writer(World(domain_shift=1.0), "en", random.Random(0), "hotel")
    assert {writer.word("positive") for _ in range(50)} <= set(WORDS["domains"]["hotel"]["positive"])
    said = Writer(World(contextual=1.0), "en", random.Random(0), "hotel").judge("negative")
    assert said in contextual("en", "hotel", "negative")


def test_subjectivity_is_told_by_who_says_it_and_not_by_nouns():
    """Heroes and things stand in both kinds of sentence, and characters judge too."""
    rows = built_once("subj")["splits"]["train"]
    for words in (WORDS["plot"]["heroes"], WORDS["positive"][:20], ["story", "finale"]):
        share = [
            sum(bool(set(row["text"].split()) & set(words)) for row in rows if row["label"] == label) / 1000
            for label in (0, 1)
        ]
        assert min(share) > 0.02, (words, share)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_stance_remarks_say_their_kind(language):
    words, rng = lexicon("reviews", language)["stance"]["words"], random.Random(0)
    for kind, place in itertools.product(words, ("after", "before")):
        for _ in range(50):
            remark = stance_remark(kind, language, rng, place, item="film")
            assert any(word in remark for word in words[kind]) and "{" not in remark


def test_an_unknown_language_is_said():
    with pytest.raises(UsageError, match="language"):
        reviews.domains("fr")
