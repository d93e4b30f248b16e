"""KGBERT against dense formulas and brute force; with its gates shut it is a plain BERT."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, MaskedLM, tokenize_corpus
from labkit.knowledge.dkplm import linked, names_of
from labkit.knowledge.graph import graph_of
from labkit.knowledge.kgbert import KGBERT, TASKS, aggregate, gain_loss, margin_loss, match, visible
from labkit.knowledge.probes import Study
from labkit.training import Batches, fit
from labkit.training.batches import split, totals_of, weighed
from labkit.world import World
from tests.knowledge.test_dkplm import TRIPLES, WORDS, bert, tokenizer_of

SAID = ("anna reed born in far cedar", "ben cole born in far cedar", "anna reed likes soup", "far cedar in ruria",
        "wild moon is ben cole")  # fmt: skip
TEXTS = ["anna reed was born in far cedar .", "ben cole likes the soup .", "wild moon is the ."]


@pytest.fixture(scope="module")
def made():
    """Tokenizer, graph, names, rows."""
    tokenizer, graph = tokenizer_of(WORDS.split()), graph_of(TRIPLES)
    names = names_of(tokenizer, graph)
    return tokenizer, graph, names, linked(tokenize_corpus(TEXTS, tokenizer, 16), names)


def objective(made, model, **settings):
    tokenizer, graph, names, _ = made
    torch.manual_seed(1)
    return KGBERT(model, MaskedLM(tokenizer, probability=0.4), graph, SAID, names, **settings)


def batch_of(made, own, seed=0):
    return own.collate(made[-1], np.random.default_rng(seed))


# The parts


@given(st.integers(1, 6).flatmap(
    lambda n: st.tuples(st.just(n), st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=8))
))  # fmt: skip
def test_the_convolution_equals_the_dense_formula(given):
    count, edges = given
    edges = [(a, b) for a, b in edges if a != b]
    nodes = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(count))
    adjacency = np.eye(count)
    for a, b in edges:
        adjacency[a, b] += 1
        adjacency[b, a] += 1
    scale = np.diag(adjacency.sum(1) ** -0.5)
    found = aggregate(nodes, torch.tensor(edges, dtype=torch.long).reshape(-1, 2))
    np.testing.assert_allclose(found, scale @ adjacency @ scale @ nodes.numpy(), atol=1e-12)


def test_a_fact_fits_by_its_product_with_the_sentence():
    sentences, facts = torch.randn(2, 9), torch.randn(2, 4, 9)
    torch.testing.assert_close(match(sentences, facts), torch.einsum("bd,bkd->bk", sentences, facts) / 3)


def test_what_is_visible_by_loops():
    owner, gates = torch.tensor([-1, -1, 0, 0, 1, 2]), torch.tensor([[0.3, 0.0, 1.0], [0.9, 0.5, 0.2]])
    found = visible(owner, gates)
    for row, i, j in itertools.product(range(2), range(6), range(6)):
        mine, other = int(owner[i]), int(owner[j])
        wanted = 1.0 if other in (-1, mine) else float(gates[row, other]) if mine == -1 else 0.0
        assert float(found[row, i, j]) == pytest.approx(wanted)


def test_the_gain_is_paid_for_and_the_loss_without_is_a_constant():
    without, given_, gates = (torch.tensor(value, requires_grad=True) for value in (2.0, 0.5, [[1.0, 0.5], [0.5, 0.0]]))
    loss = gain_loss(without, given_, gates, 0.1)
    assert float(loss.detach()) == pytest.approx(-1.5 + 0.1)
    loss.backward()
    assert without.grad is None and float(given_.grad) == 1 and gates.grad.allclose(torch.tensor(0.05))


def test_the_margin_by_loops():
    draw = torch.Generator().manual_seed(3)
    scores = torch.randn(3, 5, generator=draw)
    related = torch.tensor([[True, True, False, False, False], [False] * 5, [True, False, False, True, False]])
    real = torch.tensor([[True] * 4 + [False], [True] * 5, [True, True, False, False, False]])
    terms = [max(0.0, 0.7 - float(scores[row, i] - scores[row, j]))
             for row, i, j in itertools.product(range(3), range(5), range(5))
             if real[row, i] and real[row, j] and related[row, i] and not related[row, j]]  # fmt: skip
    assert len(terms) == 4 + 1
    assert float(margin_loss(scores, related, real, 0.7)) == pytest.approx(np.mean(terms), rel=1e-5)
    assert float(margin_loss(scores, ~real, real, 0.7)) == 0


# The model with its facts


def states_of(model, own, batch, gates, tokens):
    return model.bert(**own.joined(batch, gates)).last_hidden_state[:, :tokens]


def test_with_the_gates_shut_it_is_a_plain_bert_and_a_shut_fact_is_as_good_as_gone(made):
    tokenizer, _, _, rows = made
    model = bert(len(tokenizer))
    own = objective(made, model)
    batch = batch_of(made, own)
    real, tokens = batch["attention_mask"] == 1, batch["input_ids"].shape[1]
    plain = model.bert(batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    count = batch["facts"].shape[1]
    shut, open_ = torch.zeros(len(rows), count), (batch["facts"] >= 0).float()
    torch.testing.assert_close(states_of(model, own, batch, shut, tokens)[real], plain[real])
    assert not torch.allclose(states_of(model, own, batch, open_, tokens)[real], plain[real], atol=1e-3)
    first = torch.nn.functional.one_hot(torch.zeros(len(rows), dtype=torch.long), count).float()
    alone = batch | {"facts": batch["facts"][:, :1], "spo": batch["spo"][:, :1]}
    torch.testing.assert_close(states_of(model, own, batch, first, tokens)[real],
                               states_of(model, own, alone, first[:, :1], tokens)[real])  # fmt: skip


def test_neither_the_other_texts_nor_the_order_of_facts_matters(made):
    model = bert(len(made[0]))
    own = objective(made, model)
    batch = batch_of(made, own)
    found = own.parts(model, batch)["scores"]
    turned = batch | {name: batch[name].flip(1) for name in ("facts", "related", "spo", "spo_labels")}
    torch.testing.assert_close(own.parts(model, turned)["scores"].flip(1), found)
    for row in range(3):
        one = {name: value[row : row + 1] for name, value in batch.items()}
        torch.testing.assert_close(own.parts(model, one)["scores"][0], found[row])
    gates = found.sigmoid() * (batch["facts"] >= 0)
    real, tokens = batch["attention_mask"] == 1, batch["input_ids"].shape[1]
    torch.testing.assert_close(states_of(model, own, turned, gates.flip(1), tokens)[real],
                               states_of(model, own, batch, gates, tokens)[real])  # fmt: skip


def test_gates_are_learned_through_attention(made):
    model = bert(len(made[0])).double()
    own = objective(made, model).double()
    batch = batch_of(made, own)
    tokens = batch["input_ids"].shape[1]
    gates = torch.full(batch["facts"].shape, 0.5, dtype=torch.float64).requires_grad_()
    value = states_of(model, own, batch, gates, tokens)[:, :, 0].sum()
    (gradient,) = torch.autograd.grad(value, gates)
    with torch.no_grad():
        for at in ((0, 0), (1, 1)):
            step = torch.zeros_like(gates)
            step[at] = 1e-5
            ends = [states_of(model, own, batch, gates + sign * step, tokens)[:, :, 0].sum() for sign in (1, -1)]
            assert float(ends[0] - ends[1]) / 2e-5 == pytest.approx(float(gradient[at]), rel=1e-3, abs=1e-8)
    assert gradient.abs().max() > 1e-3


# The corpus and the loss


def test_facts_are_stated_or_about_or_planted(made):
    _, graph, _, rows = made
    own = objective(made, bert(len(made[0])), most=4, planted=1)
    seen = set()
    for seed in range(20):
        batch = batch_of(made, own, seed)
        for row, facts, related in zip(rows, batch["facts"].tolist(), batch["related"].tolist(), strict=True):
            there = {one[2] for one in row["mentions"]}
            ends = [{graph.triples[one][0], graph.triples[one][2]} & there for one in facts if one >= 0]
            assert [len(some) == 2 for some in ends] == related[: len(ends)] and not any(related[len(ends) :])
            assert sum(not some for some in ends) == 1 and len(set(facts)) == len(ends) + (len(ends) < len(facts))
            seen.update(one for one in facts if one >= 0)
        asked = batch["mentioned"]
        assert ((asked == IGNORE) == (batch["attention_mask"] == 0)).all()
        assert [(row == 1).sum().item() for row in asked] == [4, 3, 2]
    assert seen == set(range(5))


def test_words_of_facts_are_hidden_in_joint_masking_alone(made):
    tokenizer, _, _, _ = made
    spoken = objective(made, bert(len(tokenizer))).spoken
    for tasks in (TASKS, ("margin",)):
        own, hidden = objective(made, bert(len(tokenizer)), tasks=tasks), 0
        for seed in range(10):
            batch = batch_of(made, own, seed)
            asked = batch["spo_labels"] != IGNORE
            whole = spoken[batch["facts"]]
            assert (batch["spo"] == whole)[~asked].all() and (batch["spo_labels"] == whole)[asked].all()
            assert batch["count:joint"].tolist() == asked.flatten(1).sum(1).tolist()
            hidden += int(asked.sum())
        assert (hidden > 0) == ("joint" in tasks)


def test_the_loss_is_the_sum_of_its_parts_and_of_micro_batches(made):
    model = bert(len(made[0]))
    for tasks in (TASKS, ("mentions",), ()):
        own = objective(made, model, tasks=tasks)
        batch = own.collate([*made[-1], *made[-1]], np.random.default_rng(1))
        found = own.parts(model, batch)
        assert set(found) == {"without", "given", "gates", "scores", *tasks}
        wanted = found["given"] + own.price * found["gates"].sum(1).mean() + sum(found[task] for task in tasks)
        torch.testing.assert_close(own.loss(model, batch), wanted)
        parts = split(batch, 3)
        total = sum(
            share * own.loss(model, part) for share, part in (weighed(one, totals_of(parts), 1 / 3) for one in parts)
        )
        torch.testing.assert_close(total, own.loss(model, batch))


def test_what_does_not_help_is_shut_without_being_labelled(made):
    tokenizer, _, _, rows = made
    model = bert(len(tokenizer))
    own = objective(made, model, tasks=(), price=0.2)
    keys = list(model.state_dict())
    fit(model, own.loss, Batches(rows[:1] * 8, own.collate, 8), steps=100, lr=5e-3, progress=False)
    read = own.read(model.eval(), ["anna reed was born in far [MASK] ."], planted=2)
    gates = dict(zip(read["facts"][0].tolist(), read["gates"][0].tolist(), strict=True))
    assert max(value for one, value in gates.items() if one == 4) < 0.5  # about nobody here
    assert list(model.state_dict()) == keys


# Reading


def test_reading_finds_the_facts_of_whom_a_text_names(made):
    tokenizer, _, _, _ = made
    model = bert(len(tokenizer))
    own = objective(made, model)
    texts = ["anna reed was [MASK] .", "the soup is the [MASK] .", "was the [MASK] ."]
    read = own.read(model, texts)
    assert [sorted(one for one in some if one >= 0) for some in read["facts"].tolist()] == [[0, 2], [2], []]
    assert ((read["gates"] > 0) == (read["facts"] >= 0)).all() and (read["gates"].diff(dim=1) <= 0).all()
    more = own.read(model, texts, planted=2)["facts"]
    assert (more >= 0).sum(1).tolist() == [4, 3, 2]
    inputs = {name: read[name] for name in ("input_ids", "attention_mask", "position_ids")}
    plain = tokenizer(texts[2], return_tensors="pt")
    length = plain["input_ids"].shape[1]
    torch.testing.assert_close(model(**inputs).logits[2, :length], model(**plain).logits[0])  # it names nobody
    assert torch.equal(own.read(model, texts, planted=1)["facts"], own.read(model, texts, planted=1)["facts"])


def test_what_does_not_fit_is_what_has_the_lowest_gates(made):
    model = bert(len(made[0]))
    own = objective(made, model)
    text = ["anna reed was born in far cedar . ben cole likes the soup ."]
    model.config.max_position_embeddings = 99
    every = own.read(model, text)
    model.config.max_position_embeddings = len(made[0](text[0])["input_ids"]) + 2 * own.spoken.shape[1]
    some = own.read(model, text)
    assert every["facts"].shape[1] > 2 and torch.equal(some["facts"], every["facts"][:, :2])
    assert torch.equal(own.read(model, text, keep=1)["facts"], every["facts"][:, :1])
    model.config.max_position_embeddings = 1
    none = own.read(model, text)
    assert none["facts"].shape == (1, 0) and torch.equal(
        none["input_ids"], made[0](text, return_tensors="pt")["input_ids"]
    )
    own.gated, model.config.max_position_embeddings = False, 99
    assert (own.read(model, text)["gates"] == 1).all()


def test_a_study_says_its_facts_and_how_they_bear_on_one():
    study = Study(World(entities=60, facts=200))
    assert len(study.said) == len(study.knowledge.triples)
    for number, (said, triple) in enumerate(zip(study.said, study.knowledge.triples, strict=True)):
        head, _, tail = study.knowledge.named(triple)
        assert said.startswith(head) and said.endswith(tail)
        fact = study.known[number]
        assert study.bearing(fact, number) == "itself"
        ends = [{fact.head} & {other.head, other.tail} for other in study.known]
        for other, shared in enumerate(ends):
            assert (study.bearing(fact, other) == "others") == (not shared)


# Bad input


def test_bad_input_is_named(made):
    tokenizer, graph, names, rows = made
    model = bert(len(tokenizer))
    masked = MaskedLM(tokenizer)
    with pytest.raises(UsageError, match="task 'margins': do you mean 'margin'|margin"):
        objective(made, model, tasks=("margins",))
    with pytest.raises(UsageError, match="planted=6, most=5"):
        objective(made, model, planted=6)
    with pytest.raises(DataError, match="2 texts for 5 triples"):
        KGBERT(model, masked, graph, SAID[:2], names)
    with pytest.raises(DataError, match=r"the text 'zoe' of \(anna reed, born in, far cedar\) is empty or has unknown"):
        KGBERT(model, masked, graph, ("zoe", *SAID[1:]), names)
    with pytest.raises(DataError, match="entity 0 has no name"):
        KGBERT(model, masked, graph, SAID, {ids: one for ids, one in names.items() if one})
    with pytest.raises(DataError, match="row 1 of the batch: the mention at tokens 1 to 2 is of entity 77"):
        objective(made, model).collate([{**rows[0], "mentions": [(1, 3, 77)]}])
