from __future__ import annotations

import pytest
import torch
from torch import nn

from labkit import checkpoints
from labkit.errors import TrainingError, UsageError
from labkit.training import Batches, fit
from tests.training.toy import (
    ROWS,
    assert_same,
    new_batches,
    new_model,
    objective,
    state,
)


def by_hand(model, batches, steps, lr=5e-4, decay=0.01, clip=1.0):
    """The same training in plain torch."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.98), fused=True)
    losses, warm = [], int(0.1 * steps)
    torch.manual_seed(0)
    for step, batch in enumerate(batches.stream(0, steps)):
        for group in optimizer.param_groups:
            group["lr"] = lr * (step + 1) / warm if step < warm else lr * ((steps - step) / (steps - warm))
        optimizer.zero_grad()
        loss = objective(model, batch)
        loss.backward()
        nn.utils.clip_grad_norm_([*matrices, *vectors], clip)  # the order decides the last bit of the norm
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_fit_is_the_loop_one_would_write():
    mine, theirs = new_model(), new_model()
    history = fit(mine, objective, new_batches(), steps=30)
    assert history.losses == by_hand(theirs, new_batches(), 30)
    assert_same(mine, theirs)
    assert history.steps == 30 and history.tokens == (5 * 4 + 2) * 4 * 5
    assert history.tokens_per_second == pytest.approx(history.tokens / history.seconds)


def test_epochs_count_batches_and_the_last_step_takes_what_is_left():
    seen = []

    def watched(model, batch):
        seen.append(len(batch["labels"]))
        return objective(model, batch)

    history = fit(new_model(), watched, new_batches(), epochs=2, accumulate=5)
    assert history.steps == 3 and len(seen) == 12 and sum(seen) == 2 * ROWS
    assert fit(new_model(), objective, new_batches()).steps == 6  # one epoch


def counted(rows, rng):
    """Of each row's four labels some do not count, as in masked language modelling."""
    labels = (torch.tensor(rows)[:, None] * torch.tensor([3, 5, 7, 11])) % 5
    labels = labels.where(torch.arange(4) <= torch.tensor(rows)[:, None] % 4, -100)
    return {"input_ids": torch.tensor(rows)[:, None].repeat(1, 4), "labels": labels, "count": (labels >= 0).sum(1)}


def token_objective(model, batch):
    assert "count" not in batch
    hidden = model[0](batch["input_ids"])  # (batch, tokens, 8)
    return nn.functional.cross_entropy(hidden[..., :5].flatten(0, 1), batch["labels"].flatten(), ignore_index=-100)


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulated_micro_batches_are_one_big_batch(accumulate):
    results = []
    for size, times in ((16, 1), (16 // accumulate, accumulate)):
        model = new_model()
        history = fit(
            model, token_objective, Batches(range(48), counted, size, shuffle=False), steps=9, accumulate=times, lr=0.01
        )
        results.append((history.losses, state(model)))
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("CUDA out of memory. Tried"), torch.OutOfMemoryError("no")]
)
def test_out_of_memory_halves_the_micro_batch_and_not_the_step(error):
    plain, cramped = new_model(0.0), new_model(0.0)

    def greedy(model, batch):
        loss = objective(model, batch)
        if len(batch["labels"]) > 1:
            loss.backward(retain_graph=True)  # gradients of a failed attempt must not stay
            raise error
        return loss

    expected = fit(plain, objective, new_batches(), steps=8)
    with pytest.warns(RuntimeWarning) as said:
        history = fit(cramped, greedy, new_batches(), steps=8)
    texts = [str(warning.message) for warning in said if warning.category is RuntimeWarning]
    assert texts == [
        f"step 1: out of memory; going on with {n} rows at once, the effective batch unchanged" for n in (2, 1)
    ]
    torch.testing.assert_close(history.losses, expected.losses)
    torch.testing.assert_close(state(plain), state(cramped), rtol=1e-4, atol=1e-5)


def test_weights_that_are_no_numbers_are_neither_kept_nor_saved(tmp_path):
    def cornered(model, batch):
        return objective(model, batch) + (0 * model[2].weight).sum().sqrt()  # 0, with the slope 0 · ∞

    with pytest.raises(TrainingError, match="step 1: it left '0.weight' with weights that are no numbers; lower lr"):
        fit(new_model(), cornered, new_batches(), steps=1, folder=tmp_path)
    assert not list(tmp_path.glob("*/*.safetensors"))


