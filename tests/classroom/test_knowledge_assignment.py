"""Assignment 02_knowledge, facts: each mistake is named, run here without nbgrader."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
import torch

from labkit.knowledge.dkplm import pseudo_token, relational_loss
from labkit.knowledge.lexical import bm25
from labkit.knowledge.links import filtered_rank
from labkit.knowledge.ranking import ndcg
from labkit.knowledge.transe import margin_loss
from tests.classroom.attempts import Attempts

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
FACTS = Attempts("02_knowledge")
REFERENCE, PLANTED = FACTS.planted["reference"].answers, FACTS.planted

# planted submission -> test cell -> part of what the student is told
TOLD = {
    "slips": {
        "transe_holds": "a distance of 0 has the slope 0",
        "rank_holds": "norm 1: the rank is",
        "transe_refuses": "",
        "bm25_holds": "empty passages count in N and in the mean",
        "search_holds": "is wanted, not",
        "pseudo_holds": "does each span get its own fact?",
        "decoding_holds": "stay in logarithms",
        "ndcg_holds": "k = 3: 0.8262 is wanted, not 1.0000",
        "ties_holds": "is wanted, not",
    },
    "first_draft": {
        "transe_loss_visible": "a pair that is far enough apart has the loss 0",
        "transe_slopes_visible": "do the slopes of one that stands in many triples add up?",
        "rank_visible": "(0, 0, 2) is known: entity 2 is left out",
        "bm25_visible": "the 1 within the logarithm is missing",
        "search_visible": "a term that stands twice in the query counts twice",
        "pseudo_visible": "e_t - r, not e_t + r",
        "decoding_visible": "the transposed matrix",
        "ndcg_visible": "the best ranking has all judged pages, also d",
        "ties_visible": "this is one order, b before a",
    },
}


@pytest.mark.parametrize("name", [name for name in PLANTED if name not in ("untouched", "wild")])
def test_planted_submissions_lose_what_they_should(name):
    FACTS.check_planted(name, TOLD.get(name, {}))


def test_an_untouched_answer_is_told_to_be_one():
    FACTS.check_untouched()


def test_points_add_up():
    FACTS.check_points(21)


@pytest.fixture(scope="module")
def answered():
    """The reference's functions."""
    space = {}
    cells = (cell.source for cell in FACTS.source.cells if "setup" in cell.metadata.get("nbgrader", {}).values())
    for code in (*cells, *(REFERENCE[name] for name in REFERENCE if name != "reading")):
        exec(code, space)  # noqa: S102  the assignment's own cells
    return space


def test_the_reference_agrees_with_the_lessons_systems(answered):
    draws = torch.Generator().manual_seed(0)
    entities, relations = torch.randn(9, 4, generator=draws), torch.randn(3, 4, generator=draws)
    facts, wrong = torch.tensor([[0, 1, 2], [8, 2, 4]]), torch.tensor([[[0, 1, 3], [5, 1, 2]], [[8, 2, 0], [1, 2, 4]]])
    near, far = (
        (entities[a[..., 0]] + relations[a[..., 1]] - entities[a[..., 2]]).norm(dim=-1) for a in (facts, wrong)
    )
    loss = answered["transe_loss"](entities, relations, facts, wrong, 0.5)
    torch.testing.assert_close(loss, margin_loss(near, far, 0.5))
    distances = (entities[0] + relations[1] - entities).norm(dim=1)
    rank = answered["link_rank"](entities, relations, (0, 1, 2), 2, {(0, 1, 2), (0, 1, 5), (4, 1, 6)})
    assert rank == filtered_rank(distances, 2, [5])

    passages = ["red fox", "red red hen hut", "old fox den", "hen"]
    index, query = answered["bm25_index"]([one.split() for one in passages]), "red hen red"
    found = dict(answered["search"](index, query.split()))
    assert [found.get(n, 0.0) for n in range(4)] == pytest.approx(bm25(passages).scores(query).tolist(), rel=1e-5)

    is_head = torch.tensor([True, False])
    stand_ins = pseudo_token(entities[:2], relations[:2], is_head)
    given = [(0, 1), (1, 3)], [(0, 0, True), (1, 1, False)]
    read = answered["inject"](torch.zeros(4, 4), *given, entities, relations, lambda x: 2 * x)
    torch.testing.assert_close(read, 2 * torch.stack([stand_ins[0], stand_ins[1], stand_ins[1], torch.zeros(4)]))
    W, wanted, drawn = torch.randn(4, 4, generator=draws), torch.tensor([[3, 1], [0, -100]]), torch.tensor([3, 0, 2])
    chances = torch.full((9,), 1 / 9)
    said = answered["decoding_loss"](entities[:2], relations[:2], wanted, W, entities, chances, drawn)
    wished = relational_loss(
        entities[:2], relations[:2], wanted, lambda x: x @ W.T, lambda x: x @ entities.T, chances, drawn
    )
    torch.testing.assert_close(said, wished)

    grades = {1: 3, 4: 1, 7: 2}
    for ranking in ([4, 1, 0], [7], []):
        assert answered["ndcg"](ranking, grades, 3) == pytest.approx(ndcg(ranking, grades, 3))
        scores = {page: -place for place, page in enumerate(ranking)}
        assert answered["tied_ndcg"](scores, grades, 3) == pytest.approx(ndcg(ranking, grades, 3))


