"""Elastic networks: rewired, cut and masked models agree; the search keeps its limit."""

from __future__ import annotations

import copy
import random
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from labkit import measure
from labkit.compression import int8
from labkit.compression.elastic import Elastic, Shape, extract, full_shape, importance, rewire, shape_of, shaped
from labkit.compression.pruning.structure import masked_heads
from labkit.compression.searching import (
    LatencyPredictor,
    crossed,
    latencies,
    mutated,
    random_shape,
    sandwich,
    search,
    smallest,
)
from labkit.errors import UsageError
from labkit.training import fit

SIZES = {"vocab_size": 97, "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 48}
BATCH = {"input_ids": torch.arange(24).view(2, 12), "attention_mask": torch.ones(2, 12, dtype=torch.long)}
LABELLED = {**BATCH, "labels": torch.tensor([0, 1])}
WHOLE = Shape((0, 1, 2, 3), (4,) * 4, (48,) * 4)


class Method:
    """The least that a method is."""

    def logits(self, model, batch):
        return model(**BATCH).logits

    def loss(self, model, batch):
        return nn.functional.cross_entropy(self.logits(model, batch), batch["labels"])


def bert(seed: int = 0) -> BertForSequenceClassification:
    torch.manual_seed(seed)
    options = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0, "max_position_embeddings": 40}
    return BertForSequenceClassification(BertConfig(**SIZES | options)).eval()


def logits(model: nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model(**BATCH).logits


shapes = st.integers(0, 2**31).map(lambda seed: random_shape(WHOLE, random.Random(seed)))


def masked(model, shape):
    """The answers with what is not in the shape set to 0, and layers passed by."""
    layers = model.bert.encoder.layer
    heads = [torch.ones(4) for _ in layers]
    handles = []
    for number, layer in enumerate(layers):
        if number not in shape.layers:
            handles.append(layer.register_forward_hook(lambda _, given, output: given[0]))
            continue
        place = shape.layers.index(number)
        heads[number][shape.heads[place] :] = 0
        mask = (torch.arange(48) < shape.neurons[place]).float()
        handles.append(layer.intermediate.register_forward_hook(lambda _, __, output, mask=mask: output * mask))
    with masked_heads(model, heads):
        found = logits(model)
    for handle in handles:
        handle.remove()
    return found


@settings(deadline=None, max_examples=25)
@given(shapes)
def test_cut_shaped_and_masked_networks_answer_alike(shape):
    model = bert()
    whole, state = logits(model), copy.deepcopy(model.state_dict())
    wanted = masked(model, shape)
    with shaped(model, shape):
        torch.testing.assert_close(logits(model), wanted)
    small = extract(model, shape)
    torch.testing.assert_close(logits(small), wanted)
    assert full_shape(small) == Shape(tuple(range(len(shape.layers))), shape.heads, shape.neurons)
    assert torch.equal(logits(model), whole) and all(torch.equal(state[n], t) for n, t in model.state_dict().items())
    assert measure.parameters(small) <= measure.parameters(model)


def test_rewiring_changes_the_order_and_nothing_else():
    model = bert()
    model.bert.encoder.layer[2].attention.output.dense.weight.data[:, 8:16] = 0  # head 1 says nothing
    model.bert.encoder.layer[0].output.dense.weight.data[:, 7] = 0
    before = logits(model)
    heads, neurons = importance(model, Method().loss, [LABELLED])
    assert heads[2].argmin() == 1 and neurons[0].argmin() == 7
    rewire(model, heads, neurons)
    torch.testing.assert_close(logits(model), before)
    assert not model.bert.encoder.layer[2].attention.output.dense.weight[:, 24:].any()
    assert not model.bert.encoder.layer[0].output.dense.weight[:, 47].any()
    heads, neurons = importance(model, Method().loss, [LABELLED])
    for scores in (*heads, *neurons):
        assert (scores.diff() <= scores.max() * 1e-4).all()


def test_shares_of_width_and_depth():
    model = bert()
    assert shape_of(model) == full_shape(model) == WHOLE
    assert shape_of(model, 0.25, 0.5) == Shape((1, 3), (1, 1), (12, 12))
    assert shape_of(model, 0.01, 0.01) == Shape((3,), (1,), (1,))
    assert shape_of(model, 1.0, 0.75).layers == (0, 1, 3)


def test_the_loss_is_the_mean_over_the_shapes_and_the_full_one_is_the_teacher():
    model, teacher = bert(1), bert(2)
    two = [shape_of(model), shape_of(model, 0.5, 0.5)]
    alone = [Elastic(Method(), teacher, [shape])(model, LABELLED) for shape in two]
    torch.testing.assert_close(Elastic(Method(), teacher, two)(model, LABELLED), (alone[0] + alone[1]) / 2)
    probabilities = logits(teacher).softmax(-1)
    entropy = -(probabilities * probabilities.log()).sum(-1).mean()
    torch.testing.assert_close(Elastic(Method(), teacher, two[:1])(copy.deepcopy(teacher), LABELLED), entropy)


def test_small_shapes_learn_and_what_is_outside_of_them_stays():
    model, teacher = bert(1), bert(2)
    teacher.classifier.weight.data.mul_(30)
    shape = shape_of(model, 0.5, 0.5)
    outside = model.bert.encoder.layer[0].output.dense.weight.detach().clone()
    objective = Elastic(Method(), teacher, [shape])
    history = fit(model, objective, [LABELLED], steps=60, lr=3e-3, progress=False)
    assert history.losses[-1] < history.losses[0] - 0.1
    assert torch.equal(model.bert.encoder.layer[0].output.dense.weight, outside)
    assert type(model.bert.encoder.layer[1].intermediate.dense) is nn.Linear and len(model.bert.encoder.layer) == 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda: shape_of(bert(), 0.0), "above 0"),
        (lambda: shape_of(bert(), 1.0, 1.5), "at most 1"),
        (lambda: extract(bert(), Shape((4,), (1,), (1,))), "not within"),
        (lambda: extract(bert(), Shape((), (), ())), "not within"),
        (lambda: extract(bert(), Shape((0,), (5,), (1,))), "not within"),
        (lambda: extract(bert(), Shape((0,), (1,), (0,))), "not within"),
        (lambda: extract(int8.apply(bert()), WHOLE), "is quantised"),
        (lambda: Elastic(Method(), bert(), []), "no shape"),
        (lambda: LatencyPredictor([WHOLE], [1.0]), "at least 4"),
        (lambda: search(WHOLE, lambda one: 0.0, lambda one: 1.0, 0.5), "no network meets it, the smallest"),
        (lambda: search(WHOLE, lambda one: 0.0, lambda one: 1.0, float("nan")), "no network meets it"),
        (lambda: LatencyPredictor([WHOLE] * 4, [1.0, 2.0, float("nan"), 1.0]), "a time above 0"),
        (lambda: latencies(bert(), Method(), [], [WHOLE]), "0 rows"),
    ],
)
def test_what_is_refused(wrong, said):
    with pytest.raises(UsageError, match=said):
        wrong()


