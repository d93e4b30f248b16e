"""Attention by loops and by torch's own, positions by their laws, whole models by those of transformers."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import (
    BertConfig,
    BertForMaskedLM,
    GPT2Config,
    GPT2LMHeadModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.t5.modeling_t5 import T5Attention

from labkit.errors import UsageError
from labkit.foundations.transformer.attention import (
    MultiHead,
    Sight,
    attention,
    causal_mask,
    join_heads,
    padding_mask,
    split_heads,
)
from labkit.foundations.transformer.copying import from_bert, from_gpt2, from_t5
from labkit.foundations.transformer.positions import CLIP, POSITIONS, Relative, distances, sinusoids, t5_buckets
from labkit.foundations.transformer.transformer import Decoder, Encoder, EncoderDecoder, Settings

SMALL = {"d": 24, "heads": 3, "layers": 2, "ffn": 40, "longest": 20}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def random_ids(*shape):
    return torch.randint(1, 30, shape)


def shaken(model):
    """Weights so large that every part shows in the logits."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.copy_(torch.randn_like(weight) * 0.3)
    return model.eval()


# Attention


def by_loops(q, k, v, seen, bias, between):
    """One text, one head: (queries, d), (keys, d), (keys, d)."""
    rows = []
    for i in range(len(q)):
        keys = [j for j in range(len(k)) if seen[i, j]]
        score = {j: float(q[i] @ (k[j] + between[i, j])) / math.sqrt(len(q[i])) + float(bias[i, j]) for j in keys}
        total = sum(math.exp(value) for value in score.values())
        rows.append(sum((math.exp(score[j]) / total * (v[j] + between[i, j]) for j in keys), torch.zeros_like(v[0])))
    return torch.stack(rows)


def test_attention_is_what_loops_compute():
    q, k, v = torch.randn(2, 3, 4, 6), torch.randn(2, 3, 5, 6), torch.randn(2, 3, 5, 6)
    seen, bias, between = torch.rand(2, 3, 4, 5) < 0.7, torch.randn(3, 4, 5), torch.randn(4, 5, 6)
    seen[0, 0, 1] = False  # one query sees nothing
    mixed, weights = attention(q, k, v, Sight(seen, bias, between))
    for text in range(2):
        for head in range(3):
            place = text, head
            wanted = by_loops(q[place], k[place], v[place], seen[place], bias[head], between)
            torch.testing.assert_close(mixed[place], wanted)
    assert not weights[~seen].any()
    torch.testing.assert_close(weights.sum(-1), seen.any(-1).float())


@pytest.mark.parametrize("masked", [False, True])
def test_attention_is_torchs_own(masked):
    q, k, v = (torch.randn(2, 3, n, 8, requires_grad=True) for n in (5, 7, 7))
    seen = torch.rand(2, 1, 5, 7) < 0.6 if masked else None
    if masked:
        seen[..., 0] = True
    mixed, theirs = attention(q, k, v, Sight(seen))[0], F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
    torch.testing.assert_close(mixed, theirs)
    for own, other in zip(torch.autograd.grad(mixed.square().sum(), (q, k, v)),
                          torch.autograd.grad(theirs.square().sum(), (q, k, v)), strict=True):  # fmt: skip
        torch.testing.assert_close(own, other)


def test_several_heads_are_torchs_own():
    ours, theirs, x = MultiHead(12, 3), torch.nn.MultiheadAttention(12, 3, batch_first=True), torch.randn(2, 5, 12)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.query.weight, ours.key.weight, ours.value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.query.bias, ours.key.bias, ours.value.bias]))
    theirs.out_proj = ours.out
    torch.testing.assert_close(ours(x, x, Sight(causal_mask(5))), theirs(x, x, x, attn_mask=~causal_mask(5))[0])
    assert torch.equal(join_heads(split_heads(x, 4)), x)
    with pytest.raises(UsageError, match="d=12, heads=5: the width must be a multiple"):
        split_heads(x, 5)


