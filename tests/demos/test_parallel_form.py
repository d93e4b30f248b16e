"""The planning demo without its page: what is typed becomes a plan or a sentence, a plan HTML that is true."""

from __future__ import annotations

import dataclasses
import re

import pytest

from labkit.demos.parallel import showing
from labkit.demos.parallel.form import FIELDS, LIMITS, MODELS, OWN, Form, changed, of_model, to_plan
from labkit.demos.parallel.page import on_mend, on_model, on_plan, on_start
from labkit.demos.parallel.starts import STARTS
from labkit.errors import UsageError
from labkit.parallel.memory.plan import search
from labkit.parallel.memory.shape import PRESETS
from tests.served import MARKUP

ARTICLE = on_start("1.2 billion, 8 GPUs")


def but(form=ARTICLE, **numbers):
    return dataclasses.replace(form, **numbers)


def text(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html).split())


def test_starts_show_what_they_say():
    plans = {name: to_plan(start.form) for name, start in STARTS.items()}
    assert [plan.fits for plan in plans.values()] == [False, False, True, True]
    bert, article, alone, three = plans.values()
    assert bert.parts["activations"] > bert.total / 2
    assert dataclasses.replace(bert, every=1).fits and dataclasses.replace(bert, rows=16).fits
    assert article.parts["optimizer"] > article.total / 2
    assert (three.data, three.tensor, three.pipe) == (4, 8, 12) and three.gpus == alone.gpus == alone.data == 384
    assert three.sent["data"] < three.sent["tensor"] / 100
    assert all(start.form.length == to_plan(start.form).shape.positions for start in STARTS.values())


def test_the_figures_of_a_plan_by_hand():
    """16 bytes a weight: 2 + 2 + 12; stage 1 on 8 ranks 2 + 2 + 12/8; 2 (N − 1)/N gradients of 2 bytes are sent."""
    weights = PRESETS["fewclue-1.2b"].parameters
    verdict, memory, traffic, table, mendable = on_plan(ARTICLE)
    assert mendable
    assert f"weights {2 * weights / 1e9:.3g} GB gradients {2 * weights / 1e9:.3g} GB" in text(memory)
    assert f"optimizer {12 * weights / 1e9:.3g} GB" in text(memory)
    stages = re.findall(r"(no ZeRO|ZeRO \d) ([\d.]+) GB, (fits|too much)", text(memory))
    totals = [float(total) for _, total, _ in stages]
    shares = [16, 4 + 12 / 8, 2 + 14 / 8, 16 / 8]
    assert [name for name, *_ in stages] == ["no ZeRO", "ZeRO 1", "ZeRO 2", "ZeRO 3"]
    for stage in (1, 2, 3):  # the activations are the same; stages 2 and 3 hold a layer whole
        saved = (shares[0] - shares[stage]) * weights / 1e9
        assert totals[0] - totals[stage] == pytest.approx(saved, abs=0.25)
    assert [word for *_, word in stages] == ["too much", "fits", "fits", "fits"]
    assert f"Sent by one GPU in a step: {2 * 7 / 8 * 2 * weights / 1e9:.3g} GB" in text(traffic)
    assert "Nearest mend: ZeRO stage 1. Then" in text(verdict)
    assert "8 data × 1 tensor × 1 pipeline = 8 GPUs; each rank takes 128 micro-batches of 1 × 512 tokens" in text(
        verdict
    )


def test_bars_are_as_long_as_their_numbers():
    plan = to_plan(ARTICLE)
    now = re.search(r'class="line now">(.*?)</div>', showing.memory(plan)).group(1)
    widths = [float(width) for width in re.findall(r"width:([\d.]+)%", now)]
    mark = float(re.search(r'<b style="left:([\d.]+)%', now).group(1))
    for width, part in zip(widths, showing.PARTS, strict=True):
        assert width / mark == pytest.approx(plan.parts[part] / plan.memory, abs=0.001)
    assert max(sum(widths), mark) <= 100


def test_the_table_holds_layouts_that_fit_and_marks_ones_own():
    plan = to_plan(but(stage="1"))
    found = search(plan.shape, 8, plan.memory, plan.batch, plan.length)
    table = showing.layouts(plan, found)
    rows = [text(row) for row in re.findall(r"<tr.*?</tr>", table)[1:]]
    assert len(rows) == showing.MOST and all("×" in row for row in rows)
    sizes = [[float(number) for number in re.findall(r"([\d.]+) GB", row)][0] for row in rows]
    assert max(sizes) <= 16
    assert "1 × 1 × 8 none no 1 to 8 4 GB 4.29 GB 0.68 %" in rows  # 7 / (1024 + 7)
    mine = next(row for row in rows if row.startswith("8 × 1 × 1 1 no"))
    assert mine.endswith(f"{showing.size(plan.total)} {showing.size(plan.sent['data'])} –")
    own = re.findall(r'<tr class="now">.*?</tr>', showing.layouts(plan, [one for one in found if one.data == 8]))
    assert [text(row)[:14] for row in own] == ["8 × 1 × 1 1 no"]
    assert "None: the run needs more or larger GPUs" in showing.layouts(plan, [])


