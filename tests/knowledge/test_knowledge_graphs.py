"""Graphs of facts: walking against networkx, reading what is broken, TransE and its ranks against brute force."""

from __future__ import annotations

import networkx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, TrainingError, UsageError
from labkit.knowledge.graph import graph_of, read_splits, read_triples, world_splits
from labkit.knowledge.ranking import Popularity, evaluate_links, filtered_rank, rank_metrics, ranks
from labkit.knowledge.transe import HEAD, TAIL, TransE, TransESettings, corrupt, head_share, margin_loss, train_transe
from labkit.world import World
from labkit.world.graph import build_graph

SMALL = World(entities=120, facts=300)
FEW = [("anna", "born_in", "rome"), ("rome", "in", "italy"), ("bob", "born_in", "rome"), ("bob", "likes", "soup")]
TRIPLES = st.lists(st.tuples(*[st.integers(0, n) for n in (6, 1, 6)]), min_size=1, max_size=25, unique=True)


def named(numbers):
    return [(f"e{head}", f"r{relation}", f"e{tail}") for head, relation, tail in numbers]


@given(TRIPLES, st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_walking_is_what_networkx_walks(numbers, hops):
    graph = graph_of(named(numbers))
    other = networkx.MultiGraph([(head, tail) for head, _, tail in named(numbers)])
    for start in graph.entities:
        near = networkx.single_source_shortest_path_length(other, start, cutoff=hops)
        found = graph.around(start, hops)
        assert {graph.entities[one]: far for one, far in found.distance.items()} == near
        assert len(found.triples) == other.subgraph(near).number_of_edges()
        for end in graph.entities:
            way = graph.path(start, end)
            assert (way is not None) == networkx.has_path(other, start, end)
            if way is not None:
                assert len(way) == networkx.shortest_path_length(other, start, end)
                at = start
                for head, relation, tail in way:
                    assert (head, relation, tail) in named(numbers) and at in (head, tail)
                    at = tail if at == head else head
                assert at == end
    loops = networkx.number_of_selfloops(other)
    assert graph.degrees.sum() == 2 * len(numbers) - loops


def test_a_graph_keeps_names_types_and_order():
    graph = graph_of(FEW, types=("person", "city", "country", "person", "dish"))
    assert graph.entities == ("anna", "rome", "italy", "bob", "soup") and graph.relations == ("born_in", "in", "likes")
    assert [graph.named(triple) for triple in graph.triples] == FEW
    assert graph.number("bob") == 3
    with pytest.raises(UsageError, match="unknown entity 'ana': did you mean 'anna'"):
        graph.path("ana", "bob")


@pytest.mark.parametrize(("triples", "options", "said"), [
    ([*FEW, FEW[1]], {}, r"x: row 5: the triple \(rome, in, italy\) stood at x: row 2 before: drop one"),
    ([*FEW, ("bob", "likse", "rome")], {"relations": ["born_in", "in", "likes"]},
     "row 5: unknown relation 'likse': did you mean 'likes'"),
    ([*FEW, ("bob", "likes", "rom")], {"entities": ["anna", "rome", "italy", "bob", "soup"]},
     "row 5: unknown tail 'rom': did you mean 'rome'"),
    ([("", "in", "rome")], {}, "row 1: head is empty"),
    ([*FEW, ("italy", "in", "europe"), ("europe", "in", "rome")], {"acyclic": ["in"]},
     "'in' must not run in a circle, but does: .*italy → europe"),
    ([("rome", "in", "rome")], {"acyclic": ["in"]}, "does: rome → rome: drop one of"),
])  # fmt: skip
def test_a_wrong_triple_is_refused(triples, options, said):
    with pytest.raises(DataError, match=said):
        graph_of(triples, where="x", **options)


@given(TRIPLES)
@settings(max_examples=60, deadline=None)
def test_circles_are_found_where_networkx_finds_them(numbers):
    own = networkx.DiGraph([(head, tail) for head, relation, tail in numbers if not relation])
    graph = graph_of(named(numbers), relations=["r0", "r1"])
    if networkx.is_directed_acyclic_graph(own):
        assert len(graph_of(named(numbers), relations=["r0", "r1"], acyclic=["r0"]).triples) == len(graph.triples)
    else:
        with pytest.raises(DataError, match="circle") as told:
            graph_of(named(numbers), relations=["r0", "r1"], acyclic=["r0"])
        way = str(told.value).split("does: ")[1].split(":")[0].split(" → ")
        assert way[0] == way[-1] and all(
            own.has_edge(int(a[1:]), int(b[1:])) for a, b in zip(way, way[1:], strict=False)
        )


def test_files_are_read_strictly(tmp_path):
    for name, rows in (("train", FEW[:2]), ("dev", FEW[2:3]), ("test", FEW[3:])):
        (tmp_path / f"{name}.tsv").write_text("".join("\t".join(row) + "\n" for row in rows))
    splits = read_splits(tmp_path)
    assert [len(part) for part in (splits.graph.triples, splits.valid, splits.test, splits.true)] == [2, 1, 1, 4]
    assert splits.graph.named(splits.test[0]) == FEW[3]
    texts = tmp_path / "entity2text.txt"
    texts.write_text("anna\ta person\nrome\ta city\nitaly\ta country\nbob\t \nsoup\ta dish\n")
    with pytest.raises(DataError, match=r"dev\.tsv, line 1: head 'bob' has no text in entity2text\.txt: add a line"):
        read_splits(tmp_path)
    texts.unlink()
    (tmp_path / "test.tsv").write_text("anna\tborn_in\trome\n")
    with pytest.raises(DataError, match=r"test\.tsv, line 1: .* stood at .*train\.tsv, line 1 before"):
        read_splits(tmp_path)
    (tmp_path / "test.tsv").write_text("anna\tborn_in\n")
    with pytest.raises(DataError, match=r"test\.tsv.*1"):
        read_splits(tmp_path)
    (tmp_path / "test.tsv").unlink()
    with pytest.raises(UsageError, match=r"there is no test\.tsv"):
        read_splits(tmp_path)
    with pytest.raises(UsageError, match="columns must be head, relation, tail"):
        read_triples(tmp_path / "train.tsv", ("head", "tail"))
    assert read_triples(tmp_path / "train.tsv", ("relation", "head", "tail"))[0][0] == ("born_in", "anna", "rome")


def test_the_world_keeps_its_numbers_and_its_held_out_facts():
    world, splits = build_graph(SMALL), world_splits(SMALL, "zh")
    assert splits.graph.entities == tuple(entity.name["zh"] for entity in world.entities)
    told = {(fact.head, fact.relation, fact.tail): fact.held_out for fact in world.facts}
    for triples, held in ((splits.graph.triples, False), (splits.test, True)):
        assert all(
            told.pop((head, splits.graph.relations[kind], tail)) is held for head, kind, tail in triples.tolist()
        )
    assert not told and len(splits.test) == 30


# TransE


def test_the_margin_loss_by_hand():
    positive, negative = torch.tensor([1.0, 3.0]), torch.tensor([[1.5, 3.0], [2.0, 9.0]])
    assert margin_loss(positive, negative, 1.0).item() == (0.5 + 0 + 2 + 0) / 4


@pytest.mark.parametrize("norm", [1, 2])
def test_distances_to_all_are_those_of_the_triples(norm):
    model = TransE(7, 3, 5, norm, torch.Generator().manual_seed(0))
    triples = torch.tensor([[0, 1, 2], [6, 2, 0]])
    for column in (HEAD, TAIL):
        for row, distances in zip(triples, model.to_all(triples, column), strict=True):
            for entity in range(7):
                other = row.clone()
                other[column] = entity
                h, r, t = (
                    table[one]
                    for table, one in zip((model.entities, model.relations, model.entities), other, strict=True)
                )
                assert torch.isclose(distances[entity], (h + r - t).abs().pow(norm).sum().pow(1 / norm), atol=1e-6)
                assert torch.isclose(distances[entity], model.distance(other), atol=1e-6)


@given(TRIPLES, st.integers(0, 9))
@settings(max_examples=80, deadline=None)
def test_no_negative_is_a_fact_and_only_the_named_end_is_new(numbers, seed):
    triples, rng = np.array(numbers), np.random.default_rng(seed)
    column = rng.choice([HEAD, TAIL], len(triples))
    made = corrupt(triples, column, 60, set(numbers), rng)
    assert not set(map(tuple, made.tolist())) & set(numbers)
    changed = made != triples
    assert (changed.sum(1) == 1).all() and (changed.argmax(1) == column).all()


def test_negatives_are_drawn_evenly_and_refused_where_all_is_true():
    triples, known = np.array([[0, 0, 1]] * 6000), {(0, 0, 1), (0, 0, 2)}
    made = corrupt(triples, np.full(6000, TAIL), 5, known, np.random.default_rng(0))
    assert np.bincount(made[:, TAIL], minlength=5).tolist()[1:3] == [0, 0]
    assert np.abs(np.bincount(made[:, TAIL])[[0, 3, 4]] - 2000).max() < 160
    all_but_one = {(0, 0, tail) for tail in range(400) if tail != 77}
    made = corrupt(np.array([[0, 0, 1]] * 50), np.full(50, TAIL), 400, all_but_one, np.random.default_rng(0))
    assert (made == [0, 0, 77]).all()
    with pytest.raises(DataError, match=r"triple \(0, 0, 0\): every entity there makes a fact: leave one out"):
        corrupt(np.array([[0, 0, 0]]), np.array([TAIL]), 2, {(0, 0, 0), (0, 0, 1)}, np.random.default_rng(0))


def test_bernoulli_replaces_the_head_where_a_head_has_many_tails():
    triples = np.array([[0, 0, 1], [0, 0, 2], [0, 0, 3], [1, 1, 0], [2, 1, 0], [1, 2, 2]])
    assert head_share(triples, 4, "bernoulli").tolist() == [0.75, 1 / 3, 0.5, 0.5]  # 3 tails per head, 1 head per tail
    assert head_share(triples, 4, "uniform").tolist() == [0.5] * 4


def test_the_first_gradient_step_is_the_papers():
    """h + r is pulled towards t and pushed away from the wrong t, each by a gradient of length 1."""
    draws = torch.Generator().manual_seed(3)
    model = TransE(4, 1, 3, 2, draws).double()
    right, wrong = torch.tensor([[0, 0, 1]]), torch.tensor([[[0, 0, 2]]])

    margin_loss(model.distance(right), model.distance(wrong), 5.0).backward()
    h, r, t, other = model.entities[0], model.relations[0], model.entities[1], model.entities[2]
    near, far = (h + r - t) / (h + r - t).norm(), (h + r - other) / (h + r - other).norm()
    assert torch.allclose(model.entities.grad[0], near - far) and torch.allclose(model.entities.grad[1], -near)
    assert torch.allclose(model.entities.grad[2], far) and model.entities.grad[3].abs().sum() == 0


def test_training_finds_an_inverse_and_is_the_same_for_a_seed():
    """Each country has its capital, which lies in it: half of these facts follow from the other relation."""
    pairs = [(f"country {at}", f"city {at}") for at in range(30)]
    told = [(country, "capital", city) for country, city in pairs] + [(city, "in", land) for land, city in pairs]
    graph, held = graph_of(told[:45]), graph_of(told).triples[45:]
    plain = TransESettings(dimension=16, epochs=60, batch=16, negatives=2, norm=2, lr=0.03)
    model, again = (train_transe(graph, plain, progress=False) for _ in range(2))
    assert torch.equal(model.entities, again.entities) and torch.equal(model.relations, again.relations)
    assert torch.allclose(model.entities.norm(dim=1), torch.ones(60), atol=1e-5)
    true = np.concatenate([graph.triples, held])
    assert evaluate_links(model, held, true)["mrr"] > 0.8
    assert evaluate_links(Popularity(graph.triples, 60, 2), held, true)["mrr"] < 0.1


def test_your_own_loss_and_sampler_train():
    asked = []

    def loss(positive, negative, margin):
        asked.append((tuple(positive.shape), tuple(negative.shape), margin))
        return margin_loss(positive, negative, margin)

    graph = graph_of(FEW)
    options = TransESettings(epochs=2, batch=3, negatives=2, margin=0.5, sampling="bernoulli")
    train_transe(graph, options, loss=loss, negatives=lambda *a: corrupt(*a), progress=False)
    assert asked == [((3,), (3, 2), 0.5), ((1,), (1, 2), 0.5)] * 2
    with pytest.raises(TrainingError, match="the loss is nan"):
        train_transe(graph, options, loss=lambda p, n, m: margin_loss(p, n, m) * torch.nan, progress=False)


@pytest.mark.parametrize(("wrong", "said"), [
    ({"norm": 3}, "unknown norm '3'"), ({"sampling": "bernouli"}, "did you mean 'bernoulli'"),
    ({"margin": -1.0}, "margin"),
])  # fmt: skip
def test_settings_that_cannot_be(wrong, said):
    with pytest.raises(UsageError, match=said):
        TransESettings(**wrong)


def test_a_graph_with_nothing_to_learn_is_refused():
    for triples in ([], [("a", "r", "a")]):
        with pytest.raises(UsageError, match="TransE learns from facts between two"):
            train_transe(graph_of(triples))
    with pytest.raises(UsageError, match="no facts to rank"):
        evaluate_links(Popularity(np.zeros((0, 3), int), 2, 1), np.zeros((0, 3), int), np.zeros((0, 3), int))


# Ranks


def brute(scores, triple, column, true):
    """The mean of the best and the worst place among candidates that are not otherwise true, one by one."""
    better, equal = 0, 0
    for entity, score in enumerate(scores):
        other = list(triple)
        other[column] = entity
        if entity != triple[column] and tuple(other) in true:
            continue
        better += score < scores[triple[column]]
        equal += score == scores[triple[column]]
    return (1 + better + better + equal) / 2


@given(TRIPLES, st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_ranks_equal_brute_force(numbers, seed):
    triples, rng = np.array(numbers), np.random.default_rng(seed)
    table = torch.from_numpy(rng.integers(0, 4, (3, 2, 7, 7)))  # few values: many ties

    class Some:
        def to_all(self, asked, column):
            return torch.stack([table[column, r, t if column == HEAD else h] for h, r, t in asked])

    test = triples[: 1 + len(triples) // 3]
    found = ranks(Some(), test, triples)
    for place, column in enumerate((HEAD, TAIL)):
        for rank, triple, scores in zip(
            found[place], test.tolist(), Some().to_all(torch.from_numpy(test), column).tolist(), strict=True
        ):
            assert rank == brute(scores, triple, column, set(numbers))
    told = evaluate_links(Some(), test, triples)
    flat = [rank for row in found.tolist() for rank in row]
    assert told["mrr"] == pytest.approx(sum(1 / rank for rank in flat) / len(flat))
    assert told["hits@3"] == sum(rank <= 3 for rank in flat) / len(flat)


def test_ties_share_their_places():
    distances = torch.tensor([1.0, 1.0, 0.5, 1.0])
    assert filtered_rank(distances, 0, []) == 3.0 and filtered_rank(distances, 0, {1, 2}) == 1.5
    assert filtered_rank(torch.ones(9), 4, []) == 5.0  # a model that says the same of all gains nothing
    assert rank_metrics(np.array([[1, 4], [2, 20]])) == {"mrr": 0.45, "hits@1": 0.25, "hits@3": 0.5, "hits@10": 0.75}


def test_popularity_counts_each_end():
    triples = np.array([[0, 0, 2], [1, 0, 2], [1, 0, 3], [3, 1, 3]])
    popular = Popularity(triples, 4, 2)
    assert popular.to_all(torch.tensor([[0, 0, 0]]), TAIL).tolist() == [[0, 0, -2, -1]]
    assert popular.to_all(torch.tensor([[0, 0, 0]]), HEAD).tolist() == [[-1, -2, 0, 0]]


@pytest.mark.real
def test_transe_is_ahead_of_popularity_on_umls_and_knows_its_limit_on_nations(real_data):
    """Two thirds of the facts of Nations hold both ways, so a step of length 0 is learnt, and the head comes first."""
    settings = TransESettings(norm=1, margin=2.0, negatives=4, batch=512, epochs=40, lr=0.02)
    found = {}
    for name, columns in (("umls", ("head", "relation", "tail")), ("nations", ("relation", "head", "tail"))):
        splits = read_splits(real_data / name, columns)
        popular = Popularity(splits.graph.triples, len(splits.graph.entities), len(splits.graph.relations))
        model = train_transe(splits.graph, settings, progress=False)
        found[name] = [evaluate_links(one, splits.test, splits.true) for one in (model, popular)]
    own, base = found["umls"]
    assert own["mrr"] > base["mrr"] + 0.05 and own["hits@10"] > base["hits@10"] + 0.05
    own, base = found["nations"]
    assert own["hits@10"] > 0.95 and own["hits@1"] < base["hits@1"]