def test_tied_scores_are_measured_as_by_scikit_learn(answered):
    measure = pytest.importorskip("sklearn.metrics").ndcg_score
    draws = np.random.default_rng(0)
    for _ in range(20):
        grades, scores = draws.integers(0, 4, 12), draws.integers(0, 3, 12)
        grades[0] = 3
        found = answered["tied_ndcg"](dict(enumerate(scores.tolist())), dict(enumerate(grades.tolist())), 5)
        assert found == pytest.approx(measure(grades[None], scores[None], k=5))


def but(name, *changes):
    """The reference's answer with some of its text exchanged, each of which must be there."""
    code = REFERENCE[name]
    for old, new in changes:
        assert old in code, old
        code = code.replace(old, new)
    return code


BY_AUTOGRAD = """
def transe_slopes(entities, relations, facts, corrupted, margin=1.0, norm=2):
    given = [one.clone().requires_grad_() for one in (entities, relations)]
    return torch.autograd.grad(transe_loss(*given, facts, corrupted, margin, norm), given)
"""
LOSS, SLOPES, RANK, INDEX, SEARCH, INJECT, DECODING, NDCG, TIED = (
    name for name in REFERENCE if name != "reading"
)  # in the notebook's order
LEAD = "entities[head] + relations[relation] - entities[tail]"
FACTOR = "(1 - b + b * len(passage) / mean)"
IDF = "math.log(1 + (len(passages) - len(weights) + 0.5) / (len(weights) + 0.5))"
MISTAKES = [  # answer, what is exchanged in it, test, part of what is told
    (LOSS, [("return (margin", "(margin")], "transe_loss_visible", "is the `return` missing?"),
    (LOSS, [(".mean()", ".sum()")], "transe_loss_visible", "the mean over all pairs: you summed"),
    (LOSS, [(".mean()", ".mean(0).sum()")], "transe_loss_visible", "you summed over one of the two"),
    (LOSS, [(".clamp(min=0).mean()", ".mean().clamp(min=0)")], "transe_loss_visible", "before the mean"),
    (LOSS, [(".norm(norm,", ".norm(1,")], "transe_loss_visible", "yours is the sum of sizes"),
    (LOSS, [(".norm(norm, dim=-1)", ".square().sum(-1)")], "transe_loss_visible", "the root is missing"),
    (LOSS, [("margin + dist", "margin - dist"), ("- distance(corr", "+ distance(corr")], "transe_loss_visible",
     "the fact should be nearer"),
    (LOSS, [(LEAD, "entities[tail] + relations[relation] - entities[head]")], "transe_loss_visible",
     "where does your relation lead?"),
    (LOSS, [("(numbers < 0).any() or ", "")], "transe_refuses", ""),
    (SLOPES, BY_AUTOGRAD, "transe_slopes_visible", "is this autograd?"),
    (SLOPES, [(" / corrupted[..., 0].numel()", "")], "transe_slopes_visible", "divide by 4 here"),
    (SLOPES, [(" / corrupted[..., 0].numel()", " / len(facts)")], "transe_slopes_visible", "divide by n and by k"),
    (SLOPES, [("active.sum(1, keepdim=True), -active", "-active.sum(1, keepdim=True), active")],
     "transe_slopes_visible", "the sign is wrong"),
    (SLOPES, [("(margin + distance[:, :1] - distance[:, 1:] > 0)", "torch.ones_like(distance[:, 1:])")],
     "transe_slopes_visible", "a pair whose loss is 0 has no slope"),
    (SLOPES, [("apart.sign() if norm == 1 else ", "")], "transe_slopes_visible", "the slope of a size is its sign"),
    (SLOPES, [("torch.where(distance > 0, distance, 1.0)", "distance")], "transe_holds", "a slope is not finite"),
    (RANK, [("rank, own = 1.0", "rank, own = 0.0")], "rank_visible", "count from 1"),
    (RANK, [("else 0.5 if distance == own ", "")], "rank_visible", "they share places 2 and 3"),
    (RANK, [("0.5 if distance == own", "1.0 if distance == own")], "rank_visible", "they share places 2 and 3"),
    (RANK, [(" and tuple(other) not in known", "")], "rank_visible", "entity 2 is left out"),
    (RANK, [("tuple(other) not in known", "number not in {one[column] for one in known}")], "rank_visible",
     "which makes no known triple"),
    (RANK, [("entities + relations[relation] - ", "entities - relations[relation] - ")], "rank_visible", "4.5, not"),
    (RANK, [(".norm(norm,", ".norm(2,")], "rank_holds", "norm 1: the rank is"),
    (INDEX, [("math.log(1 + ", "math.log(")], "bm25_visible", "the 1 within the logarithm is missing"),
    (INDEX, [(IDF, "math.log(len(passages) / len(weights))")], "bm25_visible", "the logarithm of N / n"),
    (INDEX, [("math.log(1", "math.log2(1")], "bm25_visible", "the natural logarithm"),
    (INDEX, [("= often / (", "= (k1 + 1) * often / (")], "bm25_visible", "there is no factor k1 + 1"),
    (INDEX, [(IDF, "1.0")], "bm25_visible", "the idf is missing"),
    (INDEX, [(IDF, IDF.replace("len(weights)", "n")), ("idf = ", "n = sum(sum(t == u for u in p) for t in [next("
     "t for t in index if index[t] is weights)] for p in passages)\n        idf = ")], "bm25_visible",
     "n counts the passages that hold the term"),
    (INDEX, [("Counter(passage)", "dict.fromkeys(passage, 1)")], "bm25_visible", "f is how often the term stands"),
    (INDEX, [(FACTOR, FACTOR.replace("1 - b + b", "b + (1 - b)"))], "bm25_visible", "b and 1 - b are exchanged"),
    (INDEX, [("len(passage) / mean", "mean / len(passage)")], "bm25_visible", "not the other way round"),
    (INDEX, [("len(passage) / mean", "len(set(passage)) * 9 / 8 / mean")], "bm25_visible", "4, not 3 different ones"),
    (INDEX, [(" * " + FACTOR, "")], "bm25_visible", "b is not used"),
    (SEARCH, [("in query:", "in set(query):")], "search_visible", "counts twice"),
    (SEARCH, [("+= weight", "= weight")], "search_visible", "its weights add up"),
    (SEARCH, [("(-one[1], one[0])", "(-one[1], -one[0])")], "search_visible", "the lower number comes first"),
    (SEARCH, [("(-one[1]", "(one[1]")], "search_visible", "the best comes first"),
    (SEARCH, [("[:k]", "")], "search_visible", "only the k best are wanted"),
    (SEARCH, [("index.get(term, {})", "index.setdefault(term, {})")], "search_holds", "the index has been changed"),
    (SEARCH, [(" or isinstance(query, str)", "")], "bm25_refuses", "a query that is a string"),
    (INJECT, [("project(entities[other] + turned)", "project(entities[other]) + project(turned)")], "pseudo_visible",
     "each for itself"),
    (INJECT, [("project(entities[other] + turned)", "entities[other] + turned")], "pseudo_visible",
     "project is missing"),
    (INJECT, [("read[start:stop]", "read[start]")], "pseudo_visible", "not the first alone"),
    (INJECT, [("read[start:stop]", "read[start : stop + 1]")], "pseudo_visible", "it stays"),
    (INJECT, [("-relations[relation] if is_head else ", "")], "pseudo_visible", "not e_t + r"),
    (INJECT, [(" if is_head else relations[relation]", "")], "pseudo_visible", "not e_h - r"),
    (INJECT, [("words.clone()", "words")], "pseudo_holds", "a new tensor is wanted"),
    (INJECT, [("before <= start", "0 <= start")], "dkplm_refuses", "spans that overlap"),
    (DECODING, [(" - (len(draws) * chances[draws]).log()", "")], "decoding_visible", "is missing"),
    (DECODING, [(" - (len(draws)", " + (len(draws)")], "decoding_visible", "not added"),
    (DECODING, [("len(draws) * chances", "chances")], "decoding_visible", "not 1 / p"),
    (DECODING, [("torch.tanh(", "(")], "decoding_visible", "tanh is missing"),
    (DECODING, [("W.T)", "W)")], "decoding_visible", "the transposed matrix"),
    (DECODING, [("state * relations", "state + relations")], "decoding_visible", "are multiplied"),
    (DECODING, [("((state * relations)", "((mentions * relations)")], "decoding_visible", "is made of h_1"),
    (DECODING, [("torch.cat([own, others], 1)", "others")], "decoding_visible", "stands in the sum too"),
    (DECODING, [(".masked_fill(draws == right, -math.inf)", "")], "decoding_visible", "is left out"),
    (DECODING, [("scores[:, draws]", "scores[:, draws.unique()]"), ("chances[draws])", "chances[draws.unique()])"),
                ("draws == right", "draws.unique() == right")], "decoding_visible", "it counts twice"),
    (DECODING, [(".mean()", ".sum()")], "decoding_visible", "you summed"),
    (DECODING, [(".mean()", ".sum() / wanted.numel()")], "decoding_visible", "not by 4 places"),
    (DECODING, [(".mean()", ".mean().item() + torch.zeros(())")], "decoding_holds", "no gradient flows"),
    (NDCG, [("found / best", "found")], "ndcg_visible", "divide by that of the best ranking"),
    (NDCG, [("log2(1 + place)", "log2(2 + place)")], "ndcg_visible", "the places begin with 1"),
    (NDCG, [("math.log2(1 + place)", "place")], "ndcg_visible", "not 1 / place"),
    (NDCG, [("gain(grade) /", "(grade > 0) /")], "ndcg_visible", "the grades are not used"),
    (NDCG, [("gain(grade) /", "(2**grade - 1) /")], "ndcg_visible", "the grade itself if no other is given"),
    (NDCG, [("some[:k], start", "some, start"), ("for page in ranking]", "for page in ranking[:k]]")],
     "ndcg_visible", "ends at place 2 as well"),
    (NDCG, [("sorted(grades.values(), reverse=True)", "sorted(found, reverse=True)")], "ndcg_visible", "also d"),
    (NDCG, [("len(set(ranking)) < len(ranking)", "False")], "ndcg_refuses", "a page that stands twice"),
    (TIED, [("sum(groups[score]) / len(groups[score])", "sum(groups[score])")], "ties_visible", "and not the sum"),
    (TIED, [("sorted(groups, reverse=True)", "sorted(groups)")], "ties_visible", "the highest score comes first"),
    (TIED, [("append(gain(grades.get(page, 0)))", "append(grades.get(page, 0))"),
            ("[sum(groups[score]) / len(groups[score])", "[gain(sum(groups[score]) / len(groups[score]))")],
     "ties_visible", "not the gain of the mean grade"),
    (TIED, [("sorted(groups, reverse=True)", "groups")], "ties_holds", "is wanted, not"),
    (TIED, [("if any(math.isnan(score) for score in scores.values()):", "if False:")], "ndcg_refuses", "NaN"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "changes", "test", "words"), MISTAKES)