def test_shapes_may_be_drawn_for_each_step():
    model, teacher = bert(1), bert(2)
    two = [shape_of(model), shape_of(model, 0.5, 0.5)]
    queue = [two[:1], two[1:]]
    drawn = Elastic(Method(), teacher, lambda: queue.pop(0))
    for shape in two:
        torch.testing.assert_close(drawn(model, LABELLED), Elastic(Method(), teacher, [shape])(model, LABELLED))
    draw, other = sandwich(WHOLE, between=3), sandwich(WHOLE, between=3)
    first, second = draw(), draw()
    assert first[:2] == second[:2] == [WHOLE, smallest(WHOLE)] and len(first) == 5 and first[2:] != second[2:]
    assert [first, second] == [other(), other()]


# Search


def test_more_network_takes_more_time_and_the_model_stays():
    class Slow(Method):
        def collate(self, rows):
            return BATCH

        def logits(self, model, batch):
            time.sleep(0.004 * len(model.bert.encoder.layer))
            return super().logits(model, batch)

    model = bert().train()
    found = latencies(model, Slow(), [{}], [WHOLE, Shape((2,), (4,), (48,))], turns=2)
    assert found[0] > 16 and 4 < found[1] < 16 and model.training and len(model.bert.encoder.layer) == 4


@settings(deadline=None, max_examples=80)
@given(shapes, shapes, st.integers(0, 2**31))
def test_children_are_shapes_within_the_whole(one, other, seed):
    rng = random.Random(seed)
    for child in (one, mutated(one, WHOLE, rng), crossed(one, other, rng)):
        assert child.layers and list(child.layers) == sorted(set(child.layers)) and set(child.layers) <= {0, 1, 2, 3}
        assert all(1 <= heads <= 4 for heads in child.heads) and all(1 <= n <= 48 for n in child.neurons)
        assert len(child.layers) == len(child.heads) == len(child.neurons)
    assert mutated(one, WHOLE, rng, chance=0.0) == one


def test_the_predictor_finds_the_costs_of_a_known_machine():
    rng = random.Random(0)
    some = [random_shape(WHOLE, rng) for _ in range(40)]

    def true(shape):
        return 3 + 2 * len(shape.layers) + 0.5 * sum(shape.heads) + 0.01 * sum(shape.neurons)

    predictor = LatencyPredictor(some[:20], [true(one) for one in some[:20]])
    assert [predictor(one) for one in some[20:]] == pytest.approx([true(one) for one in some[20:]])


def test_the_search_keeps_its_limit_and_comes_near_the_best():
    """A score that grows with size, layer 2 above all; brute force over many random shapes for the best."""

    def score(shape):
        return sum(
            h + n / 12 + 5 * (layer == 2) for layer, h, n in zip(shape.layers, shape.heads, shape.neurons, strict=True)
        )

    def seconds(shape):
        return len(shape.layers) + sum(shape.heads) / 4 + sum(shape.neurons) / 48

    found, value = search(WHOLE, score, seconds, 5.0, rounds=20, population=24)
    rng = random.Random(1)
    random_best = max(score(s) for s in (random_shape(WHOLE, rng) for _ in range(4000)) if seconds(s) <= 5.0)
    assert seconds(found) <= 5.0 and value == score(found) and value >= 0.95 * random_best and 2 in found.layers
    assert search(WHOLE, score, seconds, 5.0, rounds=20, population=24) == (found, value)
    slow = WHOLE
    assert search(WHOLE, score, seconds, 5.0, first=[found, slow], rounds=0, population=2)[0] == found
