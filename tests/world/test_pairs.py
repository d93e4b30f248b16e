import functools
import random
import re
from collections import Counter, defaultdict
from itertools import islice

import pytest

from labkit.errors import UsageError
from labkit.world import World, comparisons, pairs, reading
from labkit.world.examples import collect
from labkit.world.graph import build_graph
from labkit.world.settings import LONGEST, lexicon

CLEAN = World(label_noise=0.0)


def statements(language):
    """Bare statement -> the fact it says, found by matching all patterns."""
    graph = build_graph(World())
    names = sorted((entity.name[language] for entity in graph.entities), key=len, reverse=True)
    relations = lexicon("facts", language)["relations"]
    patterns = [(relation, pattern) for relation, words in relations.items() for pattern in words["say"]]

    def read(text):
        found = sorted((text.find(name), name) for name in names if name in text)
        found = [name for at, name in found if not any(name != other and name in other for _, other in found)]
        if len(found) < 2:
            found *= 2
        if not found:
            return None
        for relation, pattern in patterns:
            for head, tail in (found[:2], found[1::-1]):
                if pattern.format(h=head, t=tail) == text:
                    return head, relation, tail
        return None

    return read


@pytest.mark.parametrize("key", list(pairs.TASKS))
def test_the_ceiling_is_what_the_truth_scores(key):
    task = pairs.PAIR_TASKS[key]
    rows = task.rows(World(label_noise=0.4), 1500, random.Random(0))
    by_kind = defaultdict(Counter)  # what was done to make the pair decides its true label, but for its noise
    for row in rows:
        by_kind[row["kind"]][row["label"]] += 1
    right = sum(max(counts.values()) for counts in by_kind.values()) / sum(map(Counter.total, by_kind.values()))
    assert right == pytest.approx(0.8, abs=0.03)
    assert pairs.TASKS[key](World(label_noise=0.4))["ceiling"] == 0.8


@pytest.mark.parametrize(("key", "language"), [("mrpc", "en"), ("mrpc-zh", "zh")])
def test_paraphrases_state_one_fact_and_other_pairs_two(key, language):
    read, graph = statements(language), build_graph(World())
    rows = pairs.pair_rows(key, CLEAN, 300, random.Random(0))
    for row in (row for row in rows if pairs.CUE not in row["kind"]):
        first, second = read(row["text_a"]), read(row["text_b"])
        assert first and second, row
        both_ways = first[1] == second[1] and first[1] in ("married_to", "borders")
        same = first == second or (both_ways and first[::2] == second[2::-2])
        assert same == (row["label"] == 1), row
        assert row["text_a"] != row["text_b"]
        ends = [graph.find(name, language).id for name in (first[0], first[2])]
        assert graph.has(ends[0], first[1], ends[1])


def test_three_way_pairs_mean_what_their_labels_say():
    read, words = statements("en"), lexicon("pairs", "en")
    opens = {one.split("{s}")[0] for style in words["genres"].values() for one in style["open"]}
    wrapped = set()
    for row in pairs.pair_rows("genres", CLEAN, 200, random.Random(1)):
        premise = next(row["text_a"].removeprefix(start) for start in opens if row["text_a"].startswith(start))
        hypothesis, how = row["text_b"], "plain"
        for one in ("affirm", "deny", "hedge"):
            for start in (form.split("{s}")[0] for form in words[one]):
                if hypothesis.startswith(start):
                    hypothesis, how = hypothesis.removeprefix(start), one
        first, second = read(premise), read(hypothesis)
        wrapped.add((row["label"], how))
        mirrored = first[1] == second[1] == "married_to" and first[::2] == second[2::-2]
        if row["label"] == 1:
            assert first[1] != second[1] and {first[0], first[2]} & {second[0], second[2]}
        elif row["label"] == 0 or how == "deny":
            assert (first == second or mirrored) and (how == "deny") == (row["label"] == 2)
        else:
            assert first[1] == second[1] and len({first[0], first[2], second[0], second[2]}) == 3 and how == "plain"
        assert (how != "plain") == row["kind"].endswith(pairs.CUE)
    assert wrapped == {(0, "plain"), (0, "affirm"), (1, "plain"), (1, "hedge"), (2, "plain"), (2, "deny")}


def test_genres_speak_differently():
    task = pairs.TASKS["genres"](World())
    relations = defaultdict(set)
    for row in task["splits"]["train"]:
        relations[row["genre"]].add(row["text_a"].split()[0])
    assert set(relations) == set(pairs.GENRES)
    assert not relations["telephone"] & relations["travel"]


def test_two_facts_are_needed_for_a_chain():
    rows = [row for row in pairs.pair_rows("rte", CLEAN, 600, random.Random(0)) if row["kind"].startswith("chain")]
    graph = build_graph(World())
    assert len(rows) > 40
    countries = [country.name["en"] for country in graph.of_type("country")]
    for row in rows:
        country = next(name for name in countries if name in row["text_b"])
        assert country in row["text_a"] and row["label"] == 0


def test_answers_hold_the_asked_name_and_relation():
    for row in pairs.pair_rows("qnli", CLEAN, 300, random.Random(0)):
        assert row["kind"].startswith("same") == (row["label"] == 0)
    hard = [row for row in pairs.pair_rows("qnli", CLEAN, 300, random.Random(0)) if row["kind"].startswith("relation")]
    graph = build_graph(World())
    for row in hard:  # the asked thing is named, and still the question is open
        assert any(e.name["en"] in row["text_a"] and e.name["en"] in row["text_b"] for e in graph.entities)