def test_likely_mistakes_are_named(name, changes, test, words):
    answer = changes if isinstance(changes, str) else but(name, *changes)
    told = FACTS.run(REFERENCE | {name: answer}, only=(test,))
    assert words in told[test]


ALWAYS = """
class Right(float):
    __sub__ = __rsub__ = lambda self, other: Right()
    __abs__ = lambda self: Right()
    __lt__ = __gt__ = __eq__ = __ne__ = lambda self, other: True
    __hash__ = float.__hash__
def tied_ndcg(*_):
    return Right()
"""
CHEATS = [
    ("torch.allclose = lambda *a, **k: True\ndef inject(words, *_): return words.clone()", "inject", "pseudo_holds"),
    ("abs = lambda one: 0\ndef ndcg(*_): return 0.5", "ndcg", "ndcg_holds"),
    ("import builtins\nbuiltins.abs = lambda one: 0\ndef bm25_index(*_): return {}", "bm25_index", "bm25_holds"),
]


@pytest.mark.parametrize(("code", "name", "test"), CHEATS)
def test_overwriting_what_the_tests_use_wins_nothing(monkeypatch, code, name, test):
    monkeypatch.setattr(torch, "allclose", torch.allclose)  # put back afterwards
    monkeypatch.setattr(builtins, "abs", abs)
    told = FACTS.run(REFERENCE | {name: code}, only=(test.split("_")[0],))
    assert "the comparison itself has been changed" in told[test]


def test_a_number_that_equals_everything_wins_nothing():
    told = FACTS.run(REFERENCE | {"tied_ndcg": ALWAYS}, only=("ties", "ndcg"))
    assert {"ties_visible", "ties_holds"} <= set(told)
