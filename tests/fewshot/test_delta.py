"""What holds for every delta, on four kinds of encoder: silent at the start, only it trains, gone without a trace."""

from __future__ import annotations

import pytest
import torch

from labkit import measure
from labkit.errors import UsageError
from labkit.fewshot.delta_tuning import (
    DELTAS,
    IA3,
    BitFit,
    Combined,
    Compacter,
    Delta,
    Ladder,
    LoRA,
    Parallel,
    Prefix,
    Prompt,
    Serial,
    attached,
    detach,
    merge,
    trained_tensors,
)
from labkit.training import fit
from tests.fewshot.delta_models import BATCH, EVERY, MAKERS, SILENT, copied, digest, make, outputs, train, trained

PAIRS = [
    (kind, name) for kind in MAKERS for name in EVERY if not (name == "prefix" and kind in ("albert", "distilbert"))
]


@pytest.mark.parametrize(("kind", "name"), [pair for pair in PAIRS if pair[1] in SILENT])
def test_at_attach_the_answers_are_the_models_own(kind, name):
    model = make(kind)
    before = outputs(model)
    assert EVERY[name].attach(model) is model
    assert torch.equal(outputs(model), before)
    assert (outputs(train(model)) - before).abs().max() > 1e-3  # and training moves them


@pytest.mark.parametrize(("kind", "name"), PAIRS)
def test_detach_restores_names_weights_flags_and_answers(kind, name):
    model = make(kind)
    next(model.parameters()).requires_grad_(False)
    before, answers = digest(model.state_dict()), outputs(model)
    flags = {n: p.requires_grad for n, p in model.named_parameters()}
    hooks = sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    train(EVERY[name].attach(model))
    assert digest(model.state_dict()) != before
    assert detach(model) is model
    assert digest(model.state_dict()) == before and torch.equal(outputs(model), answers)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    assert sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()) == hooks
    EVERY[name].attach(model)  # and again


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", EVERY)
def test_only_what_should_train_trains(name, head):
    """Of the plain model's own tensors none changes but a new head and, under BitFit, the encoder's biases."""
    plain = dict(make(head=head).named_parameters())
    model = EVERY[name].attach(make(head=head))
    own = trained_tensors(model)
    each = {n: t.detach().clone() for n, t in own.items()}
    train(model)
    biases = (
        {n for n in plain if n.startswith("bert.") and n.endswith("bias")} if name in ("bitfit", "combined") else set()
    )
    may = biases | {n for n in plain if n.startswith("classifier.")}
    now = {n.replace(".base_layer", ""): t for n, t in model.named_parameters()}
    assert plain.keys() <= now.keys()
    assert digest({n: now[n] for n in plain if n not in may}) == digest(
        {n: t for n, t in plain.items() if n not in may}
    )
    assert {n.replace(".base_layer", "") for n in own} & plain.keys() == may
    if name.startswith("intrinsic"):
        assert {n for n in own if n not in may} == {"intrinsic.z"}
    still = {n for n, t in own.items() if torch.equal(t, each[n])}
    assert all("attention" in n and n.endswith("key.bias") for n in still), still  # softmax does not see a key's bias


@pytest.mark.parametrize("name", EVERY)
def test_a_deep_copy_is_independent(name):
    model = trained(EVERY[name])
    answers, other = outputs(model), copied(model)
    assert torch.equal(outputs(other), answers)
    train(other)
    assert torch.equal(outputs(model), answers) and not torch.equal(outputs(other), answers)
    detach(other)
    assert torch.equal(outputs(model), answers)
    assert torch.equal(outputs(detach(model)), outputs(make()))