def test_no_memory_for_one_row_is_an_error():
    def greedy(model, batch):
        raise MemoryError("2 GB asked for")

    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(TrainingError, match="step 1: out of memory even with 1 row.*2 GB"),
    ):
        fit(new_model(), greedy, new_batches(), steps=3)


def test_other_errors_are_left_alone():
    def broken(model, batch):
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        fit(new_model(), broken, new_batches(), steps=3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda model, batch: model(batch["input_ids"]).sum(1), "returned a tensor of shape"),
        (lambda model, batch: 1.0, "returned float"),
        (lambda model, batch: objective(model, batch).detach(), "depends on no trainable parameter"),
    ],
)
def test_an_objective_that_gives_no_loss_is_explained(wrong, message):
    with pytest.raises(UsageError, match=message):
        fit(new_model(), wrong, new_batches(), steps=1)


def test_frozen_parameters_stay_and_nothing_to_train_is_an_error():
    model = new_model()
    model[0].requires_grad_(False)
    before = state(model)
    fit(model, objective, new_batches(), steps=4)
    assert_same(before["0.weight"], model[0].weight.data)
    assert not torch.equal(before["2.weight"], model[2].weight)
    with pytest.raises(UsageError, match="nothing to train"):
        fit(model.requires_grad_(False), objective, new_batches(), steps=1)


class Projected(nn.Module):
    """An objective with a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(5))

    def forward(self, model, batch):
        return nn.functional.cross_entropy(model(batch["input_ids"]) * self.scale, batch["labels"])

    loss = forward


@pytest.mark.parametrize("method", [False, True])
def test_parameters_of_the_objective_are_trained_and_resumed(tmp_path, method):
    def run(folder, resume, stop):
        model, mine = new_model(), Projected()
        fit(
            model,
            mine.loss if method else mine,
            new_batches(),
            steps=9,
            lr=0.01,
            folder=folder,
            resume=resume,
            on_step=stop,
        )
        return {**state(model), "scale": mine.scale.detach().clone()}

    whole = run(None, False, None)
    assert not torch.equal(whole["scale"], torch.ones(5))
    run(tmp_path, False, lambda step, loss: step == 4)
    assert_same(run(tmp_path, True, None), whole)
    assert sum(tensor.requires_grad for tensor in whole.values()) == 0


def test_divergence_stops_names_the_step_and_keeps_the_last_good_checkpoint(tmp_path):
    model = new_model()
    with pytest.raises(TrainingError, match=r"step \d+: .*; lower lr.*the last good checkpoint is .*step-0000"):
        fit(model, lambda m, b: objective(m, b) ** 2, new_batches(), lr=1e20, steps=40, schedule="constant", warmup=0.0,
            folder=tmp_path, save_every=1)  # fmt: skip
    found = checkpoints.load(tmp_path)[1]
    assert all(tensor.isfinite().all() for tensor in found.model.values())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_step_whose_loss_is_no_number_is_named_and_not_taken(tmp_path, value):
    calls = 0

    def breaks(model, batch):
        nonlocal calls
        calls += 1
        return objective(model, batch) * (value if calls == 7 else 1.0)

    model, good = new_model(), new_model()
    with pytest.raises(TrainingError, match=rf"step 7: the loss is {value}.*checkpoint is .*step-000006"):
        fit(model, breaks, new_batches(), steps=20, schedule="constant", folder=tmp_path, save_every=2)
    fit(good, objective, new_batches(), steps=20, schedule="constant", on_step=lambda step, loss: step == 6)
    assert_same(model, good)
    with pytest.raises(TrainingError, match="step 1: .*no checkpoint was written"):
        fit(model, lambda m, b: objective(m, b) * value, new_batches(), steps=2)


def test_weights_that_are_no_numbers_are_not_saved(tmp_path):
    def spoil(step, loss):
        if step == 3:
            with torch.no_grad():
                model[2].weight[0, 0] = float("nan")

    model = new_model()
    with pytest.raises(TrainingError, match="step 3: it left '2.weight' with weights that are no numbers"):
        fit(model, objective, new_batches(), steps=20, folder=tmp_path, save_every=1, on_step=spoil)
    assert checkpoints.load(tmp_path)[1].step == 2