@pytest.mark.parametrize("form", [start.form for start in STARTS.values()], ids=list(STARTS))
def test_a_mend_taken_is_the_plan_that_was_offered(form):
    form = but(form, memory=12)
    mended = to_plan(form).mend()
    taken = on_mend(form)
    assert (to_plan(taken) == mended) if mended else taken == form
    if mended:
        verdict = on_plan(taken)[0]
        assert "It fits" in verdict and not on_plan(taken)[4]


def test_what_fits_or_cannot_be_planned_is_left_as_it_is():
    fits = but(stage="1")
    assert to_plan(on_mend(fits)) == to_plan(fits)
    assert on_mend(but(gpus=0)) == but(gpus=0)
    assert changed(fits, to_plan(fits)) == fits


BAD = [
    ({"gpus": 6, "tensor": 4}, "tensor · pipe = 4 does not divide 6 GPUs: choose a divisor"),
    ({"gpus": 7}, "a batch of 1024 cannot be shared out among 7 data-parallel ranks"),
    ({"rows": 3}, "choose a multiple of 24"),
    ({"tensor": 5, "gpus": 5}, "5 tensor-parallel ranks do not divide 32 heads"),
    ({"pipe": 5, "gpus": 5}, "5 pipeline stages do not divide 24 layers"),
    ({"length": 513}, "513 tokens are more than the model&#x27;s 512 positions"),
    ({"gpus": 0}, "GPUs: 0, choose 1 to 16,384"),
    ({"gpus": 10**9}, "GPUs: 1,000,000,000, choose 1 to 16,384"),
    ({"gpus": 1.5}, "GPUs: 1.5 is no whole number"),
    ({"batch": -4}, "Batch: -4, choose 1 to"),
    ({"batch": None}, "Batch: it is empty, type a number"),
    ({"every": 25}, "Checkpoint every: 25 layers are more than the model&#x27;s 24"),
    ({"memory": 0}, "GPU memory: 0 GB, choose 1 to 1000"),
    ({"memory": float("nan")}, "GPU memory: that is no number of this page&#x27;s size"),
    ({"memory": float("inf")}, "no number of this page&#x27;s size"),
    ({"length": "512"}, "Sequence: that is no number of this page&#x27;s size"),
    ({"rows": True}, "Rows at a time: that is no number"),
    ({"stage": "4"}, "ZeRO stage: &#x27;4&#x27;, choose none, 1, 2, 3"),
    ({"dtype": "int8"}, "choose fp32 or bf16 or fp16 as number format"),
    ({"model": "bert-bse"}, "unknown model shape &#x27;bert-bse&#x27;"),
    ({"model": MARKUP}, "&lt;img src=x onerror=window.hit=1&gt;"),
    ({"model": OWN, "width": 100, "heads": 3}, "3 heads do not divide a width of 100"),
    ({"model": OWN, "layers": 10**400}, "Layers: that is no number of this page&#x27;s size"),
]


@pytest.mark.parametrize(("numbers", "words"), BAD)
def test_what_cannot_be_planned_is_one_sentence(numbers, words):
    verdict, *rest, mendable = on_plan(but(**numbers))
    assert words in verdict
    assert rest == ["", "", ""] and not mendable
    assert "<img" not in verdict


def test_every_number_of_the_page_is_bounded():
    """The largest of all at once are planned, or refused, and quickly enough to type at."""
    largest = {name: most for name, (_, _, most) in LIMITS.items()}
    assert "cannot be planned" in on_plan(Form(model=OWN, memory=1000, **largest))[0]
    giant = {"layers": 1000, "width": 65_536, "heads": 1024, "vocabulary": 2_000_000, "positions": 10**6}
    verdict = on_plan(Form(OWN, **giant, gpus=16_384, memory=1000, batch=16_384, length=10**6))[0]
    assert "does not fit" in verdict


def test_a_model_brings_its_numbers_and_own_ones_begin_with_them():
    found = on_model(but(model="gpt3-175b"))
    assert (found.layers, found.width, found.heads, found.length) == (96, 12_288, 96, 2048)
    assert (found.gpus, found.batch) == (8, 1024)  # the rest stays
    own = but(found, model=OWN)
    assert on_model(own) == own
    assert to_plan(but(own, gpus=8)).shape.parameters == PRESETS["gpt3-175b"].parameters
    assert MODELS[-1] == OWN and all(name in PRESETS for name in MODELS[:-1])
    with pytest.raises(UsageError, match="did you mean 'gpt2'"):
        of_model("gpt-2")


def test_fields_are_those_of_the_form():
    assert set(LIMITS) < set(FIELDS)
    assert len(FIELDS) == 17