@pytest.mark.parametrize("name", EVERY)
def test_the_models_class_and_keys_stay(name):
    model = make()
    kind, names = type(model), set(model.state_dict())
    EVERY[name].attach(model)
    assert type(model) is kind
    plain = {n.replace(".base_layer", "") for n in model.state_dict()}
    assert names <= plain


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("name", ["lora", "ia3", "bitfit", "both", "intrinsic lora"])
def test_a_merged_model_is_a_plain_one_of_the_same_answers(kind, name):
    delta = {**EVERY, "both": Combined(deltas=(LoRA(rank=2), IA3(), BitFit()))}[name]
    model = train(delta.attach(make(kind).double()), lr=0.02)
    answers, flags = outputs(model), {n: p.requires_grad for n, p in make(kind).named_parameters()}
    assert (answers - outputs(make(kind).double())).abs().max() > 1e-3
    merge(model)
    torch.testing.assert_close(outputs(model), answers, rtol=1e-6, atol=1e-6)
    assert list(model.state_dict()) == list(make(kind).state_dict())
    assert {n: p.requires_grad for n, p in model.named_parameters()} == flags
    with pytest.raises(UsageError, match="carries no delta"):
        detach(model)


def test_lora_merges_to_1e6_in_single_precision():
    model = trained(LoRA(rank=4))
    answers = outputs(model)
    assert (outputs(LoRA(rank=4).merge(model)) - answers).abs().max() <= 1e-6 * answers.abs().max()


@pytest.mark.parametrize("name", ["serial", "parallel", "compacter", "ladder", "prompt", "prefix", "combined"])
def test_what_cannot_be_merged_says_so(name):
    model = trained(EVERY[name])
    answers = outputs(model)
    with pytest.raises(UsageError, match="cannot be merged: no weights of the backbone alone compute the same"):
        merge(model)
    assert torch.equal(outputs(model), answers)


def test_parts_that_are_combined_add_up():
    """Two deltas at different places change the answers as each does on the other's model."""
    model = trained(Combined(deltas=(LoRA(rank=2), Prompt(tokens=2))))
    values = {n: p.detach().clone() for n, p in trained_tensors(model).items()}
    by_hand = make()
    Prompt(tokens=2).attach(by_hand)
    own = dict(by_hand.named_parameters())
    for name, value in values.items():
        if "soft_prompt" in name:
            own[name].data.copy_(value)
    for layer in range(3):
        for part in ("query", "value"):
            place = f"bert.encoder.layer.{layer}.attention.self.{part}"
            a, b = values[f"{place}.lora_A.lora.weight"], values[f"{place}.lora_B.lora.weight"]
            own[f"{place}.weight"].data += 16.0 / 2 * b @ a
    torch.testing.assert_close(outputs(by_hand), outputs(model), rtol=1e-5, atol=1e-5)


def test_fit_trains_a_delta_and_saves_no_backbone_gradient():
    model = LoRA(rank=2).attach(make(head=True))
    batch = {**BATCH, "labels": torch.tensor([0, 2, 1])}
    history = fit(model, lambda m, b: m(**b).loss, [batch] * 8, steps=8, lr=1e-2, progress=False)
    assert history.losses[-1] < history.losses[0]
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
    assert measure.trainable(model) == 3 * 2 * 2 * (32 + 32) + 3 * 32 + 3


def test_every_delta_is_in_the_list():
    kinds = {type(delta) for delta in EVERY.values()}
    assert set(DELTAS.values()) == kinds
    assert all(issubclass(kind, Delta) for kind in DELTAS.values())


# What goes wrong


def refused(delta, message, kind="bert"):
    """Attaching is refused with this message, and the model is as it was."""
    model = make(kind)
    before, flags = digest(model.state_dict()), [p.requires_grad for p in model.parameters()]
    with pytest.raises(UsageError, match=message):
        delta.attach(model)
    assert digest(model.state_dict()) == before and [p.requires_grad for p in model.parameters()] == flags
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    LoRA(rank=1).attach(model)