# Positions


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_the_product_of_two_sinusoids_depends_on_the_distance_alone(a, b, shift):
    places = torch.tensor([[a, b], [a + shift, b + shift]], dtype=torch.float64)
    first, second = sinusoids(places, 32)
    torch.testing.assert_close(first[0] @ first[1], second[0] @ second[1], rtol=0, atol=1e-6)


def test_sinusoids_are_those_of_the_paper():
    table = sinusoids(torch.arange(9), 6)
    for place in range(9):
        for i in range(3):
            angle = place / 10000 ** (2 * i / 6)
            assert table[place, 2 * i] == pytest.approx(math.sin(angle), abs=1e-6)
            assert table[place, 2 * i + 1] == pytest.approx(math.cos(angle), abs=1e-6)
    with pytest.raises(UsageError, match="d=5: sines and cosines"):
        sinusoids(torch.arange(3), 5)


def test_nezhas_table_holds_the_clipped_distance():
    table = Relative(12, 3, 400, True).between(CLIP + 9, torch.device("cpu"))
    waves = sinusoids(torch.arange(-CLIP, CLIP + 1), 4)
    for i, j in ((0, 0), (3, 5), (5, 3), (0, CLIP), (0, CLIP + 8), (CLIP + 8, 0)):
        torch.testing.assert_close(table[i, j], waves[max(-CLIP, min(CLIP, j - i)) + CLIP])
    assert torch.equal(table[0, CLIP], table[0, CLIP + 5]) and not torch.equal(table[0, CLIP], table[0, CLIP - 1])
    assert torch.equal(table[2:, 2:], table[:-2, :-2])  # a shift of both changes nothing


@pytest.mark.parametrize("both", [True, False])
def test_buckets_are_those_of_t5(both):
    far = distances(400)
    theirs = T5Attention._relative_position_bucket(far, bidirectional=both, num_buckets=32, max_distance=128)
    assert torch.equal(t5_buckets(far, both), theirs)


@pytest.mark.parametrize("kind", ["relative", "bucketed"])
def test_relative_positions_do_not_care_where_a_text_begins(kind):
    model = shaken(Decoder(Settings(30, **SMALL, positions=kind)))
    ids = random_ids(1, 8)
    moved, mask = torch.cat([random_ids(1, 5), ids], 1), torch.tensor([[0] * 5 + [1] * 8])
    with torch.no_grad():
        torch.testing.assert_close(model(moved, mask)[:, 5:], model(ids), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "seen"), [("none", False), *((kind, True) for kind in POSITIONS if kind != "none")])
def test_without_positions_an_encoder_reads_a_bag_of_words(kind, seen):
    model, ids = shaken(Encoder(Settings(30, **SMALL, positions=kind))), torch.tensor([[3, 4, 5]])
    with torch.no_grad():
        same = torch.allclose(model(ids).flip(1), model(ids.flip(1)), atol=1e-5)
    assert same is not seen


# Models


@pytest.mark.parametrize("kind", list(POSITIONS))
def test_a_later_token_changes_nothing_before_it(kind):
    model, ids = shaken(Decoder(Settings(30, **SMALL, positions=kind))), random_ids(2, 9)
    changed = ids.clone()
    changed[:, 6] = (ids[:, 6] + 1) % 30
    with torch.no_grad():
        before, after = model(ids), model(changed)
    assert torch.equal(before[:, :6], after[:, :6]) and not torch.allclose(before[:, 6:], after[:, 6:])


@pytest.mark.parametrize("norm_first", [True, False])
@pytest.mark.parametrize("kind", [Encoder, Decoder, EncoderDecoder])
def test_padding_changes_nothing(kind, norm_first):
    model, ids = shaken(kind(Settings(30, **SMALL, norm_first=norm_first))), random_ids(2, 7)
    padded, mask = torch.cat([ids, random_ids(2, 4)], 1), torch.tensor([[1] * 7 + [0] * 4] * 2)
    written = (random_ids(2, 5),) if kind is EncoderDecoder else ()
    with torch.no_grad():
        torch.testing.assert_close(model(padded, *written, mask)[:, :7], model(ids, *written), rtol=1e-4, atol=1e-5)