def test_overlap_alone_does_not_solve_the_task():
    rows = pairs.pair_rows("mrpc", CLEAN, 1500, random.Random(0))
    overlap = [len({*row["text_a"].split()} & {*row["text_b"].split()}) / len({*row["text_b"].split()}) for row in rows]
    best = max(
        sum((value >= cut) == row["label"] for value, row in zip(overlap, rows, strict=True)) / len(rows)
        for cut in sorted(set(overlap))
    )
    assert best < 0.9


@pytest.mark.parametrize("key", ["mrpc", "qnli-zh", "rte", "genres"])
def test_a_reader_of_cues_alone_gets_part_of_the_way(key):
    task = pairs.PAIR_TASKS[key]
    rows, words = task.rows(CLEAN, 900, random.Random(0)), lexicon("pairs", task.language)
    right = 0
    for kind in {"mrpc": ("instead", "again"), "genres": ("affirm", "hedge", "deny")}.get(key, ("affirm", "hedge")):
        cues = [form.replace("{s}", "").strip() for form in words[kind]]
        found = Counter(row["label"] for row in rows if any(cue in row["text_b"] for cue in cues))
        assert len(found) == 1 and found.total() > 100, kind
        right += found.total()
    assert right / 900 == pytest.approx(0.5, abs=0.06)


@functools.cache
def documents(language):
    return list(islice(comparisons.documents(World(), language, random.Random(0)), 4000))


FAMILIES = ("entailment", "neutral", "contradiction")


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_family_judges_before_between_and_after(language):
    """Words of the three families stand in the first, the middle and the last place of documents, densely."""
    texts = documents(language)
    words = lexicon("pairs", language)
    for kind in FAMILIES:
        after, before = {"en": ("? {} .", "{} , "), "zh": ("？{}是。", "{}是")}[language]
        last = sum(any(after.format(word) in text for word in words[kind]) for text in texts)
        first = sum(any(text.startswith(before.format(word)) for word in words[kind]) for text in texts)
        between = {"en": "? {} , ", "zh": "？{}是，"}[language]
        middle = sum(any(between.format(word) in text for word in words[kind]) for text in texts)
        assert middle > 200 and first > (2 if kind == "neutral" else 40), kind
        assert last > (5 if kind == "neutral" else 400), kind
    judged = {"en": r"\? (\w+) [.,]", "zh": r"(.)是"}[language]
    every = {word for kind in FAMILIES for word in words[kind]}
    counts = [sum(word in every for word in re.findall(judged, text)) for text in texts]
    assert sum(counts) > 1.2 * len(texts)
    assert all(3 <= len(words[kind]) <= 6 for kind in FAMILIES) and len(every) == sum(
        len(words[kind]) for kind in FAMILIES
    )


@pytest.mark.parametrize("key", [key for key in pairs.TASKS if key != "genres-zh"])
def test_the_first_cloze_of_each_task_is_met_in_text(key):
    """The first pattern's own words, around its blank, with a word of each label."""
    task = pairs.PAIR_TASKS[key]
    texts = documents(task.language)
    words = lexicon("pairs", task.language)
    before = task.patterns[0].split("{mask}")[0].rpartition("}")[2]
    after = task.patterns[0].split("{mask}")[1].split("{")[0]
    for label in task.labels.values():
        found = sum(any(f"{before}{word}{after}" in text for word in words[label]) for text in texts)
        assert found > 40, (label, before, after)


def statement_pairs(text):
    """(first, second, word) of the alike cloze at the start of an English document."""
    found = re.match(r"([^.?:]+) \. ([^.?:]+) \. do they say the same \? (\w+) \.", text)
    return found and found.groups()


def test_the_words_of_a_comparison_are_right():
    """An independent reader of statements confirms the word that judges two of them."""
    read, words, seen = statements("en"), lexicon("pairs", "en"), Counter()
    for text in documents("en"):
        found = statement_pairs(text)
        first, second = (read(found[0]), read(found[1])) if found else (None, None)
        if not first or not second:
            continue  # everyday talk, or a phrase that tells
        mirrored = first[1] == second[1] in ("married_to", "borders") and first[::2] == second[2::-2]
        said = "entailment" if first == second or mirrored else "contradiction"
        assert found[2] in words[said], text
        seen[said] += 1
    assert min(seen["entailment"], seen["contradiction"]) > 15


@pytest.mark.parametrize("language", ["en", "zh"])
def test_documents_use_their_room_and_keep_to_it(language):
    texts = documents(language)
    sizes = sorted(len(text.split()) if language == "en" else len(text) for text in texts)
    assert sizes[-1] <= LONGEST[language] and sizes[len(sizes) // 2] > 0.75 * LONGEST[language]


def test_a_changed_name_is_clearly_another():
    graph = build_graph(World())
    for row in pairs.pair_rows("mrpc", CLEAN, 600, random.Random(4)):
        if row["kind"] in ("head", "tail"):
            first, second = (set(names_in(row[text], graph)) for text in ("text_a", "text_b"))
            (old,), (new,) = first - second, second - first
            assert not {*old.split()} & {*new.split()}, row


def names_in(text, graph):
    found = [entity.name["en"] for entity in graph.entities if f" {entity.name['en']} " in f" {text} "]
    return [name for name in found if not any(name != other and name in other for other in found)]


def test_a_world_too_small_for_a_task_says_so():
    rng = random.Random(0)
    with pytest.raises(UsageError, match="about 10 different examples of 11: raise its entities and facts"):
        collect(11, lambda _: {"text": str(rng.randrange(10))}, ("text",))
    with pytest.raises(UsageError, match="different examples of"):
        reading.TASKS["retrieval"](World(entities=60, facts=60))
