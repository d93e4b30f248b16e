"""The prefix against attention computed by hand in float64, against peft, and against the plain model."""

from __future__ import annotations

import pytest
import torch
from transformers import BertModel, BertTokenizer, ElectraConfig, ElectraForMaskedLM

from labkit.errors import UsageError
from labkit.fewshot.pet import PET
from labkit.fewshot.soft_prompts import Prefix
from labkit.measure import trainable
from tests.fewshot.soft_prompt_models import ID, ROWS, SIZES, answers, bert, changed, hashes, roberta, task

SELF = "bert.encoder.layer.{}.attention.self"


@pytest.fixture(scope="module")
def pet():
    return PET.for_task(task(), BertTokenizer(vocab=ID, model_max_length=32))


def states_of(attention, prefix, states, mask):
    """What one attention gives with keys and values (heads, n, d_head) before its own, written out: (batch, t, d)."""

    def heads(linear):
        return linear(states).unflatten(-1, (2, 16)).transpose(1, 2)  # (batch, heads, tokens, d_head)

    keys, values = (
        torch.cat([own.expand(len(states), -1, -1, -1), heads(linear)], 2)
        for own, linear in zip(prefix, (attention.key, attention.value), strict=True)
    )
    scores = heads(attention.query) @ keys.transpose(2, 3) / 4.0
    seen = torch.cat([torch.ones(len(mask), prefix[0].shape[1]), mask], 1).bool()[:, None, None]
    return (scores.masked_fill(~seen, -torch.inf).softmax(-1) @ values).transpose(1, 2).flatten(2)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("reparametrise", [False, True])
def test_attention_by_hand(attention, reparametrise, pet):
    model = bert(attn_implementation=attention).double()
    Prefix(3, reparametrise=reparametrise, std=0.7).attach(model)
    batch, seen = pet.collate(ROWS), {}
    for layer in range(3):
        module = model.get_submodule(SELF.format(layer))
        module.register_forward_hook(lambda m, args, out, layer=layer: seen.update({layer: (args, out)}))
    inputs = []
    for layer in model.bert.encoder.layer:
        layer.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
    with torch.no_grad():
        model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
        assert sorted(seen) == [0, 1, 2]
        for layer, states in enumerate(inputs):
            prefix = model.bert.prefix.layer(layer)
            module = model.get_submodule(SELF.format(layer))
            wanted = states_of(module, prefix, states, batch["attention_mask"])
            real = batch["attention_mask"].bool()
            torch.testing.assert_close(seen[layer][1][0][real], wanted[real])
            bare = states_of(module, [one[:, :0] for one in prefix], states, batch["attention_mask"])
            assert (wanted - bare)[real].abs().max() > 0.01  # the prefix is felt in every layer


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_keys_of_no_weight_are_not_there(attention, pet):
    """All queries are one vector u; a key of -1e4·u gets no weight from it, whatever the values are."""
    model = bert(attn_implementation=attention)
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            layer.attention.self.query.weight.zero_()
            layer.attention.self.query.bias.normal_(1, 0.1)
    plain = answers(model, pet)
    Prefix(4, std=1.0).attach(model)
    table = model.bert.prefix.embedding.weight
    assert (answers(model, pet) - plain).abs().max() > 0.01
    with torch.no_grad():
        for number, layer in enumerate(model.bert.encoder.layer):
            table[:, 64 * number : 64 * number + 32] = -1e4 * layer.attention.self.query.bias
    torch.testing.assert_close(answers(model, pet), plain, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("reparametrise", [False, True])
def test_as_peft_does_it_where_places_do_not_matter(reparametrise):
    """peft moves the text's positions by the prefix's length; with equal position vectors nobody can tell."""
    peft = pytest.importorskip("peft")
    model, theirs = bert(BertModel), bert(BertModel)
    for one in (model, theirs):
        with torch.no_grad():
            table = one.embeddings.position_embeddings.weight
            table.copy_(table[:1].expand(40, -1))
    config = peft.PrefixTuningConfig(
        task_type="FEATURE_EXTRACTION", num_virtual_tokens=4, prefix_projection=reparametrise, encoder_hidden_size=32
    )
    theirs = peft.get_peft_model(theirs, config).eval()
    ours = Prefix(4, reparametrise=reparametrise).attach(model)
    encoder = theirs.prompt_encoder["default"]
    ours.prefix.load_state_dict(encoder.state_dict())
    assert trainable(ours) == trainable(theirs)
    ids = torch.tensor([[2, 5, 7, 9, 11, 3, 0, 0], [2, 6, 8, 9, 13, 16, 10, 3]])
    mask = (ids > 0).long()
    with torch.no_grad():
        wanted = theirs(input_ids=ids, attention_mask=mask).last_hidden_state
        found = ours(input_ids=ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(found[mask.bool()], wanted[mask.bool()])


@pytest.mark.parametrize("delta", [Prefix(4), Prefix(4, reparametrise=True)])
def test_only_the_prefix_trains_and_it_comes_off_bit_for_bit(delta, pet):
    model = bert()
    before = hashes(model)
    delta.attach(model)
    count = 4 * 32 + 32 * 32 + 32 + 32 * 192 + 192 if delta.reparametrise else 4 * 3 * 2 * 32
    assert trainable(model) == count
    found = changed(model, pet)
    assert found and all(name.startswith("bert.prefix.") for name in found)
    assert "bert.prefix.embedding.weight" in found
    delta.detach(model)
    assert hashes(model) == before and all(p.requires_grad for p in model.parameters())
    torch.testing.assert_close(answers(model, pet), answers(bert(), pet), rtol=0, atol=0)


@pytest.mark.parametrize("build", [roberta, lambda: ElectraForMaskedLM(ElectraConfig(**SIZES)).eval()])
def test_other_encoders_too(build, pet):
    model = build()
    plain = answers(model, pet)
    Prefix(4, std=1.0).attach(model)
    found = answers(model, pet)
    assert (found - plain).abs().max() > 1e-4
    torch.testing.assert_close(found[:1], answers(model, pet, ROWS[:1]), rtol=1e-4, atol=1e-5)  # padding is not felt


def test_one_row_without_padding_and_a_mask_agree(pet):
    model = Prefix(4, std=1.0).attach(bert())
    ids = pet.collate(ROWS[:1])["input_ids"]
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, model(ids, attention_mask=torch.ones_like(ids)).logits)


def test_a_prefix_takes_no_position_from_the_text(pet):
    rows = [{"text": "the film was " * 9, "label": 0}]
    assert answers(Prefix(30).attach(bert()), pet, rows).isfinite().all()


def test_a_cache_beside_the_prefix_is_refused():
    model = Prefix(2).attach(bert(BertModel))
    with pytest.raises(UsageError, match="detach the prefix first"):
        model.encoder.layer[0].attention.self(torch.ones(1, 3, 32), past_key_values=object())