def test_a_decoder_sees_the_whole_of_the_other_text():
    model, ids = shaken(EncoderDecoder(Settings(30, **SMALL))), random_ids(1, 6)
    changed, written = ids.clone(), random_ids(1, 4)
    changed[0, 5] = (ids[0, 5] + 1) % 30
    with torch.no_grad():
        assert not torch.allclose(model(ids, written)[:, 0], model(changed, written)[:, 0])


def models():
    bert = BertConfig(vocab_size=30, hidden_size=24, num_hidden_layers=3, num_attention_heads=3, intermediate_size=40,
                      max_position_embeddings=20)  # fmt: skip
    gpt = GPT2Config(vocab_size=30, n_positions=20, n_embd=24, n_layer=3, n_head=3, bos_token_id=0, eos_token_id=0)
    t5 = T5Config(vocab_size=30, d_model=24, d_kv=8, d_ff=40, num_layers=3, num_heads=3)
    yield BertForMaskedLM(bert), from_bert, ()
    yield GPT2LMHeadModel(gpt), from_gpt2, ()
    yield T5ForConditionalGeneration(t5), from_t5, (random_ids(3, 6),)


@pytest.mark.parametrize("number", range(3), ids=["BERT", "GPT-2", "T5"])
def test_the_same_weights_give_the_same_logits(number):
    theirs, copied, written = list(models())[number]
    ids, mask = random_ids(3, 15), torch.tensor([[1] * 15, [1] * 9 + [0] * 6, [1] + [0] * 14])
    real = torch.ones(3, 6, dtype=torch.bool) if written else mask.bool()
    ours = copied(shaken(theirs))
    with torch.no_grad():
        named = {"decoder_input_ids": written[0]} if written else {}
        wanted = theirs(input_ids=ids, attention_mask=mask, **named).logits
        torch.testing.assert_close(ours(ids, *written, mask)[real], wanted[real], rtol=1e-5, atol=1e-5)
    assert not ours.training


def test_a_t5_of_another_build_is_refused():
    sizes = {"vocab_size": 30, "d_model": 24, "d_kv": 8, "d_ff": 40, "num_layers": 2, "num_heads": 3}
    for change in ({"d_kv": 4}, {"num_decoder_layers": 1}, {"feed_forward_proj": "gated-gelu"}):
        theirs = T5ForConditionalGeneration(T5Config(**sizes | change))
        with pytest.raises(UsageError, match="not of the first build"):
            from_t5(theirs)


def test_what_makes_no_model_and_no_text_is_refused():
    for wrong, said in (
        ({"heads": 5}, "d=128, heads=5"),
        ({"layers": 0}, "'layers' must be at least 1"),
        ({"positions": "relativ"}, "did you mean 'relative'"),
        ({"norm": "batch"}, "unknown norm"),
    ):
        with pytest.raises(UsageError, match=said):
            Settings(30, **wrong)
    model = Encoder(Settings(30, **SMALL))
    for ids, said in (
        (torch.zeros(2, 21).long(), "21 tokens: this model reads at most 20"),
        (torch.zeros(2, 0).long(), r"\(2, 0\)"),
        (torch.zeros(3).long(), r"\(3,\)"),
        (torch.tensor([[3, 30]]), "ids 3 to 30 for 30 pieces"),
    ):
        with pytest.raises(UsageError, match=said):
            model(ids)


def test_a_text_of_padding_alone_gives_numbers():
    model = Encoder(Settings(30, **SMALL))
    assert model(random_ids(2, 4), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]])).isfinite().all()
    assert padding_mask(torch.tensor([[1, 0]])).tolist() == [[[[True, False]]]]
