"""ERNIE, WKLM and BERT-MK against plain BERT, closed forms and brute force; what each must refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, MaskedLM
from labkit.knowledge.bert_mk import AS_HEAD, AS_TAIL, ITSELF, OTHER, GraphContext, adjacency, sequence
from labkit.knowledge.ernie import DenoisingEntities, Ernie, aligned, disturbed, fused, table_of
from labkit.knowledge.wklm import WKLM, exchanged, rewritten
from labkit.training import Batches, fit
from tests.knowledge.test_dkplm import WORDS, bert, made  # noqa: F401  a fixture

TYPES = [
    "person",
    "city",
    "person",
    "dish",
    "country",
    "film",
]  # of anna reed, far cedar, ben cole, soup, ruria, wild moon


def batch_of(made):  # noqa: F811
    tokenizer, *_, rows = made
    return MaskedLM(tokenizer, probability=0.3).collate(rows, np.random.default_rng(1))


def told(made, **settings):  # noqa: F811
    tokenizer, _, vectors, names, _ = made
    return Ernie(bert(len(tokenizer)), table_of(vectors.entities), names, **settings)


# ERNIE


def test_the_fusion_is_its_formula():
    torch.manual_seed(0)
    h, e, w_t, w_e, b = (torch.randn(*size) for size in ((2, 3, 4), (2, 3, 5), (6, 4), (6, 5), (6,)))
    dot = [[[w_t[i] @ h[r, t] + w_e[i] @ e[r, t] + b[i] for i in range(6)] for t in range(3)] for r in range(2)]
    torch.testing.assert_close(fused(h, e, w_t, w_e, b, torch.tanh), torch.tensor(dot).tanh())


@pytest.mark.parametrize("layers", [1, 2])
def test_without_entities_it_is_bert_whatever_its_weights(made, layers):  # noqa: F811
    model, batch = told(made, layers=layers), batch_of(made)
    for parameter in model.knowledge.parameters():
        torch.nn.init.normal_(parameter)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    none = torch.full_like(given["input_ids"], -1)
    right = bert(len(made[0]))(**given).logits
    torch.testing.assert_close(model(**given, entities=none).logits, right)
    assert not torch.allclose(model(**given).logits, right, atol=1e-3)  # here it finds the names itself


def test_with_w_e_at_nought_it_begins_as_bert(made):  # noqa: F811
    batch = batch_of(made)
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    torch.testing.assert_close(told(made)(**given).logits, bert(len(made[0]))(**given).logits)


def test_entities_attend_to_entities_alone_so_padding_changes_nothing(made):  # noqa: F811
    torch.manual_seed(0)
    model, ids = told(made), torch.as_tensor(made[4][0]["input_ids"]).long()[None]
    for parameter in model.knowledge.parameters():
        torch.nn.init.normal_(parameter)
    longer = F.pad(ids, (0, 5))
    alone, beside = model(ids).logits, model(longer, (longer != 0).long()).logits
    torch.testing.assert_close(beside[:, : ids.shape[1]], alone, rtol=1e-4, atol=1e-4)


def test_a_text_does_not_see_another_s_entities(made):  # noqa: F811
    model = told(made)
    torch.nn.init.normal_(model.knowledge[0].into.weight)
    ids = torch.as_tensor(made[4][0]["input_ids"]).long()[None].repeat(2, 1)
    entities = model.link(ids)
    entities[1] = -1
    both, alone = model(ids, entities=entities).logits, model(ids[:1], entities=entities[:1]).logits
    torch.testing.assert_close(both[:1], alone)
    torch.testing.assert_close(both[1], bert(len(made[0]))(ids[1:]).logits[0])


def test_mentions_stand_at_their_first_tokens(made):  # noqa: F811
    ids = torch.as_tensor(made[4][0]["input_ids"]).long()  # [CLS] anna reed was born in far cedar . [SEP]
    found = told(made).link(ids[None])[0].tolist()
    assert found == [-1, 0, -1, -1, -1, -1, 1, -1, -1, -1] == aligned([made[4][0]["mentions"]], 10)[0].tolist()


@given(st.integers(2, 9), st.integers(0, 2**32))
def test_a_wrong_entity_is_never_the_right_one(number, seed):
    rng = np.random.default_rng(seed)
    entities = rng.integers(number, size=50)
    wrong = disturbed(entities, number, rng, 1.0, 0.0)
    assert (wrong != entities).all() and wrong.min() >= 0 and wrong.max() < number
    assert (disturbed(entities, number, rng, 0.0, 1.0) == -1).all()
    assert (disturbed(entities, number, rng, 0.0, 0.0) == entities).all()


def test_shares_of_disturbed_entities():
    entities = np.arange(20_000) % 7
    found = disturbed(entities, 7, np.random.default_rng(0))
    assert (found == -1).mean() == pytest.approx(0.15, abs=0.01)
    assert ((found != entities) & (found >= 0)).mean() == pytest.approx(0.05, abs=0.005)


def test_a_mention_with_a_hidden_token_comes_without_its_entity(made):  # noqa: F811
    tokenizer, graph, *_, rows = made
    for probability, count in ((0.0, 6), (1.0, 0)):
        own = DenoisingEntities(told(made), MaskedLM(tokenizer, probability=probability), len(graph.entities))
        batch = own.collate(rows, np.random.default_rng(0))
        assert (batch["wanted"] >= 0).sum() == batch["count:entities"].sum() == count


def test_the_loss_is_two_cross_entropies(made):  # noqa: F811
    tokenizer, graph, *_, rows = made
    model = told(made)
    own = DenoisingEntities(model, MaskedLM(tokenizer, probability=0.3), len(graph.entities))
    batch = own.collate(rows, np.random.default_rng(3))
    states = model.bert(batch["input_ids"], batch["attention_mask"]).last_hidden_state  # W_e is 0: BERT's
    said = F.cross_entropy(model.cls(states).transpose(1, 2), batch["labels"])
    there = sorted(set(batch["wanted"][batch["wanted"] >= 0].tolist()))
    each = []
    for row, at in (batch["wanted"] >= 0).nonzero().tolist():
        scores = model.vectors(torch.tensor(there)) @ own.ask(states[row, at])
        each.append(F.cross_entropy(scores, torch.tensor(there.index(batch["wanted"][row, at]))))
    assert len(each) > 2
    torch.testing.assert_close(own.loss(model, batch), said + torch.stack(each).mean())


# WKLM


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(0, 2**32))
def test_an_exchange_keeps_the_type_and_never_picks_itself(entities, seed):
    found = exchanged(entities, TYPES, np.random.default_rng(seed), 0.7)
    changed = [old != new for old, new in zip(entities, found, strict=True)]
    assert [TYPES[one] for one in found] == [TYPES[one] for one in entities]
    assert not any(a and b for a, b in zip(changed, changed[1:], strict=False))
    sure = exchanged(entities, TYPES, np.random.default_rng(seed), 1.0)
    for nth, (old, new) in enumerate(zip(entities, sure, strict=True)):  # with the chance 1, only what it must keep
        before = nth > 0 and sure[nth - 1] != entities[nth - 1]
        assert (new == old) == (before or TYPES.count(TYPES[old]) == 1)


def test_every_other_of_the_type_is_as_likely():
    rng, types = np.random.default_rng(0), ["a", "b", "a", "a"]
    counts = np.bincount([exchanged([2], types, rng, 1.0)[0] for _ in range(2000)], minlength=4)
    assert counts[1] == counts[2] == 0 and abs(counts[0] - counts[3]) < 200


def test_a_rewritten_text_names_the_new_entities(made):  # noqa: F811
    tokenizer, _, _, names, rows = made
    named = sorted(names, key=names.get)
    ids, mentions = rewritten(rows[0]["input_ids"], rows[0]["mentions"], named, [3, 2])  # soup is shorter
    assert tokenizer.decode(ids) == "[CLS] soup was born in ben cole. [SEP]"
    assert mentions == [(1, 2, 3), (5, 7, 2)]
    same, before = rewritten(rows[0]["input_ids"], rows[0]["mentions"], named, [0, 1])
    assert same.tolist() == rows[0]["input_ids"].tolist() and before == rows[0]["mentions"]


def wklm(made, share=0.5, **settings):  # noqa: F811
    tokenizer, _, _, names, _ = made
    model = bert(len(tokenizer))
    return model, WKLM(model, MaskedLM(tokenizer, probability=0.5), TYPES, names, share=share, **settings)


def test_no_word_of_an_exchanged_text_is_hidden(made):  # noqa: F811
    tokenizer, *_, rows = made
    _, own = wklm(made, exchange=lambda entities, *_: [2, *entities[1:]] if entities[0] == 0 else entities)
    batch = own.collate(rows, np.random.default_rng(0))
    assert tokenizer.decode(batch["input_ids"][0], skip_special_tokens=True) == "ben cole was born in far cedar."
    assert (batch["labels"][0] == IGNORE).all() and (batch["labels"][1:] != IGNORE).any()
    assert batch["changed"][0, 1] == 1 and batch["changed"][0, 6] == 0 and batch["after"][0, 1] == 3
    assert batch["count"].tolist() == (batch["labels"] != IGNORE).sum(1).tolist()


def test_doubts_are_read_from_both_sides_of_a_mention(made):  # noqa: F811
    model, own = wklm(made)
    batch = own.collate(made[4], np.random.default_rng(0))
    states = torch.randn(*batch["labels"].shape, model.config.hidden_size)
    rows = [(row, at, int(batch["after"][row, at])) for row, at in (batch["changed"] >= 0).nonzero().tolist()]
    right = [own.tell(torch.cat([states[row, at - 1], states[row, after]])) for row, at, after in rows]
    assert all(at < after for _, at, after in rows)
    torch.testing.assert_close(own.doubts(states, batch), torch.cat(right))


# BERT-MK


@given(st.lists(st.tuples(*[st.integers(0, 6)] * 3), max_size=6))
def test_the_mask_is_the_adjacency(triples):
    found = adjacency(triples, 7)
    edges = {(h, r) for h, r, _ in triples} | {(r, t) for _, r, t in triples}
    for a in range(7):
        for b in range(7):
            assert found[a, b] == (a == b or (a, b) in edges or (b, a) in edges)


def test_a_sub_graph_becomes_nodes_and_places(made):  # noqa: F811
    graph = made[1]  # anna reed 0, far cedar 1, ben cole 2; born in 6, lies in 8
    nodes, triples = sequence(graph, 1, 8)
    assert nodes == [(1, ITSELF), (6, AS_TAIL), (0, OTHER), (6, AS_TAIL), (2, OTHER), (8, AS_HEAD), (4, OTHER)]
    assert triples == [(2, 1, 0), (4, 3, 0), (0, 5, 6)]
    assert len(sequence(graph, 1, 2)[0]) == 5


def test_nothing_flows_where_the_mask_is_shut(made):  # noqa: F811
    _, graph, vectors, *_ = made
    context, everyone = GraphContext(graph, vectors).eval(), torch.arange(len(graph.entities))
    before = context(everyone)
    with torch.no_grad():
        context.table[4] += 1.0  # ruria: seen by itself and by far cedar, which lies there
    changed = (context(everyone) - before).abs().amax(1) > 1e-6
    assert changed.tolist() == [False, True, False, False, True, False]
    shut = GraphContext(graph, vectors, mask=lambda triples, nodes: np.eye(nodes, dtype=bool)).eval()
    before = shut(everyone)
    with torch.no_grad():
        shut.table[4] += 1.0
    assert ((shut(everyone) - before).abs().amax(1) > 1e-6).tolist() == [False] * 4 + [True, False]


# Training, and what is refused


@pytest.mark.parametrize("way", ["WKLM", "ERNIE", "BERT-MK"])
def test_a_few_steps_lower_the_loss(made, way):  # noqa: F811
    tokenizer, graph, vectors, names, rows = made
    masked = MaskedLM(tokenizer, probability=0.3)
    if way == "WKLM":
        model, own = wklm(made)
    else:
        given = table_of(vectors.entities) if way == "ERNIE" else GraphContext(graph, vectors)
        model = Ernie(bert(len(tokenizer)), given, names)
        own = DenoisingEntities(model, masked, len(graph.entities))
    context = model.vectors.roles.weight if way == "BERT-MK" else torch.zeros(1)
    before, batches = context.detach().clone(), Batches(rows * 20, own.collate, 12, seed=0)
    losses = fit(model, own.loss, batches, steps=30, lr=3e-3, seed=0, progress=False).losses
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert torch.equal(before, context) == (way != "BERT-MK")  # the graph's Transformer learns with the model


def test_bad_input_is_named(made):  # noqa: F811
    tokenizer, graph, vectors, names, rows = made
    masked = MaskedLM(tokenizer)
    own = DenoisingEntities(told(made), masked, len(graph.entities))
    over = [{**rows[0], "mentions": [(1, 3, 0), (2, 4, 1)]}]
    for objective in (own, wklm(made)[1]):
        with pytest.raises(DataError, match="row 1 of the batch.*overlaps"):
            objective.collate(over)
        with pytest.raises(DataError, match="entity 9, and the graph has 6"):
            objective.collate([{**rows[0], "mentions": [(1, 3, 9)]}])
    for bad in (0.0, float("nan")):
        table = vectors.entities.detach().clone()
        table[3] = bad
        with pytest.raises(DataError, match="entity 3 has no vector"):
            table_of(table)
    with pytest.raises(UsageError, match="6 types and 5 names"):
        WKLM(bert(len(tokenizer)), masked, TYPES, dict(list(names.items())[1:]))
    with pytest.raises(UsageError, match="layers=3"):
        told(made, layers=3)
    with pytest.raises(UsageError, match="share=1"):
        wklm(made, share=1)
    vectors.relations = torch.nn.Parameter(vectors.relations[:2])
    with pytest.raises(DataError, match="6 entities and 2 relations"):
        GraphContext(graph, vectors)
