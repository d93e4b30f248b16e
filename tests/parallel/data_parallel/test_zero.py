"""ZeRO against plain PyTorch in one process, and against theory for the bytes kept and sent."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.zero import compared
from labkit.errors import UsageError
from labkit.parallel.data_parallel.accounting import bytes_a_parameter, bytes_sent
from labkit.parallel.data_parallel.adam import PIECE, Adam, State
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.units import units_of
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.data_parallel.zero import Zero
from labkit.parallel.processes import Here, launch
from tests.parallel.data_parallel import programs_zero as programs


def off(one, other):
    assert one.keys() == other.keys()
    return max((one[name] - other[name]).abs().max().item() for name in one)


@pytest.mark.parametrize("world", [2, 4])
def test_sharded_is_unsharded_and_bytes_are_theory(world):
    losses, weights = programs.alone("transformer")
    assert losses[-1] < losses[0]
    for rank, found in enumerate(launch(programs.stages, world)):
        for stage, one in found.items():
            assert off(one["weights"], weights) < 1e-9, (stage, rank)
            assert max(abs(a - b) for a, b in zip(one["losses"], losses, strict=True)) < 1e-9
            assert sum(one["sent"].values()) == 10 * bytes_sent(stage, world, one["size"])
            psi = sum(tensor.nbytes for tensor in weights.values())
            assert 0 <= one["size"] - psi < 3 * 8 * world  # the padding: under N numbers for each of three units
            theory = bytes_a_parameter(stage, world, "fp64")
            for kind, kept in one["held"].items():
                assert kept == theory[kind] * one["size"] / 8
    assert set(found[0]["sent"]) == {"all_reduce"}
    assert set(found[1]["sent"]) == set(found[2]["sent"]) == set(found[3]["sent"]) == {"reduce_scatter", "all_gather"}


def test_the_formulas():
    for world in (1, 2, 4, 64):
        totals = [sum(bytes_a_parameter(stage, world).values()) for stage in range(4)]
        assert totals == [16, 4 + 12 / world, 2 + 14 / world, 16 / world]
    assert sum(bytes_a_parameter(0, 8, "fp32").values()) == 16
    assert [bytes_sent(stage, 4, 400) for stage in range(4)] == [600, 600, 600, 900]
    with pytest.raises(UsageError, match="unknown precision 'bf61': did you mean 'bf16'"):
        bytes_a_parameter(1, 2, "bf61")


def test_tied_and_unused_parameters_and_micro_batches():
    found = launch(programs.others, 2)
    for name in programs.MODELS:
        _, weights = programs.alone(name, programs.STEPS, programs.ADAM)
        for one in found:
            for stage in (1, 2, 3):
                assert off(one[stage, name][0], weights) < 1e-9, (stage, name)
                assert one[stage, name][1] == 0  # nothing stays gathered after backward


def test_stage_3_has_two_units_whole_at_once():
    for most, held in launch(programs.loans, 2):
        assert most == 2  # the rest, which waits for the embeddings' gradients, and one layer
        assert held["parameters"] == held["gradients"]


def test_peak_of_live_tensors_is_predicted():
    """States by the formula, and what is there for a moment: in stage 3 two whole units and one's gradients."""
    sizes, world = {"width": 64, "layers": 24, "tokens": 2}, 2
    for found in launch(programs.peaks, world, sizes):
        for stage, (peak, units, held) in found.items():
            states = sum(bytes_a_parameter(stage, world).values()) * sum(units)
            layer, rest = 2 * max(units), 2 * units[0]
            moment = {0: layer, 1: layer, 2: 2 * layer, 3: 2 * layer + rest}[stage]
            assert abs(peak / (states + moment) - 1) < 0.05, stage
            assert held["gradients"] == 0


@pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for the bytes of a connection")
def test_the_kernel_counts_the_same_bytes():
    """What left through the sockets is what was counted, but for gloo's headers."""
    make = functools.partial(new_model, 0, torch.bfloat16, width=128, layers=2)
    for found in launch(compared, 2, "labkit", 3, 3, make):
        assert 1 <= found["sent"] / found["counted"] < 1.02
        assert found["held"]["gradients"] == found["held"]["parameters"] > 0


def test_an_engine_of_fit():
    losses, weights = programs.fitted()
    for one in launch(programs.fitted, 2):
        assert off(one[1], weights) < 1e-9  # whole again, under stage 3
        assert max(abs(a - b) for a, b in zip(one[0], losses, strict=True)) < 1e-6  # `fit` notes them in float32


def test_adam_is_torchs():
    torch.manual_seed(0)
    weights = torch.randn(PIECE + 7, dtype=torch.float64)
    theirs = nn.Parameter(weights.clone())
    reference = torch.optim.AdamW([theirs], 0.03, (0.8, 0.95), 1e-6, weight_decay=0.2)
    state, adam = State(weights.clone(), torch.float64), Adam(0.03, (0.8, 0.95), 1e-6, 0.2)
    for step in range(1, 6):
        gradient = torch.randn(len(weights), dtype=torch.float64)
        theirs.grad = gradient / 4
        reference.step()
        adam.update(state, gradient, step, 1 / 4)
    assert (state.master - theirs).abs().max() < 1e-12


def test_bad_input():
    group = Communicator(Here(0, 1))
    with pytest.raises(UsageError, match="unknown ZeRO stage '4'"):
        Zero(new_model(), loss_of, group, 4)
    with pytest.raises(UsageError, match="a batch of 8 rows cannot be shared equally by 3 ranks: take 6 or 9 rows"):
        part_of(batch_of(0, 0), 0, 3)
    with pytest.raises(UsageError, match="by 9 ranks: take 9 rows"):
        part_of(batch_of(0, 0), 0, 9)
    model = new_model()
    model.head.bias.requires_grad_(False)
    with pytest.raises(UsageError, match=r"parameter 'head.bias' is frozen"):
        Zero(model, loss_of, group)
    model = new_model()
    model.layers[2].up = model.layers[1].up
    with pytest.raises(UsageError, match=r"parameter 'layers.1.up.bias' is shared by two layers"):
        Zero(model, loss_of, group)
    model = new_model()
    model.head.weight = model.layers[0].up.weight
    with pytest.raises(UsageError, match=r"parameter 'layers.0.up.weight' is shared by two layers, or by one and the"):
        Zero(model, loss_of, group)
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(UsageError, match="the model mixes float32, float64"):
        units_of(mixed, [], 1, 0)
    with pytest.raises(UsageError, match="no parameters"):
        units_of(nn.ReLU(), [], 1, 0)


def test_under_torchrun():
    """The file itself, started by torchrun on a port that it picks: theory's bytes in the table it prints."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command += ["labkit.parallel.data_parallel.zero", "--stage", "2", "--steps", "3"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = dict(re.findall(r"^(.*?), bytes\s+(.*)$", done.stdout, re.MULTILINE))
    assert set(rows) == {"parameters", "gradients", "optimizer", "sent a step"}
    for row in rows.values():
        measured, theory = row.split()
        assert measured == theory
