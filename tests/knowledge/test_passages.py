"""The world's pages and queries, and collections of one's own."""

import pytest

from labkit.errors import DataError
from labkit.knowledge.lexical import terms
from labkit.knowledge.passages import TEST, judged, of_pairs, world_passages

PASSAGES = [{"id": "a", "text": "lemon buns"}, {"id": "b", "text": "old ocean"}]
QUERIES = [{"id": 1, "text": "ocean ?"}, {"id": 2, "text": "zebra ?"}]
RIGHT = [{"query": 1, "passage": "b", "grade": 2}, {"query": 1, "passage": "a", "grade": 0}]


@pytest.mark.parametrize("language", ["en", "zh"])
def test_no_query_of_the_test_is_trained_on(language):
    found = world_passages(language)
    train, test = found.splits["train"], found.splits["test"]
    assert 300 < len(test) <= TEST and len(found.passages) == 2000 and len(train) > 3000
    assert not {row["text"] for row in train} & {row["text"] for row in test}
    assert all(row["positive"] in row["answers"] for row in train + test)
    assert 0.1 < sum(row["mismatch"] for row in test) / len(test) < 0.8  # Chinese texts share more characters


def test_a_mismatch_shares_the_name_alone():
    found = world_passages("en")
    row = next(row for row in found.splits["test"] if row["text"].startswith("where has") and row["mismatch"])
    for page in row["answers"]:
        assert "settled" not in terms(found.passages[page])
        assert set(terms(row["text"])) & set(terms(found.passages[page]))


def test_a_collection_of_ones_own():
    found = judged(PASSAGES, QUERIES, RIGHT)
    assert found.passages == ["lemon buns", "old ocean"]
    assert found.splits["test"] == [{"text": "ocean ?", "answers": {1: 2}}]


def test_judged_pairs_become_a_collection():
    rows = [{"q": "ocean ?", "a": "lemon", "label": "0"}, {"q": "ocean ?", "a": "sea", "label": "1"},
            {"q": "tea ?", "a": "lemon", "label": "1"}, {"q": "none ?", "a": "sea", "label": "0"}]  # fmt: skip
    found = of_pairs(rows, "q", "a")
    assert found.passages == ["lemon", "sea"]
    assert found.splits["test"] == [{"text": "ocean ?", "answers": {1: 1}, "candidates": [0, 1]},
                                    {"text": "tea ?", "answers": {0: 1}, "candidates": [0]}]  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"passages": [*PASSAGES, {"id": "a", "text": "x"}]}, "passage 3 has the id 'a' of passage 1"),
        ({"passages": [{"id": "a", "text": "x"}, {"text": "x"}]}, "passage 2 has no id"),
        ({"queries": [*QUERIES, {"id": 3, "text": " "}]}, "query 3: its text must be words"),
        ({"judgements": [{"query": 1, "passage": "c"}]}, "judgement 1: there is no passage 'c'"),
        ({"judgements": [{"query": 9, "passage": "a"}]}, "judgement 1: there is no query 9"),
        ({"judgements": []}, "no query has a passage that answers it"),
    ],
)
def test_what_is_wrong_is_named(changed, message):
    with pytest.raises(DataError, match=message):
        judged(**({"passages": PASSAGES, "queries": QUERIES, "judgements": RIGHT} | changed))