def test_a_target_that_fits_nothing():
    refused(LoRA(targets=("qurey",)), "target 'qurey' fits no module of BertForMaskedLM: did you mean 'query'")
    refused(LoRA(targets=("query", "zzz")), "target 'zzz' fits no module of .*; some ends of names: ")
    refused(Serial(targets=("ttention.output.dense",)), "did you mean 'attention.output.dense'")
    refused(LoRA(targets=("re:laye[r",)), "is no regular expression")
    refused(LoRA(targets=("x" * 201,)), "a text of 1 to 200 characters")
    refused(BitFit(targets=("dropout",)), "no bias there to train")
    refused(LoRA(targets=("LayerNorm",)), "is a LayerNorm; it needs linear layers")
    refused(Parallel(targets=("intermediate.dense -> query", "query -> nowhere")), "'nowhere' fits no module")
    refused(Parallel(targets=("query -> re:dense$",)), "3 modules to start at and 10 to end at")
    refused(LoRA(also=("clasifier",)), "target 'clasifier' fits no module")


def test_a_model_without_the_usual_places():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU())
    with pytest.raises(UsageError, match="Sequential has none of the usual places .*: name targets="):
        LoRA(rank=2).attach(model)
    assert LoRA(rank=2, targets=("0",)).attach(model)[0].lora_A.lora.weight.shape == (2, 4)


def test_sizes_that_do_not_fit():
    refused(LoRA(rank=33), "rank=33 is more than .*query' can have: choose a rank from 1 to 32")
    refused(Compacter(bottleneck=6), "4 Kronecker factors do not divide a layer from 32 to 6")
    refused(Ladder(reduction=5), "reduction=5 does not divide the model's width of 32")
    refused(Prefix(), "takes no earlier keys", kind="albert")
    refused(
        Combined(deltas=(LoRA(rank=2), Ladder(reduction=5))), "does not divide"
    )  # the second part, the first put on
    for kind, setting in ((LoRA, "rank"), (Serial, "bottleneck"), (Ladder, "reduction"), (Prompt, "tokens")):
        for value in (0, -1, 2.5, True, "4"):
            with pytest.raises(UsageError, match=f"{setting} must be a whole number of 1 or more"):
                kind(**{setting: value})
    with pytest.raises(UsageError, match="unknown activation 'swish'"):
        Serial(activation="swish")


def test_a_second_delta_and_the_wrong_one():
    model = LoRA(rank=2).attach(make())
    with pytest.raises(UsageError, match=r"carries a delta already \(LoRA\): detach it first, or attach Combined"):
        BitFit().attach(model)
    with pytest.raises(UsageError, match="carries LoRA, not BitFit"):
        BitFit().detach(model)
    with pytest.raises(UsageError, match="BertForMaskedLM carries no delta: attach one"):
        attached(make())
    with pytest.raises(UsageError, match="LoRA twice: give one LoRA all the targets"):
        Combined(deltas=(LoRA(), LoRA(targets=("key",))))
    for wrong in ((), (LoRA,), ("lora",)):
        with pytest.raises(UsageError, match="Combined needs deltas"):
            Combined(deltas=wrong)
    with pytest.raises(UsageError, match="no targets of its own"):
        Combined(deltas=(LoRA(),), targets=("query",))


def test_keys_address_by_the_end_of_a_name_or_a_regular_expression():
    model = make()
    assert LoRA(targets=("layer.0.attention.self.query",)).places(model) == [
        "bert.encoder.layer.0.attention.self.query"
    ]
    assert len(LoRA(targets=("dense",)).places(model)) == 10
    some = LoRA(targets=(r"re:layer\.[02]\..*value$",))
    assert some.places(model) == [f"bert.encoder.layer.{n}.attention.self.value" for n in (0, 2)]
    assert attached(some.attach(model)).delta.targets == tuple(some.places(make()))  # written out
    assert Serial(targets=("uery",)).keys() == ("uery",)
    with pytest.raises(UsageError):
        Serial(targets=("uery",)).places(model)


def test_soft_tokens_and_other_modules_may_train_besides():
    model = LoRA(rank=2, also=("cls.predictions.transform",)).attach(make())
    beside = [name for name in trained_tensors(model) if "lora" not in name]
    assert beside == [f"cls.predictions.transform.{n}" for n in
                      ("dense.weight", "dense.bias", "LayerNorm.weight", "LayerNorm.bias")]  # fmt: skip
    before = digest(make().state_dict())
    assert digest(detach(train(model)).state_dict()) == before
