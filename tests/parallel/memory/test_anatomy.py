"""Weights against transformers and papers; bytes against ZeRO's and Korthikanti's figures, and against measurement."""

from __future__ import annotations

import pytest
import torch
import transformers

from labkit.errors import UsageError
from labkit.measure import parameters, peak_memory
from labkit.parallel.memory import anatomy
from labkit.parallel.memory.checkpointing import kept
from labkit.parallel.memory.model import Transformer
from labkit.parallel.memory.peaks import Techniques, measured, peak, watched
from labkit.parallel.memory.picture import course_plot
from labkit.parallel.memory.shape import PRESETS, ModelShape, preset
from labkit.parallel.memory.tracker import KINDS, LiveTensors

SMALL = ModelShape(6, 64, 4, 512, 64)


@pytest.mark.parametrize(("name", "count"), [("bert-base", 109_482_240), ("bert-large", 335_141_888)])
def test_berts_weights_are_counted_as_transformers_has_them(name, count):
    shape = preset(name)
    sizes = {"vocab_size": shape.vocabulary, "hidden_size": shape.width, "num_hidden_layers": shape.layers}
    sizes |= {"num_attention_heads": shape.heads, "intermediate_size": shape.inner}
    with torch.device("meta"):
        model = transformers.BertModel(transformers.BertConfig(**sizes))
    assert shape.parameters == sum(p.numel() for p in model.parameters()) == count


def test_published_totals():
    assert preset("gpt2").parameters == 124_439_808
    assert preset("gpt2-xl").parameters == 1_557_611_200
    assert preset("gpt3-175b").parameters == pytest.approx(175e9, rel=0.01)
    assert preset("fewclue-1.2b").parameters == pytest.approx(1.2e9, rel=0.05)
    assert all(shape.layer == pytest.approx(12 * shape.width**2, rel=0.01) for shape in PRESETS.values())


def test_zeros_figure():
    """Rajbhandari et al. 2020, figure 1: 7.5 billion weights on 64 GPUs."""
    totals = [anatomy.state_bytes(7.5e9, "bf16", stage, 64).total / 1e9 for stage in range(4)]
    assert totals == pytest.approx([120, 31.4, 16.6, 1.9], abs=0.05)
    assert anatomy.state_bytes(1, "fp32").total == anatomy.state_bytes(1, "fp16").total == 16
    for n in (1, 2, 7):
        formulas = [16, 4 + 12 / n, 2 + 14 / n, 16 / n]
        assert [anatomy.state_bytes(1, "bf16", stage, n).total for stage in range(4)] == pytest.approx(formulas)


@pytest.mark.parametrize("tensor", [1, 2, 8])
def test_activations_are_korthikantis_less_dropout(tensor):
    """sbh (10 + 24/t + 5as/ht) bytes, of which dropout's masks and outputs are sbh (2) and 3as²b/t."""
    s, b, h, a = 2048, 2, 12_288, 96
    assert 5 * a * s / h == 80  # as the paper says for GPT-3
    with_dropout = s * b * h * (10 + 24 / tensor) + 5 * a * s * s * b / tensor
    dropout = 2 * s * b * h + 3 * a * s * s * b / tensor
    found = anatomy.layer_activations(preset("gpt3-175b"), b, s, "fp16", tensor=tensor)
    assert found == pytest.approx(with_dropout - dropout, rel=1e-3)


TECHNIQUES = [
    Techniques(),
    Techniques(attention="fused"),
    Techniques(micro=4),
    Techniques(every=1),
    Techniques(every=2),
    Techniques(every=4),
    Techniques("bf16"),
    Techniques("fp16", every=6),
    Techniques("bf16", "fused", 1, 2),
]


@pytest.mark.parametrize("use", TECHNIQUES, ids=str)
def test_the_measured_peak_is_within_five_per_cent_of_the_predicted(use):
    found, said = measured(SMALL, 4, 64, use).peak, peak(SMALL, 4, 64, use)
    assert found == pytest.approx(said.total, rel=0.05)
    assert said.states.total == 16 * SMALL.parameters


@pytest.mark.parametrize("shape", [ModelShape(4, 32, 2, 2000, 32), ModelShape(2, 96, 3, 100, 16, inner=96)])
def test_other_shapes(shape):
    for batch in (1, 16):
        for every in (0, 1):
            said = peak(shape, batch, 16, Techniques(every=every))
            assert measured(shape, batch, 16, Techniques(every=every)).peak == pytest.approx(said.total, rel=0.05)


def test_the_tracker_counts_as_measure_does():
    ids = torch.zeros(2, 8, dtype=torch.long)

    def work():
        model = Transformer(SMALL)
        model(ids, ids).backward()
        return model

    live = LiveTensors()
    with live, live.phase("all"):
        model = work()
    assert live.peak == peak_memory(work) and parameters(model) == SMALL.parameters
    live.name(model)
    course = live.course()
    assert max(sum(now.values()) for now in course) == pytest.approx(live.peak, rel=0.02)
    assert course[-1]["weights"] == course[-1]["gradients"] == 4 * SMALL.parameters
    assert list(course[0]) == list(KINDS) and {life.phase for life in live.lives} == {"all"}
    del model
    assert live.open  # nothing is counted once the watch is over


def test_checkpoints_are_best_near_the_square_root():
    for layers, whole in ((16, 1), (64, 1), (48, 4)):
        costs = {every: kept(layers, every, 1, whole) for every in range(1, layers + 1)}
        assert abs(min(costs, key=costs.__getitem__) - (layers / whole) ** 0.5) < 1
        assert kept(layers, 0, 1, whole) == layers * whole


def test_a_step_of_ones_own_is_watched_and_drawn():
    ids = torch.zeros(4, 8, dtype=torch.long)

    def in_halves(loss_of):
        for part in ids.split(2):
            (loss_of(part, "sum") / ids.numel()).backward()

    whole, halves = (watched(lambda: Transformer(SMALL), step) for step in (lambda f: f(ids).backward(), in_halves))
    assert whole.peak == measured(SMALL, 4, 8).peak and halves.peak == measured(SMALL, 4, 8, Techniques(micro=2)).peak
    assert [one.phase for one in halves.lives if one.phase != "make"][0] == "forward"
    drawn = course_plot({"whole": whole, "halves": halves}, {"whole": 2e6, "halves": 1e6})
    assert "predicted 2.00 MB; halves: at most" in drawn.alt
    with pytest.raises(UsageError, match="at least one watched run"):
        course_plot({})


def test_bad_input():
    for make, message in (
        (lambda: ModelShape(2, 10, 3, 5, 5), "3 heads do not divide a width of 10: choose a divisor"),
        (lambda: ModelShape(0, 10, 2, 5, 5), "layers must be 1 or more, not 0"),
        (lambda: preset("bert-bas"), "unknown model shape 'bert-bas': did you mean 'bert-base'"),
        (lambda: anatomy.state_bytes(1, "fp8"), "unknown precision 'fp8'"),
        (lambda: anatomy.state_bytes(1, "bf16", 4), "ZeRO stage 4 on 1 ranks: stages are 0"),
        (lambda: anatomy.layer_activations(SMALL, 1, 1, attention="flash"), "unknown attention 'flash'"),
        (lambda: peak(SMALL, 8, 64, Techniques(micro=3)), "8 rows cannot be divided into 3 equal"),
    ):
        with pytest.raises(UsageError, match=message.replace("(", r"\(")):
            make()
