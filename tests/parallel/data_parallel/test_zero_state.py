"""Checkpoints of ZeRO: taken up by as many ranks as there are now, or refused in a sentence."""

from __future__ import annotations

import pytest

from labkit.errors import CheckpointError
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.workload import loss_of, new_model
from labkit.parallel.data_parallel.zero import Zero
from labkit.parallel.data_parallel.zero_state import load, save
from labkit.parallel.processes import Here, launch
from tests.parallel.data_parallel import programs_zero as programs
from tests.parallel.data_parallel.test_zero import off


def test_a_run_goes_on_in_other_worlds_and_stages(tmp_path):
    """2 ranks under stage 3, 1 under 0, 4 under 1, 2 under 2: the same run as one process without a stop."""
    losses, weights = programs.alone("transformer", 5)
    seen = []
    for world, stage, until in ((2, 3, 2), (1, 0, 3), (4, 1, 4), (2, 2, 5)):
        found = launch(programs.resumed, world, str(tmp_path), stage, until)
        seen += found[0][0]
        assert all(steps == until - len(seen) + len(found[0][0]) for *_, steps in found)
    assert max(abs(a - b) for a, b in zip(seen, losses, strict=True)) < 1e-9
    assert off(found[0][1], weights) < 1e-9
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"rank-{rank}-of-2" for rank in range(2)), "rank-0-of-1", *(f"rank-{rank}-of-4" for rank in range(4))
    }  # fmt: skip


def small(**sizes):
    return Zero(
        new_model(**{"width": 8, "layers": 1, "tokens": 8, **sizes}), loss_of, Communicator(Here(0, 1)), 1, "fp32"
    )


def test_what_does_not_fit_is_refused(tmp_path):
    assert load(small(), tmp_path / "none") is None
    path = save(small(), tmp_path / "a")
    with pytest.raises(
        CheckpointError, match=r"of another model: parameter 'head.bias' is \(31,\) in it, \(30,\) here"
    ):
        load(small(vocabulary=30), tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"parameter 'layers.1.before.bias' is absent in it, \(8,\) here"):
        load(small(layers=2), tmp_path / "a")
    other = Zero(new_model(width=8, layers=1, tokens=8), loss_of, Communicator(Here(0, 1)), 1, "fp32", layers=())
    with pytest.raises(CheckpointError, match="cut into other layers"):
        load(other, tmp_path / "a")
    file = path / "step-000000" / "optimizer.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="altered"):
        load(small(), tmp_path / "a")


def test_a_missing_part_is_named_or_an_older_step_is_taken(tmp_path):
    model = small()
    whole = save(model, tmp_path)
    whole.rename(tmp_path / "rank-0-of-2")
    with pytest.raises(CheckpointError, match=r"no step has the parts of all its ranks \(there: rank-0-of-2\)"):
        load(small(), tmp_path)
    save(model, tmp_path)
    model.steps = 7
    save(model, tmp_path)
    (tmp_path / "rank-0-of-1").rename(tmp_path / "rank-1-of-2")  # the second rank came to step 7, the first did not
    assert load(small(), tmp_path) == 0
