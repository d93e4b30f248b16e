"""Idioms and pronouns: the gap fits one sense, the spans fit the text, the ceilings fit a knowing reader."""

import itertools
import random
import re
from collections import Counter

import pytest

from labkit.world import World, idioms, winograd
from labkit.world.settings import lexicon


@pytest.mark.parametrize("module", [idioms, winograd])
def test_without_noise_everything_can_be_known(module):
    (build,) = module.TASKS.values()
    assert build(World(label_noise=0.0))["ceiling"] == 1.0


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


PEOPLE = {
    name: pronoun for key, pronoun in winograd.PRONOUNS.items() for name in lexicon("winograd", "zh")[key].split()
}


def told(text):
    """The frame of a sentence, with its two names in order."""
    for frame in lexicon("winograd", "zh")["person"] + lexicon("winograd", "zh")["thing"]:
        first, second = (frame.get(key, " ".join(PEOPLE)).split() for key in "ab")
        for names in itertools.product(first, second):
            if frame["event"].format(a=names[0], b=names[1]) in text:
                return frame, names
    raise AssertionError(text)


def test_a_reader_of_gender_and_reasons_reaches_the_ceiling_of_cluewsc():
    rows = winograd.TASKS["cluewsc"](World())
    hits, test = 0.0, rows["splits"]["test"] + rows["splits"]["dev"]
    for row in test:
        (frame, names), target = told(row["text_a"]), row["target"]
        name, pronoun = target["span1_text"], target["span2_text"]
        genders = [PEOPLE.get(other, "它") for other in names]
        after = row["text_a"][target["span2_index"] :]
        ends = {end: any(reason in after for reason in frame[end]) for end in ("first", "second")}
        if genders[0] != genders[1]:
            hits += (PEOPLE[name] == pronoun) == row["label"]
        elif ends["first"] != ends["second"]:
            hits += ((name == names[0]) == ends["first"]) == row["label"]
        else:
            hits += 0.5
    assert hits / len(test) == pytest.approx(rows["ceiling"], abs=0.02)


@pytest.mark.parametrize("module", [idioms, winograd])
def test_documents(module):
    texts = list(itertools.islice(module.documents(World(), "zh", random.Random(0)), 2000))
    assert len(set(texts)) > 1900
    remarks = {
        idioms: ("有关", "说的是", "相近", "也可以说", "空格处", "用"),
        winograd: ("对。", "对：", "也就是说", "指的是"),
    }
    assert sum(any(mark in text for mark in remarks[module]) for text in texts) > 1200


def test_claims_and_remarks_in_documents_are_true_where_gender_shows_it():
    claims = remarks = 0
    right = tuple(lexicon("winograd", "zh")["true"].split())
    for text in itertools.islice(winograd.documents(World(), "zh", random.Random(1)), 2000):
        for pronoun, name in re.findall("“(.)”(?:指的是|就是|是谁？是)([^“，。]+)[，。]", text):
            remarks += 1
            assert PEOPLE.get(name, pronoun) == pronoun
        for pronoun, name, word in re.findall("“(.)”指的是“([^”]+)”(?:，这话|，这|吗？)(.)对", text):
            if PEOPLE.get(name, pronoun) != pronoun:
                claims += 1
                assert word not in right
    assert claims > 100 and remarks > 400


def test_idioms_judged_right_fit_and_others_do_not():
    """Where a document says that its idiom is right or wrong, the cues of the passage agree."""
    entries, words, seen = lexicon("idioms", "zh")["senses"], lexicon("idioms", "zh"), Counter()
    sense_of = {idiom: sense for sense, group in idioms.senses().items() for idiom in group}
    for text in itertools.islice(idioms.documents(World(), "zh", random.Random(2)), 1500):
        judged = re.search(f"([{''.join(words['true'].split() + words['false'].split())}])对。", text)
        if judged:
            used = min((idiom for idiom in sense_of if idiom in text), key=text.index)
            cued = [sense for sense, entry in entries.items() if any(cue in text for cue in entry["cues"])]
            good = judged[1] in words["true"].split()
            seen[good] += 1
            assert (sense_of[used] in cued) == good, text
    assert min(seen.values()) > 200
