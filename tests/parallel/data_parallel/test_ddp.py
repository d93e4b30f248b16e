"""DDP from parts against plain PyTorch in one process."""

from __future__ import annotations

import pytest

from labkit.parallel.data_parallel.ddp import buckets_of
from labkit.parallel.data_parallel.workload import new_model
from labkit.parallel.processes import launch
from tests.parallel.data_parallel import programs_zero as programs
from tests.parallel.data_parallel.test_zero import off


@pytest.mark.parametrize("world", [2, 4])
def test_equal_to_one_process(world):
    losses, weights = programs.alone("transformer", 10, programs.FAST)
    _, unpooled = programs.alone("pooler", programs.STEPS, programs.ADAM)
    size = sum(tensor.nbytes for tensor in weights.values())
    for found in launch(programs.ddp, world):
        for name in ("one", "many", "after"):
            run = found[name]
            assert off(run["weights"], weights) < 1e-9, name
            assert max(abs(a - b) for a, b in zip(run["losses"], losses, strict=True)) < 1e-9
            assert set(run["sent"]) == {"all_reduce"}
            theory = 10 * 2 * (world - 1) / world * size
            assert abs(run["sent"]["all_reduce"] - theory) <= 10 * run["buckets"] * 2 * 8
        assert found["one"]["buckets"] == 1
        assert found["many"]["buckets"] == found["after"]["buckets"] > 2
        assert off(found["pooler"], unpooled) < 1e-9
        assert found["frozen"] == "no parameter of the model requires a gradient: there is nothing to train"
        buckets = found["many"]["buckets"]
        assert found["sent off in backward"] == {"many": buckets, "after": 0}


def test_buckets_go_from_the_last_parameter_to_the_first():
    model = new_model(**programs.SIZES)
    found = buckets_of(model, 4000)
    parameters = [parameter for bucket in found for parameter in bucket.parameters]
    assert [id(p) for p in parameters] == [id(p) for p in reversed(list(model.parameters()))]
    sizes = [sum(p.nbytes for p in bucket.parameters) for bucket in found]
    assert all(size >= 4000 for size in sizes[:-1])
    assert all(size - bucket.parameters[-1].nbytes < 4000 for size, bucket in zip(sizes, found, strict=True))
