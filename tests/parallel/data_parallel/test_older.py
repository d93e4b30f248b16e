"""The parameter server trains like one process, and its bytes are the formula's."""

from __future__ import annotations

from labkit.parallel.data_parallel.older import one_layer, parameter_server
from labkit.parallel.processes import launch
from tests.parallel.data_parallel import programs_zero as programs
from tests.parallel.data_parallel.test_zero import off


def both(here):
    return parameter_server(here, sizes=programs.SIZES), one_layer(here, programs.SIZES)


def test_the_server_and_the_owner_send_for_all():
    world = 4
    _, weights = programs.alone("transformer", 2)
    found = launch(both, world)
    size = sum(tensor.nbytes for tensor in weights.values())
    for rank, (server, layer) in enumerate(found):
        assert off(server["weights"], weights) < 1e-9
        assert server["sent"] == 2 * (size * (world - 1) if rank == 0 else size)
        by_owner, by_parts = layer.values()
        whole = by_parts * world // (world - 1)
        assert by_owner == (whole * (world - 1) if rank == 0 else 0)
    assert len({layer["every layer in N parts: all-gather"] for _, layer in found}) == 1
