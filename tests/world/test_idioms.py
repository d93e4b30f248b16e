"""Idioms and pronouns: the gap fits one sense, the spans fit the text, the ceilings fit a knowing reader."""

import itertools
import random
from collections import Counter

import pytest

from labkit.errors import UsageError
from labkit.tasks import Task
from labkit.world import World, idioms, winograd
from labkit.world.settings import lexicon


@pytest.mark.parametrize("module", [idioms, winograd])
def test_splits_are_disjoint_balanced_and_valid(module):
    (key,) = module.TASKS
    task = Task(name=f"world/{key}", **module.TASKS[key](World()))
    rows = [row for rows in task.splits.values() for row in rows]
    assert len({(row["text_a"], row["text_b"]) for row in rows}) == len(rows) == 5900
    counts = Counter(row["label"] for row in task.splits["test"])
    assert max(counts.values()) - min(counts.values()) <= 1
    assert 0.88 < task.ceiling < 0.97
    assert module.TASKS[key](World()) == module.TASKS[key](World())
    assert module.TASKS[key](World(label_noise=0.0))["ceiling"] == 1.0


def test_idioms_are_four_characters_each_in_one_sense():
    found = [idiom for group in idioms.senses().values() for idiom in group]
    assert len(found) == len(set(found)) == 156 and {len(idiom) for idiom in found} == {4}
    entries = lexicon("idioms", "zh")["senses"]
    cues = [cue for entry in entries.values() for cue in entry["cues"]]
    assert len(cues) == len(set(cues))
    assert all(near in entries for entry in entries.values() for near in entry["near"].split())


def test_a_reader_of_cues_reaches_the_ceiling_of_chid():
    """It knows which cues belong to which sense, and takes the commoner of two candidates of that sense."""
    built, entries = idioms.TASKS["chid"](World()), lexicon("idioms", "zh")["senses"]
    rows, hits = built["splits"]["train"], 0
    for row in rows:
        scores = {sense: sum(cue in row["text_a"] for cue in entry["cues"]) for sense, entry in entries.items()}
        group = idioms.senses()[max(scores, key=scores.get)]
        fitting = [place for place, idiom in enumerate(row["candidates"]) if idiom in group]
        hits += min(fitting, key=lambda place: group.index(row["candidates"][place])) == row["label"]
        assert len(set(row["candidates"])) == 7 and row["text_a"].count("#idiom#") == 1
        assert row["text_b"] == "；".join(f"{place}、{idiom}" for place, idiom in enumerate(row["candidates"]))
    assert hits / len(rows) == pytest.approx(built["ceiling"], abs=0.02)


def test_spans_stand_where_they_say():
    for row in winograd.TASKS["cluewsc"](World())["splits"]["train"]:
        target = row["target"]
        for span in ("span1", "span2"):
            text, at = target[f"{span}_text"], target[f"{span}_index"]
            assert row["text_a"][at : at + len(text)] == text
        assert target["span2_text"] in ("他", "她", "它")
        assert row["text_b"] == f"“{target['span2_text']}”指的是“{target['span1_text']}”"


def test_a_reader_of_gender_and_reasons_reaches_the_ceiling_of_cluewsc():
    words = lexicon("winograd", "zh")
    people = {name: pronoun for key, pronoun in winograd.PRONOUNS.items() for name in words[key].split()}
    built = winograd.TASKS["cluewsc"](World())
    hits = 0.0
    for row in built["splits"]["train"]:
        text, target = row["text_a"], row["target"]
        names = sorted(
            (name for name in [*people, *words["content"].split(), *words["container"].split()] if name in text),
            key=text.index,
        )
        name, pronoun = target["span1_text"], target["span2_text"]
        genders = [people.get(other, "它") for other in names]
        frames = [f for f in words["person"] + words["thing"] if f["event"].format(a=names[0], b=names[1]) in text]
        ends = {end: any(reason in text for frame in frames for reason in frame[end]) for end in ("first", "second")}
        if genders[0] != genders[1]:
            guess = people[name] == pronoun
        elif ends["first"] != ends["second"]:
            guess = (name == names[0]) == ends["first"]
        else:
            hits += 0.5
            continue
        hits += guess == row["label"]
    assert hits / len(built["splits"]["train"]) == pytest.approx(built["ceiling"], abs=0.015)


@pytest.mark.parametrize("module", [idioms, winograd])
def test_documents(module):
    texts = list(itertools.islice(module.documents(World(), "zh", random.Random(0)), 2000))
    assert texts == list(itertools.islice(module.documents(World(), "zh", random.Random(0)), 2000))
    assert len(set(texts)) > 1700 and not any("{" in text for text in texts)
    marks = {idioms: ("有关", "说的是", "相近", "也可以说", "空格处"), winograd: ("这很对", "这不对", "也就是说")}[
        module
    ]
    assert sum(any(mark in text for mark in marks) for text in texts) > 1200
    with pytest.raises(UsageError):
        next(module.documents(World(), "en", random.Random(0)))


def test_claims_in_documents_are_true_where_gender_shows_it():
    words, checked = lexicon("winograd", "zh"), 0
    people = {name: pronoun for key, pronoun in winograd.PRONOUNS.items() for name in words[key].split()}
    for text in itertools.islice(winograd.documents(World(), "zh", random.Random(1)), 2000):
        if "其中“" in text:
            pronoun, name = text.split("其中“")[1][0], text.split("”指的是“")[1].split("”")[0]
            if people.get(name, pronoun) != pronoun:
                checked += 1
                assert "这不对" in text
    assert checked > 100
