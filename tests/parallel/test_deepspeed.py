"""The real DeepSpeed on two processes against plain PyTorch in one."""

from __future__ import annotations

import importlib.util
import sys

import pytest
import torch

from labkit import checkpoints
from labkit.errors import CheckpointError, UsageError
from labkit.parallel.deepspeed import DeepSpeedEngine, deepspeed_config, library
from labkit.parallel.processes import launch
from labkit.training import Training, fit, learning_rate
from labkit.training.engine import parameter_groups
from tests.parallel.deepspeed_programs import (
    NAMES,
    PIPED,
    SETTINGS,
    SIZE,
    batches,
    bert,
    every_stage,
    layers,
    micro_batches,
    objective,
    state,
    train,
    vars_left,
)

needed = pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed here")
pytestmark = [needed, pytest.mark.skipif(sys.platform == "win32", reason="gloo")]


@pytest.fixture(scope="module")
def alone():
    model = bert()
    return fit(model, objective, batches(), **SETTINGS).losses, state(model)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("deepspeed")


@pytest.fixture(scope="module")
def two(folder):
    """What each of two ranks found; a module's worth of runs in one launch."""
    return launch(every_stage, 2, str(folder), seconds=500.0)


@pytest.mark.parametrize(("stage", "offload"), NAMES)
def test_two_ranks_train_as_one_process_does(two, alone, stage, offload):
    """fp32: losses to 1e-6, weights to 1e-5 after 6 steps of 2 micro-batches, clipped; both ranks hold the same."""
    for rank in two:
        losses, weights, _, left = rank[stage, offload]
        torch.testing.assert_close(losses, alone[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(weights, alone[1], rtol=0, atol=1e-5)
        assert left == []


def test_each_rank_holds_its_share(two):
    """fp32 bytes a parameter: 4 + 4 + 8 whole; sharded 12/N of masters and states; gradients and parameters follow."""
    size = 4 * sum(parameter.numel() for parameter in bert().parameters())
    for rank in two:
        held = {stage: rank[stage, False][2] for stage in range(4)}
        for stage, parameters, gradients, optimizer in (
            (0, 1, 1, 2), (1, 1, 1, 1.5), (2, 1, None, 1.5), (3, 0.5, 0.5, 1.5),
        ):  # fmt: skip
            assert held[stage]["parameters"] == pytest.approx(parameters * size, rel=0.02)
            assert held[stage]["optimizer"] == pytest.approx(optimizer * size, rel=0.02)
            if gradients is not None:
                assert held[stage]["gradients"] == pytest.approx(gradients * size, rel=0.02)
        # A parameter that lies across the cut is held whole, so a little more than half.
        assert 0.4 * size < held[2]["gradients"] < 0.75 * size
    assert sum(rank[2, False][2]["gradients"] for rank in two) >= size


def test_a_run_goes_on_at_another_stage_another_world_or_without_deepspeed(two, alone, folder):
    for rank in two:
        resumed, losses, weights = rank["resumed"]
        assert resumed == 3
        torch.testing.assert_close(losses, alone[0], rtol=0, atol=1e-6)
        torch.testing.assert_close(weights, alone[1], rtol=0, atol=1e-5)
    with pytest.warns(RuntimeWarning, match="made by 2 ranks, going on with 1"):
        history, model, _ = train(2, False, 1, folder=folder / "copy0", resume=True)
    torch.testing.assert_close(history.losses, alone[0], rtol=0, atol=1e-6)
    assert history.resumed == 3 and vars_left(model) == [] and not torch.distributed.is_initialized()
    model = bert()
    with pytest.warns(RuntimeWarning, match="made by 2 ranks, going on with 1"):
        history = fit(model, objective, batches(), folder=folder / "copy1", resume=True, **SETTINGS)
    torch.testing.assert_close(history.losses, alone[0], rtol=0, atol=1e-6)
    torch.testing.assert_close(state(model), alone[1], rtol=0, atol=1e-5)


def test_bf16_keeps_fp32_masters_and_resumes_to_the_same_bits(two, alone):
    for rank in two:
        torch.testing.assert_close(rank["bf16"][0], alone[0], rtol=0, atol=5e-3)
        assert rank["bf16"][0] != alone[0]
        torch.testing.assert_close(rank["bf16 resumed"], rank["bf16"], rtol=0, atol=0)
        assert all(value.dtype != torch.bfloat16 for value in rank["bf16"][1].values())


def test_the_pipeline_trains_as_one_process_does(two):
    """1F1B over two ranks, each with some of the layers: losses to 1e-6 of the same steps in one process."""
    net, losses = torch.nn.Sequential(*layers()), []
    groups = parameter_groups(net, PIPED.weight_decay)
    adamw = torch.optim.AdamW(groups, lr=PIPED.lr, betas=PIPED.betas, eps=PIPED.eps)
    for step in range(5):
        for group in adamw.param_groups:
            group["lr"] = learning_rate(PIPED, step, 5)
        loss = sum(torch.nn.functional.cross_entropy(net(x), y) for x, y in micro_batches(step)) / 4
        loss.backward()
        adamw.step()
        adamw.zero_grad()
        losses.append(loss.item())
    for rank in two:
        torch.testing.assert_close(rank["pipeline"][0], losses, rtol=0, atol=1e-6)
        assert rank["pipeline"][2] == "3 micro-batches, and accumulate is 4"
        assert rank["pipeline"][3] == "1 layers for 2 ranks: each needs one or more"
    held = [rank["pipeline"][1] for rank in two]
    assert min(held) > 0 and sum(held) == sum(value.numel() for value in net.parameters())


def test_it_says_nothing(two):
    assert [rank["noise"] for rank in two] == ["", ""]


def test_checkpoints_hold_no_pickle(two, folder):
    path = checkpoints.steps(folder / "fp32")[0]
    assert {file.suffix for file in path.iterdir()} == {".safetensors", ".json"}
    assert checkpoints.read(path).optimizer.keys() >= {"exp_avg:model.classifier.bias", "step:model.classifier.bias"}


def engine(**settings):
    chosen = Training(**{**SETTINGS, **settings})
    return DeepSpeedEngine(bert(), objective, chosen, deepspeed_config(chosen, 1, rows=SIZE))


def test_an_engine_refuses_what_it_cannot_do(monkeypatch):
    with pytest.raises(UsageError, match="precision 'fp16' needs a GPU"):
        engine(precision="fp16")
    settings = Training(**SETTINGS)
    with pytest.raises(UsageError, match=r"this model is in float64: call model\.float\(\)"):
        DeepSpeedEngine(bert().double(), objective, settings, deepspeed_config(settings, 1))
    with engine() as one, pytest.raises(CheckpointError, match="'exp_avg:elsewhere' fits no trainable parameter"):
        one.load_state_dict({"exp_avg:elsewhere": torch.zeros(1)}, {})
    monkeypatch.setitem(sys.modules, "deepspeed", None)
    with pytest.raises(UsageError, match="deepspeed is not installed here .*: DS_BUILD_OPS=0 pip install"):
        library()
