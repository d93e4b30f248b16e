"""The split model against the plain one, with real processes; cutting and joining without."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional

from labkit.errors import UsageError
from labkit.parallel.model_parallel.model import LanguageModel, Shape, batch, build
from labkit.parallel.model_parallel.partition import inputs, on_layouts, partition_bytes
from labkit.parallel.model_parallel.tensor_parallel import (
    bytes_sent,
    cut_dimension,
    join,
    part,
    ring_bytes,
    split,
)
from labkit.parallel.processes import launch
from tests.parallel.model_parallel import programs

SHAPE = Shape(vocabulary=24, positions=6, width=16, heads=4, layers=2, tied=True)
ROWS = 2


def rank_of(ranks, rank=0):
    """A group for what needs no messages."""
    return SimpleNamespace(world=ranks, rank=rank)


@pytest.fixture(scope="module", params=[2, 4])
def ranks(request):
    return launch(programs.tensor_parallel, request.param, SHAPE, ROWS)


@pytest.fixture(scope="module")
def plain():
    model = build(SHAPE)
    loss = model(*batch(SHAPE, ROWS, step=0))
    loss.backward()
    return loss.item(), programs.gradients(model)


def test_the_loss_of_the_plain_model_on_every_rank(ranks, plain):
    assert all(loss == pytest.approx(plain[0], abs=1e-9) for loss, *_ in ranks)


def test_every_rank_has_its_part_of_the_plain_models_gradients(ranks, plain):
    for rank, (_, found, *_) in enumerate(ranks):
        assert set(found) == set(plain[1])
        for name, gradient in plain[1].items():
            torch.testing.assert_close(found[name], part(name, gradient, rank, len(ranks)), rtol=0, atol=1e-9)
    whole = join([found for _, found, *_ in ranks])
    assert all(torch.allclose(whole[name], gradient, rtol=0, atol=1e-9) for name, gradient in plain[1].items())


def test_bytes_are_the_closed_form(ranks):
    tokens, world = ROWS * SHAPE.positions, len(ranks)
    hidden = ring_bytes(tokens * SHAPE.width, world)
    assert hidden == 2 * (world - 1) * tokens * SHAPE.width * 8 // world
    for _, _, forward, sent, *_ in ranks:
        # forward: the embedding, two in each block, and two numbers a token of the cross-entropy
        assert forward["all_reduce"] == (1 + 2 * SHAPE.layers) * hidden + ring_bytes(2 * tokens, world)
        assert sent == bytes_sent(SHAPE.layers, tokens, SHAPE.width, world)
    assert bytes_sent(3, 8, 4, 2, ends=False) == 3 * 4 * ring_bytes(32, 2) and bytes_sent(3, 8, 4, 1) == 0


def test_cross_entropy_of_split_logits_is_torchs_where_exp_would_overflow(ranks):
    logits = programs.extreme(SHAPE).requires_grad_()
    value = functional.cross_entropy(logits, torch.arange(len(logits)) % SHAPE.vocabulary)
    value.backward()
    assert all(found[0] == pytest.approx(value.item(), abs=1e-9) for *_, found, _ in ranks)
    joined = torch.cat([found[1] for *_, found, _ in ranks], 1)
    torch.testing.assert_close(joined, logits.grad, rtol=0, atol=1e-9)


def test_every_word_is_found_by_the_rank_that_has_it(ranks):
    assert all(torch.equal(vectors, torch.eye(SHAPE.vocabulary)) for *_, vectors in ranks)


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("tied", [True, False])
def test_parts_join_to_the_whole_and_tied_weights_stay_tied(count, tied):
    model = build(Shape(**{**vars(SHAPE), "tied": tied}))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    parts = [split(model, rank_of(count, rank)) for rank in range(count)]
    for one in parts:
        assert (one.head.output.weight is one.embedding.words.weight) == tied
    whole = join([one.state_dict() for one in parts])
    assert list(whole) == list(before)
    assert all(torch.equal(whole[name], before[name]) for name in before)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    LanguageModel(model.shape).double().load_state_dict(whole)


def test_large_weights_are_cut_and_small_ones_are_not():
    cut = {name for name in build(SHAPE).state_dict() if cut_dimension(name) is not None}
    whole = set(build(SHAPE).state_dict()) - cut
    assert {name.split(".", 2)[-1] for name in whole if name.startswith("blocks.0")} == {
        "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias", "attention.out.bias", "down.bias"
    }  # fmt: skip
    assert {"embedding.words.weight", "head.output.weight"} <= cut and "embedding.places.weight" in whole


def test_the_model_is_causal_and_its_data_a_function_of_the_step():
    model, (tokens, targets) = build(SHAPE), batch(SHAPE, 3, step=5)
    assert torch.equal(tokens[:, 1:], targets[:, :-1]) and torch.equal(tokens, batch(SHAPE, 3, 5)[0])
    assert not torch.equal(tokens, batch(SHAPE, 3, 6)[0])
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % SHAPE.vocabulary
    model.head = None
    a, b = model(tokens, targets), model(changed, targets)
    assert torch.equal(a[:, :-1], b[:, :-1]) and not torch.equal(a[:, -1], b[:, -1])


LAYOUTS = [(4, 1), (2, 2), (1, 4)]


def test_the_row_and_column_partition_is_the_plain_layer_and_its_bytes_are_the_closed_form():
    rows, width = 8, 4
    found = launch(on_layouts, 4, [(data, model, rows) for data, model in LAYOUTS], width)
    X, A, B = (tensor.requires_grad_() for tensor in inputs(rows, width))
    Y = functional.gelu(X @ A) @ B
    (Y.square().sum() / 2).backward()
    for number, (data, model) in enumerate(LAYOUTS):
        for rank, answers in enumerate(found):
            y, (x, a, b), sent = answers[number]
            row, column = divmod(rank, model)
            wanted = [
                Y.detach().chunk(data)[row], X.grad.chunk(data)[row], A.grad.chunk(model, 1)[column],
                B.grad.chunk(model)[column],
            ]  # fmt: skip
            for ours, plain in zip((y, x, a, b), wanted, strict=True):
                torch.testing.assert_close(ours, plain, rtol=0, atol=1e-12)
            assert sent == partition_bytes(data, model, rows, width)


@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda: split(build(SHAPE), rank_of(3)), "4 heads cannot be shared by 3 ranks: a head stays whole"),
        (
            lambda: split(build(Shape(vocabulary=25, width=16, layers=1)), rank_of(2)),
            r"embedding.words.weight: 25 cannot be cut into 2 equal parts; choose a size that is a multiple of 2",
        ),
        (lambda: Shape(width=30, heads=4), "width 30 must be a multiple of the number of heads, 4"),
        (lambda: Shape(layers=0), "layers must be 1 or more, not 0"),
    ],
)
def test_what_does_not_divide_is_refused(do, message):
    with pytest.raises(UsageError, match=message):
        do()
