"""Plans against ZeRO's figures, against the measured model, and what mends one that does not fit."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labkit.errors import UsageError
from labkit.parallel.memory import anatomy
from labkit.parallel.memory.peaks import Techniques, measured
from labkit.parallel.memory.plan import Plan, changes, plan, search
from labkit.parallel.memory.shape import ModelShape, preset

GB = 1e9


def test_one_gpu_is_the_measured_model():
    shape = ModelShape(6, 64, 4, 256, 64)
    for use in (Techniques(), Techniques("bf16"), Techniques("bf16", "fused")):
        one = plan(shape, 1, GB, 4, 64, rows=4, dtype=use.dtype, attention=use.attention)
        assert one.total == pytest.approx(measured(shape, 4, 64, use).peak, rel=0.05)
        assert sum(one.sent.values()) == 0 and one.fits and one.mend() == one


def test_states_and_traffic_of_zero():
    shape = preset("gpt2-xl")
    for stage, factor in ((0, 2), (1, 2), (2, 2), (3, 3)):
        one = plan(shape, 64, 80 * GB, 64, 512, stage=stage)
        states = anatomy.state_bytes(shape.parameters, "bf16", stage, 64)
        assert one.parts["optimizer"] == states.optimizer and one.parts["gradients"] == states.gradients
        assert one.sent["data"] == pytest.approx(factor * shape.parameters * 2 * 63 / 64)
        assert (one.parts["buffers"] > 0) == (stage >= 2)
    twice = plan(shape, 64, 80 * GB, 128, 512, stage=3)
    assert twice.micro == 2 and twice.sent["data"] == pytest.approx(6 * shape.parameters * 2 * 63 / 64)


def test_tensor_and_pipeline_parallel_traffic():
    shape = preset("fewclue-1.2b")
    one = plan(shape, 8, 32 * GB, 16, 512, tensor=2, pipe=4)
    edge = 512 * 2048 * 2
    assert (one.data, one.micro) == (1, 16)
    assert one.sent["tensor"] == 4 * 6 * 16 * 2 * 1 / 2 * edge and one.sent["pipe"] == 2 * 16 * edge
    assert plan(shape, 8, 32 * GB, 16, 512, tensor=2, pipe=4, every=1).sent["tensor"] == 1.5 * one.sent["tensor"]


def test_the_articles_model_on_eight_cards_and_the_nearest_mend():
    fits = plan(preset("fewclue-1.2b"), 8, 32 * GB, 1024, 512)
    assert fits.fits and fits.total == pytest.approx(21.06 * GB, rel=0.01)
    tight = plan(preset("fewclue-1.2b"), 8, 16 * GB, 1024, 512)
    mended = tight.mend()
    assert not tight.fits and mended.fits and tight.differences(mended) == ["ZeRO stage 1"]
    big = plan(preset("gpt3-175b"), 64, 80 * GB, 1024, 2048)
    mended = big.mend()
    assert not big.fits and mended.fits and mended.gpus >= 64 and big.differences(mended)
    assert Plan(preset("gpt3-175b"), 1e6, 1, 1).mend() is None


def test_search_gives_what_fits_the_cheapest_first():
    found = search(preset("fewclue-1.2b"), 8, 32 * GB, 64, 512)
    assert found and all(one.fits and one.gpus == 8 and one.batch == 64 for one in found)
    keys = [(one.every > 0, sum(one.sent.values())) for one in found]
    assert keys == sorted(keys)
    assert not search(preset("gpt3-175b"), 8, 80 * GB, 64, 2048)
    large = search(preset("gpt3-175b"), 1024, 80 * GB, 1536, 2048)
    assert large and large[0].gpus == 1024


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["bert-base", "gpt2-xl", "gpt3-175b"]), st.integers(0, 3), st.sampled_from([1, 2, 4]),
    st.sampled_from([1, 2, 4]), st.sampled_from([1, 4, 16]), st.sampled_from([0, 1, 4]),
)  # fmt: skip
def test_more_of_anything_never_needs_more(name, stage, tensor, pipe, data, every):
    shape = preset(name)
    if shape.heads % tensor:
        return
    one = Plan(shape, GB, 64, 512, data=data, tensor=tensor, pipe=pipe, stage=stage, every=every)
    if stage == 0:
        for more in (1, 2, 3):
            other = Plan(shape, GB, 64, 512, data=data, tensor=tensor, pipe=pipe, stage=more, every=every)
            kinds = ("weights", "gradients", "optimizer")
            assert all(other.parts[kind] <= one.parts[kind] for kind in kinds)
    assert all(value >= 0 for value in [*one.parts.values(), *one.sent.values()])
    assert all(other.batch == one.batch for other in changes(one))


def test_bad_input():
    shape = preset("bert-base")
    for make, message in (
        (lambda: plan(shape, 8, GB, 8, 512, tensor=3), "tensor · pipe = 3 does not divide 8 GPUs"),
        (lambda: plan(shape, 5, GB, 5, 512, tensor=5), "5 tensor-parallel ranks do not divide 12 heads"),
        (lambda: plan(shape, 5, GB, 5, 512, pipe=5), "5 pipeline stages do not divide 12 layers"),
        (lambda: plan(shape, 8, GB, 12, 512), "batch of 12 cannot be shared out among 8 data-parallel ranks, 1 rows"),
        (lambda: plan(shape, 1, GB, 1, 513), "513 tokens are more than the model's 512 positions"),
        (lambda: plan(shape, 1, GB, 1, 512, stage=5), "ZeRO stage 5"),
        (lambda: plan(shape, 0, GB, 1, 512), "does not divide 0 GPUs"),
        (lambda: search(shape, 0, GB, 1, 512), "0 GPUs: a run needs 1 or more"),
        (lambda: Plan(shape, GB, 0, 512), "1 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            make()
