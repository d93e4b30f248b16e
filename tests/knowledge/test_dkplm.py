"""DKPLM against closed forms and brute force; what is left of it after training is a plain BERT."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from labkit.errors import DataError, UsageError
from labkit.foundations.pretraining import IGNORE, MaskedLM, tokenize_corpus
from labkit.knowledge import dkplm, probes
from labkit.knowledge.dkplm import DKPLM, connectivity, importance, linked, long_tail, names_of
from labkit.knowledge.graph import graph_of
from labkit.knowledge.linking import longest_first
from labkit.knowledge.transe import TransESettings, train_transe
from labkit.training import Batches, fit
from labkit.training.batches import split, totals_of, weighed
from labkit.world import World

TRIPLES = [("anna reed", "born in", "far cedar"), ("ben cole", "born in", "far cedar"), ("anna reed", "likes", "soup"),
           ("far cedar", "lies in", "ruria"), ("wild moon", "made by", "ben cole")]  # fmt: skip
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] anna reed ben cole far cedar soup ruria wild moon was born in likes the is ."
TEXTS = ["anna reed was born in far cedar .", "ben cole likes the soup .", "wild moon is the far cedar ."]


def tokenizer_of(words):
    return BertTokenizer(vocab={word: number for number, word in enumerate(dict.fromkeys(words))})


def bert(size, seed=0):
    torch.manual_seed(seed)
    sizes = {"vocab_size": size, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    sizes |= {"intermediate_size": 64, "max_position_embeddings": 32, "initializer_range": 0.2}
    return BertForMaskedLM(BertConfig(**sizes, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)).eval()


@pytest.fixture
def made():
    """Tokenizer, graph, its vectors, names, rows."""
    tokenizer, graph = tokenizer_of(WORDS.split()), graph_of(TRIPLES)
    vectors = train_transe(graph, TransESettings(dimension=16, epochs=5), progress=False)
    names = names_of(tokenizer, graph)
    return tokenizer, graph, vectors, names, linked(tokenize_corpus(TEXTS, tokenizer, 16), names)


def objective(made, model, targets=(0, 2), **settings):
    tokenizer, graph, vectors, names, _ = made
    settings = {"samples": 16, **settings}
    return DKPLM(model, MaskedLM(tokenizer, probability=0.4), graph, vectors, names, targets, **settings)


# Which mentions


@given(
    st.lists(st.integers(1, 4), max_size=12), st.sets(st.lists(st.integers(1, 4), min_size=1, max_size=3).map(tuple))
)
def test_mentions_are_longest_names_from_left_to_right(ids, some):
    names = {name: number for number, name in enumerate(sorted(some))}
    found, before = longest_first(ids, names), 0
    for start, stop, entity in [*found, (len(ids), len(ids), None)]:
        assert not any(tuple(ids[at:end]) in names for at in range(before, start) for end in range(at + 1, start + 1))
        if entity is not None:
            assert names[tuple(ids[start:stop])] == entity and start >= before
            assert not any(tuple(ids[start:end]) in names for end in range(stop + 1, len(ids) + 1))
        before = stop


def test_connections_are_counted_as_powers_of_the_adjacency_do():
    graph = probes.Study(World(entities=60, facts=200)).knowledge
    edges = np.zeros((60, 60), bool)
    edges[graph.triples[:, 0], graph.triples[:, 2]] = edges[graph.triples[:, 2], graph.triples[:, 0]] = True
    reach = [np.eye(60, dtype=bool)]
    for _ in range(3):
        reach.append(reach[-1] | (reach[-1] @ edges))
    for low, high in ((0, 1), (1, 2), (1, 3)):
        counts = [connectivity(graph, entity, (low, high)) for entity in range(60)]
        assert counts == (reach[high] & ~reach[low]).sum(1).tolist() and max(counts) > min(counts)


def test_a_long_tail_entity_is_rare_and_missed_and_connected():
    scores = long_tail(np.array([0.1, 0.01, 0.01, 0.02, 0.01]), np.array([2.0, 2.0, 1.5, 2.0, np.nan]),
                       np.array([4, 4, 3, 4, 4]), below=0.02)  # fmt: skip
    assert scores.tolist() == [0, 8, 4.5, 0, 0]


def test_importance_is_one_over_the_cosine_without_the_mention(made):
    tokenizer, graph, _, _, rows = made
    model = bert(len(tokenizer))
    found = importance(model, rows, len(graph.entities), 0)
    wanted = []
    for text in ("anna reed was born in far cedar .", "was born in far cedar ."):
        wanted.append(model.bert(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0).detach())
    assert found[graph.number("anna reed")] == pytest.approx(1 / float(F.cosine_similarity(*wanted, dim=0)), rel=1e-4)
    assert np.isnan(found[graph.number("ruria")]) and (found[:3] >= 1).all()
    assert np.isnan(importance(model, [], 3, 0)).all()
    apart = dkplm.semantic_importance(
        torch.tensor([[1.0, 0], [1, 0], [1, 0]]), torch.tensor([[2.0, 0], [0, 1], [-1, 0]])
    )
    assert apart.tolist() == pytest.approx([1, 100, 100])  # the same; at a right angle; opposite


# What is read and said


def test_with_perfect_vectors_both_ends_of_a_fact_stand_for_themselves():
    head, relation = torch.randn(5, 8), torch.randn(5, 8)
    tail = head + relation
    yes = torch.ones(5, dtype=torch.bool)
    torch.testing.assert_close(dkplm.pseudo_token(tail, relation, yes), head)
    torch.testing.assert_close(dkplm.pseudo_token(head, relation, ~yes), tail)


def test_sampled_loss_is_cross_entropy_when_every_word_is_drawn_once():
    torch.manual_seed(0)
    scores, wanted = torch.randn(6, 9), torch.arange(6)
    uniform, all_words = torch.full((9,), 1 / 9), torch.randperm(9)
    torch.testing.assert_close(dkplm.sampled_loss(scores, wanted, uniform, all_words), F.cross_entropy(scores, wanted))
    skewed = torch.arange(1, 10) / 45  # many draws, of unequal chances: near it
    draws = torch.multinomial(skewed, 200_000, replacement=True)
    assert float(dkplm.sampled_loss(scores, wanted, skewed, draws)) == pytest.approx(
        float(F.cross_entropy(scores, wanted)), abs=0.02
    )


def test_the_decoder_goes_from_the_mention_through_the_relation():
    torch.manual_seed(0)
    step, mentions, r = torch.nn.Linear(8, 8), torch.randn(4, 8), torch.randn(4, 8)
    first = torch.tanh((mentions * r) @ step.weight.T + step.bias)
    second = torch.tanh((first * r) @ step.weight.T + step.bias)
    torch.testing.assert_close(dkplm.decoded(mentions, r, step, 2), torch.stack([first, second], 1))


# The objective


def test_without_targets_it_is_masked_language_modelling(made):
    tokenizer, *_, rows = made
    model = bert(len(tokenizer))
    own, plain = objective(made, model, targets=()), MaskedLM(tokenizer, probability=0.4)
    batch, other = own.collate(rows, np.random.default_rng(3)), plain.collate(rows, np.random.default_rng(3))
    assert all(torch.equal(batch[name], other[name]) for name in other)
    torch.testing.assert_close(own.loss(model, batch), plain.loss(model, other))


def test_mentions_of_targets_are_injected_and_never_asked_for(made):
    tokenizer, graph, _, _, rows = made
    own = objective(made, bert(len(tokenizer)), most=1)
    facts = set()
    for seed in range(20):
        batch = own.collate(rows, np.random.default_rng(seed))
        assert batch["spans"].tolist() == [[[1, 3, 1]], [[1, 3, 1]], [[-1, -1, -1]]]
        assert torch.equal(batch["input_ids"][0, 1:3], torch.from_numpy(rows[0]["input_ids"][1:3]).long())
        assert (batch["labels"][:2, 1:3] == IGNORE).all() and batch["count:decoding"][2] == 0
        for number, entity in enumerate(("anna reed", "ben cole")):
            other, relation, is_head = batch["triples"][number, 0].tolist()
            ends = (graph.number(entity), other) if is_head else (other, graph.number(entity))
            assert [ends[0], relation, ends[1]] in graph.triples.tolist()
            facts.add((graph.named(ends[:1] + (relation,) + ends[1:]), entity))
            assert batch["count:decoding"][number] == len(graph.entities[other].split())
    # of anna reed's facts the one whose tail does not stand in the text; both of ben cole's
    seen = {triple for triple, entity in facts if entity == "anna reed"}
    assert seen == {("anna reed", "likes", "soup")} and len(facts) == 3


def test_the_stand_in_hides_the_mention_and_nothing_else(made):
    tokenizer, *_, rows = made
    model = bert(len(tokenizer))
    for inject in (1.0, 0.0):
        own = objective(made, model, inject=inject)
        batch = own.collate(rows, np.random.default_rng(0))
        torch.manual_seed(0)
        before, changed = own.loss(model, batch), batch["input_ids"].clone()
        changed[0, 1:3] = tokenizer.convert_tokens_to_ids("moon")
        torch.manual_seed(0)
        after = own.loss(model, batch | {"input_ids": changed})
        assert torch.equal(before, after) == bool(inject)
        own.lambda_1 = 1  # nothing is decoded: another fact is seen only if its stand-in is read
        before = own.loss(model, batch)
        batch["triples"][0, 0, 0] = 4
        assert torch.equal(own.loss(model, batch), before) != bool(inject)


def test_the_loss_is_the_share_of_both(made):
    tokenizer, *_, rows = made
    model = bert(len(tokenizer))
    own = objective(made, model)
    batch = own.collate(rows, np.random.default_rng(0))

    def value(lambda_1):
        torch.manual_seed(0)
        own.lambda_1 = lambda_1
        return float(own.loss(model, batch))

    ends = value(1), value(1e-9)
    assert value(0.3) == pytest.approx(0.3 * ends[0] + 0.7 * ends[1], rel=1e-5) and ends[0] != pytest.approx(ends[1])


def test_micro_batches_add_up_to_the_whole(made, monkeypatch):
    tokenizer, *_, rows = made
    model = bert(len(tokenizer))
    monkeypatch.setattr(dkplm, "sampled_loss", lambda scores, wanted, *_: F.cross_entropy(scores, wanted))
    own = objective(made, model, targets=(0, 1, 2, 5))
    batch = own.collate([*rows, *rows], np.random.default_rng(1))
    parts = split(batch, 3)
    total = sum(
        share * own.loss(model, part) for share, part in (weighed(one, totals_of(parts), 1 / 3) for one in parts)
    )
    torch.testing.assert_close(total, own.loss(model, batch))


def test_decoding_learns_to_say_the_other_entity(made):
    tokenizer, graph, *_, rows = made
    model = bert(len(tokenizer))
    own = objective(made, model, inject=0.0)
    fit(model, own.loss, Batches(rows, own.collate, 3), steps=120, lr=5e-3, progress=False)
    for head, relation, tail in (("anna reed", "likes", "soup"), ("ben cole", "born in", "far cedar")):
        said = own.says(model, [graph.number(head)], [graph.relations.index(relation)])
        assert said.exp().sum(-1).allclose(torch.ones(()))
        assert tokenizer.decode(said[0, : len(tail.split())].argmax(-1)) == tail


def test_what_is_said_of_a_name_does_not_depend_on_longer_ones_beside_it(made):
    tokenizer, graph, *_ = made
    model = bert(len(tokenizer))
    own = objective(made, model, layer=1)
    entities, relations = [graph.number("soup"), graph.number("anna reed")], [0, 1]
    both = own.says(model, entities, relations)
    for at in (0, 1):
        torch.testing.assert_close(both[at], own.says(model, entities[at : at + 1], relations[at : at + 1])[0])
    states = model.bert(**tokenizer("anna reed", return_tensors="pt"), output_hidden_states=True).hidden_states[1]
    h = own.norm(states[0, 1:3].mean(0))
    first = torch.tanh(own.step(h * own.said.weight[2 * 1 + 1]))
    torch.testing.assert_close(both[1, 0], model.get_output_embeddings()(first).log_softmax(-1))


# Afterwards


def test_what_is_left_is_a_plain_bert_that_needs_no_graph(made, tmp_path):
    tokenizer, graph, vectors, names, rows = made
    model = bert(len(tokenizer))
    keys, own = list(model.state_dict()), objective(made, model)
    before = {name: value.clone() for name, value in own.state_dict().items()}
    fit(model, own.loss, Batches(rows, own.collate, 3), steps=2, progress=False)
    assert all(not torch.equal(before[name], value) for name, value in own.state_dict().items())  # it is trained
    assert list(model.state_dict()) == keys
    batch = tokenizer("anna reed was born in [MASK] [MASK] .", return_tensors="pt")
    wanted = model.eval()(**batch).logits
    model.save_pretrained(tmp_path)
    gone = [weakref.ref(graph), weakref.ref(vectors), weakref.ref(own)]
    made_ = made
    del graph, vectors, own, made, made_, names, rows
    gc.collect()
    assert gone  # the fixture's tuple may live on; what is loaded below never sees it
    loaded, told = BertForMaskedLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not told["missing_keys"] and not told["unexpected_keys"]
    torch.testing.assert_close(loaded.eval()(**batch).logits, wanted)


# Bad input


def test_bad_input_is_named(made):
    tokenizer, graph, vectors, names, rows = made
    model = bert(len(tokenizer))
    own = objective(made, model)
    for mentions, message in (
        ([(1, 3, 0), (2, 4, 1)], "row 2 of the batch: the mention at tokens 2 to 3 overlaps the one before it"),
        ([(1, 99, 0)], "tokens 1 to 98 lies outside the text's"),
        ([(3, 3, 0)], "lies outside"),
        ([(1, 3, 77)], "is of entity 77, and the graph has 6"),
    ):
        with pytest.raises(DataError, match=message):
            own.collate([rows[0], {**rows[1], "mentions": mentions}], np.random.default_rng(0))
    lonely = graph_of(TRIPLES, entities=(*graph.entities, "the"))
    given = partial(DKPLM, model, MaskedLM(tokenizer), lonely, vectors)
    with pytest.raises(DataError, match="'the' stands in no triple"):
        given(names_of(tokenizer, lonely), [6])
    with pytest.raises(DataError, match="entity 6 has no name"):
        given(names, [0])
    with pytest.raises(UsageError, match="lambda_1=0"):
        objective(made, model, lambda_1=0)
    with pytest.raises(DataError, match="'zoe' is unknown to the tokenizer"):
        names_of(tokenizer, graph_of([("zoe", "likes", "soup")]))
    with pytest.raises(DataError, match="'Soup' is another's too"):
        names_of(tokenizer, graph_of([("soup", "likes", "Soup")]))
