"""Passes in a declared order: what is refused before anything runs, what each leaves, and the way back."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from torch import nn
from transformers import BertConfig, BertForSequenceClassification

from labkit.compression import compose, exporting, int8
from labkit.compression.compose import (
    CutHeads,
    Distill,
    DropLayers,
    Material,
    Prune,
    Quantize,
    Shrink,
    check_order,
    compress,
    parse,
)
from labkit.compression.distill import join_teacher, teacher_logits
from labkit.compression.elastic import full_shape
from labkit.compression.pruning import remove_heads, sparsity_of
from labkit.errors import LabkitError, UsageError

ROWS = [{"text": f"the film was {word} {end}"} for word in ("good", "bad", "fine", "dull") for end in (".", "great")]
EVERYTHING = "droplayers:2 cutheads:0.5,2 distill:3,2 prune:0.5,4 distill:3 quantize:int8"


@pytest.fixture
def parts(tiny_parts):
    model, _, method, _ = tiny_parts()
    return model, method


def answers(model, method):
    return teacher_logits(model, method, ROWS)


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, theirs = one.state_dict(), other.state_dict()
    return mine.keys() == theirs.keys() and all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_every_pass_leaves_what_it_says(parts):
    model, method = parts
    before = copy.deepcopy(model)
    made = compress(model, parse(EVERYTHING), Material(method, ROWS), score=lambda one: 0.5)
    assert same(model, before)  # a copy was compressed
    assert [step.name.partition(":")[0] for step in made.steps] == [
        word.partition(":")[0] for word in EVERYTHING.split()
    ]
    assert full_shape(made.before[2]).heads == (1, 1)  # half of two heads, one of each layer stays
    pruned = made.before[-1]
    assert sparsity_of(pruned.bert.encoder) == pytest.approx(0.5, abs=0.01)
    assert type(pruned.bert.encoder.layer[0].output.dense) is nn.Linear  # the masks are over
    assert exporting.form_of(made.model) == "int8"
    assert made.steps[-1].bytes < made.steps[-2].bytes and made.steps[1].parameters < made.steps[0].parameters
    assert {step.score for step in made.steps} == {0.5}


def test_every_kth_layer_stays_with_the_last_among_them():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 16}
    model = BertForSequenceClassification(BertConfig(vocab_size=30, **sizes)).eval()
    layers = list(model.bert.encoder.layer)
    kept = DropLayers(2)(model, None).bert.encoder.layer
    assert list(kept) == [layers[1], layers[3]]


def test_the_heads_that_the_loss_minds_least_are_cut(parts):
    model, method = parts
    material = Material(method, ROWS).taught_by(model)
    for layer, head in ((0, 1), (1, 0)):  # what these give reaches nothing
        out = model.bert.encoder.layer[layer].attention.output.dense.weight
        out.data[:, 16 * head : 16 * (head + 1)] = 0.0
    whole = [layer.attention.self.value.weight for layer in model.bert.encoder.layer]
    stay = [whole[0][:16], whole[1][16:]]
    cut = CutHeads(0.5)(copy.deepcopy(model), material)
    found = [layer.attention.self.value.weight for layer in cut.bert.encoder.layer]
    assert all(torch.equal(one, other) for one, other in zip(found, stay, strict=True))


def test_undo_goes_back_bit_for_bit(parts):
    model, method = parts
    made = compress(model, parse(EVERYTHING), Material(method, ROWS))
    shorter = compress(model, parse(EVERYTHING)[:-1], Material(method, ROWS))
    assert same(made.undo(), shorter.model)  # and what ran before it is what would have run alone
    for _ in range(len(made.steps)):
        made.undo()
    assert same(made.model, model) and not made.steps
    with pytest.raises(UsageError, match="no pass left"):
        made.undo()


def test_the_teacher_is_the_model_as_it_came_or_one_of_the_rows(parts, monkeypatch):
    model, method = parts
    taught = []
    monkeypatch.setattr(
        Material, "train", lambda self, *_, **__: taught.append([r["teacher_logits"] for r in self.rows])
    )
    compress(model, [DropLayers(1), Distill(1)], Material(method, ROWS))
    np.testing.assert_allclose(taught[0], answers(model, method), rtol=1e-5, atol=1e-5)
    material, other = Material(method, ROWS), copy.deepcopy(model)
    other.classifier.bias.data += torch.tensor([5.0, 0.0])
    for one in (model, other):  # the same material serves another teacher
        compress(one, [DropLayers(1), Distill(1)], material)
        np.testing.assert_allclose(taught.pop(), answers(one, method), rtol=1e-5, atol=1e-5)
    elsewhere = join_teacher(ROWS, np.tile([3.0, -3.0], (len(ROWS), 1)))
    compress(model, [Distill(1)], Material(method, elsewhere))
    assert np.all(np.array(taught[1]) == [3.0, -3.0])


def test_distilling_moves_the_answers_to_the_teachers(parts):
    model, method = parts
    far = compress(model, [DropLayers(1)], Material(method, ROWS))
    near = compress(model, [DropLayers(1), Distill(100)], Material(method, ROWS, lr=1e-2))
    wanted = softmax(answers(model, method), axis=1)
    off = [np.abs(softmax(answers(one.model, method), axis=1) - wanted).mean() for one in (far, near)]
    assert off[1] < off[0] / 10


@pytest.mark.parametrize("form", ["ternary", "binary"])
def test_what_is_trained_for_codes_is_stored_as_it_answered(parts, form, monkeypatch):
    model, method = parts
    seen = {}
    apply = exporting.FORMS[form].apply

    def watched(one, skip):
        seen["before"] = {name: module.weight.detach().clone() for name, module in one.named_modules()
                          if type(module) is nn.Linear}  # fmt: skip
        return apply(one, skip=skip)

    monkeypatch.setattr(exporting.FORMS[form], "apply", watched)
    made = compress(model, [Quantize(form, 3)], Material(method, ROWS))
    assert type(made.model.classifier) is nn.Linear  # the head stays as it is
    assert exporting.form_of(made.model) == form and len(seen["before"]) > 10
    for name, weight in seen["before"].items():
        torch.testing.assert_close(made.model.get_submodule(name).weight, weight, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("passes", "elsewhere", "said"),
    [
        ([], False, "no pass to run"),
        ([Distill(1)], False, "its own answers"),
        ([Quantize(), Distill(1)], False, "neither train nor can be cut"),
        ([Quantize(), Quantize()], True, "neither train nor can be cut"),
        ([Prune(0.5), Shrink(1, 16)], False, "put shrink:1,16 before"),
        ([Prune(0.5), Distill(1), CutHeads(0.5)], False, "put cutheads"),
        (["int8"], False, "is no pass"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_before_it_begins(parts, passes, elsewhere, said):
    model, method = parts
    with pytest.raises(UsageError, match=said):
        check_order(passes, taught_elsewhere=elsewhere)
    if not elsewhere:
        with pytest.raises(UsageError, match=said):
            compress(model, passes, Material(method, ROWS))


def test_orders_that_make_sense(parts):
    check_order([Distill(1)], taught_elsewhere=True)
    check_order([Shrink(1, 16), Distill(1), Prune(0.5), Prune(0.9), Distill(1), Quantize("ternary", 3)])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("shrinl:1,16", "shrink"),
        ("shrink:1", "needs layers, hidden"),
        ("shrink:1,16,4", "at most 2 values"),
        ("shrink:a,16", "'layers' must be int"),
        ("prune:1.0", "leaves nothing"),
        ("prune:0.5,0", "at least 1"),
        ("cutheads:1", "below 1"),
        ("quantize:int4", "unknown form 'int4'"),
        ("quantize:int8,4", "needs no training"),
        ("distill:0", "at least 1"),
        ("prune:0.5,10,size", "must be"),
    ],
)
def test_a_line_with_a_mistake_names_it(line, said):
    with pytest.raises(UsageError, match=said):
        parse(line)


def test_other_mistakes_are_named(parts):
    model, method = parts
    with pytest.raises(UsageError, match="no rows"):
        Material(method, [])
    with pytest.raises(UsageError, match="has 2 layers"):
        compress(model, [DropLayers(3)], Material(method, ROWS))
    with pytest.raises(UsageError, match="not its layers"):
        compress(model, [Distill(1, inner=2)], Material(method, join_teacher(ROWS, np.zeros((len(ROWS), 2)))))
    with pytest.raises(UsageError, match="quantised"):
        compress(int8.apply(copy.deepcopy(model)), [Prune(0.5)], Material(method, ROWS))


numbers = st.integers(1, 9)
shares = st.floats(0, 0.99)
passes = st.one_of(
    st.builds(Shrink, numbers, numbers),
    st.builds(DropLayers, numbers),
    st.builds(CutHeads, shares, numbers),
    st.builds(Distill, numbers, numbers, st.floats(0.5, 8), st.floats(0, 1)),
    st.builds(Prune, shares, numbers, st.sampled_from(["magnitude", "movement"])),
    st.builds(Quantize, st.sampled_from(["ternary", "binary"]), numbers),
)


@given(st.lists(passes, max_size=5))
def test_a_pass_is_read_as_it_is_written(chosen):
    assert parse(" ".join(map(str, chosen))) == chosen


# Outside the program


@pytest.mark.parametrize("form", [None, "int8", "ternary", "binary"])
@pytest.mark.parametrize("cut", [False, True])
def test_a_saved_model_is_the_same_codes_in_the_same_sizes(parts, tmp_path, form, cut):
    model, method = parts
    if cut:
        remove_heads(model, {1: [0]})
    if form:
        exporting.FORMS[form].apply(model)
    note = exporting.describe(model)
    assert (note is None) == (not form and not cut)  # transformers' own files will do
    path = exporting.save(model, tmp_path)
    back = exporting.load(type(model), type(model.config).from_pretrained(tmp_path), tmp_path)
    assert exporting.form_of(back) == form and full_shape(back) == full_shape(model)
    assert same(back, model) and np.array_equal(answers(back, method), answers(model, method))
    assert not hasattr(model.config, exporting.NOTE) and path.parent == tmp_path


def test_layers_that_are_dropped_are_gone_from_the_configuration(parts, tmp_path):
    model, method = parts
    small = compress(model, [DropLayers(1)], Material(method, ROWS)).model
    small.save_pretrained(tmp_path)
    assert np.array_equal(answers(type(model).from_pretrained(tmp_path), method), answers(small, method))


@pytest.mark.parametrize("note", [{"form": "int3"}, {"form": None, "heads": [5, 5], "neurons": [64, 64]}])
def test_a_configuration_of_another_version_is_refused(parts, tmp_path, note):
    model, _ = parts
    exporting.save(remove_heads(model, {1: [0]}), tmp_path)
    config = type(model.config).from_pretrained(tmp_path)
    config.compressed = note
    with pytest.raises(LabkitError, match="form|sizes"):
        exporting.load(type(model), config, tmp_path)


@pytest.fixture(scope="module")
def exported(tiny_parts, tmp_path_factory):
    """The file, and pairs of inputs and what the model says."""
    pytest.importorskip("onnxscript")
    model, _, method, _ = tiny_parts()
    made = compress(model, parse("droplayers:1 cutheads:0.5 distill:2"), Material(method, ROWS))
    path, pairs = exporting.to_onnx(made.model, tmp_path_factory.mktemp("onnx") / "student.onnx"), []
    longer = {"text": "the film was good " * 4}
    for rows in (ROWS[:1], [*ROWS, longer]):  # the others are padded
        batch = method.collate(rows, None)
        names = ("input_ids", "attention_mask", "token_type_ids")
        inputs = {name: batch.get(name, torch.zeros_like(batch["input_ids"])).numpy() for name in names}
        with torch.no_grad():
            pairs.append((inputs, method.logits(made.model.eval(), batch).numpy()))
    return path, pairs


def test_onnxruntime_answers_as_the_model_does(exported):
    runtime, (path, pairs) = pytest.importorskip("onnxruntime"), exported
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    for inputs, wanted in pairs:
        np.testing.assert_allclose(session.run(["logits"], inputs)[0], wanted, rtol=0, atol=1e-5)


def test_openvino_answers_as_the_model_does(exported):
    openvino = pytest.importorskip("openvino", reason="pip install 'labkit[openvino]'")
    path, pairs = exported
    ready = openvino.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    for inputs, wanted in pairs:
        np.testing.assert_allclose(ready(inputs)["logits"], wanted, rtol=0, atol=1e-5)


def test_codes_do_not_become_onnx(parts, tmp_path):
    pytest.importorskip("onnxscript")
    with pytest.raises(UsageError, match="export before quantising"):
        exporting.to_onnx(int8.apply(copy.deepcopy(parts[0])), tmp_path / "codes.onnx")
    assert not (tmp_path / "codes.onnx").exists()


def test_every_pass_is_described():
    assert all(kind.LOSES and kind.__doc__ for kind in compose.PASSES.values())
