"""The few-shot methods on models that read left to right, against the models' own states and probabilities."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch.nn import functional as F
from transformers import DynamicCache

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.cp_tuning import CPTuning, universal_template
from labkit.fewshot.delta_tuning import DELTAS, LoRA
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.in_context import InContext
from labkit.fewshot.prompts.soft_tokens import attach_soft_tokens, detach_soft_tokens, fold_soft_tokens
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer, pieces_of
from labkit.fewshot.soft_prompts import WARP, Prefix, PromptTuning, PTuning
from labkit.foundations.encoder import lm_logits
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.training import Batches, fit
from tests.fewshot.causal_models import CHINESE, KINDS, PATTERN, ROWS, WORDS, causal_model, tokenizer

TEXTS = [row["text"] for row in ROWS]


def pet(kind: str, template: str = PATTERN, cls=PET, **options):
    return cls(template, Verbalizer(WORDS, tokenizer(kind)), tokenizer(kind), **options)


def prompts(kind: str, before: str = "text: {}\nit is") -> list[list[int]]:
    """The texts before the blank, encoded whole, each behind the token that begins a text."""
    found = tokenizer(kind)([before.format(text) for text in TEXTS])["input_ids"]
    return [ids if ids[0] == 1 else [1, *ids] for ids in found]


@torch.no_grad()
def next_logits(model, ids: list[int]) -> torch.Tensor:
    return model(input_ids=torch.tensor([ids])).logits[0, -1]


def weights(model) -> dict[str, bytes]:
    return {name: value.detach().numpy().tobytes() for name, value in model.state_dict().items()}


# What is read


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", [" {mask}", "{mask}", " {mask} .", " {mask} indeed"])
def test_the_text_ends_before_the_blank_and_is_spaced_as_if_encoded_whole(kind, end):
    batch = encode(Template.parse("text: {text}\nit is" + end), ROWS, tokenizer(kind))
    lengths = batch["attention_mask"].sum(1)
    found = [ids[:length].tolist() for ids, length in zip(batch["input_ids"], lengths, strict=True)]
    assert found == prompts(kind) and batch["mask_positions"][:, 0].tolist() == lengths.tolist()


@pytest.mark.parametrize("kind", ["llama", "gemma"])
def test_chinese_gets_no_stray_space(kind):
    own = tokenizer(kind)
    ids = encode(Template.parse("{text}总之很{mask}。"), [{"text": "这部电影"}], own)["input_ids"][0].tolist()
    assert ids == own("这部电影总之很")["input_ids"]
    assert own.convert_ids_to_tokens(pieces_of("好", own)) == ["好"] and CHINESE
    assert own.convert_ids_to_tokens(pieces_of("good", own)) == ["▁good"]
    assert str(universal_template(("text_a", "text_b"), "zh", "\n")) == "{text_a}\n{text_b}{soft:这是}{mask}。"


@pytest.mark.parametrize("kind", KINDS)
def test_texts_are_cut_and_the_pattern_is_not(kind):
    own, whole = tokenizer(kind), prompts(kind)
    batch = encode(Template.parse(PATTERN), [{"text": TEXTS[3] * 9}], own, max_length=40)
    assert batch["input_ids"].shape == (1, 40)
    tail = len(own("text: x\nit is")["input_ids"]) - len(own("text: x")["input_ids"])
    assert batch["input_ids"][0, -tail:].tolist() == whole[0][-tail:]


def test_a_blank_that_is_not_last_is_refused():
    with pytest.raises(UsageError, match=r"before it has read \{text\}: put \{mask\} at the end"):
        pet("gemma", "{mask}: {text}").collate(ROWS)
    with pytest.raises(UsageError, match="CausalPrompt scores words of several pieces"):
        encode(Template.parse("{text} {mask*2}"), ROWS, tokenizer("gemma"))
    for pooling in ("cls", "pooler"):
        with pytest.raises(UsageError, match="has seen no text: take 'last' or 'mean'"):
            add_head(causal_model("llama"), 2, pooling)


# What is answered


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_the_answer_is_the_models_next_token(kind):
    model, how = causal_model(kind), pet(kind)
    batch = how.collate(ROWS)
    wanted = torch.stack([next_logits(model, ids) for ids in prompts(kind)])
    torch.testing.assert_close(how.mask_logits(model, batch)[:, 0], wanted, rtol=1e-4, atol=1e-4)
    words = how.verbalizer.word_ids[:, 0]
    torch.testing.assert_close(how.logits(model, batch).softmax(1), wanted[:, words].softmax(1), rtol=1e-4, atol=1e-5)
    chances = how.verbalizer.word_logits(how.mask_logits(model, batch)).exp()
    torch.testing.assert_close(chances, wanted.softmax(1)[:, words], rtol=1e-4, atol=1e-6)
    loss = F.cross_entropy(wanted[:, words], batch["labels"])
    torch.testing.assert_close(how.loss(model, batch), loss, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "own"), [("gpt2", {}), ("llama", {}), ("gemma", {}),
                                           ("gemma", {"final_logit_softcapping": 2.0})])  # fmt: skip
def test_logits_of_a_few_words_are_columns_of_all_and_so_are_gradients(kind, own):
    model, batch = causal_model(kind, **own), pet(kind).collate(ROWS)
    rows, columns, words = torch.arange(4), batch["mask_positions"][:, 0], torch.tensor([9, 4, 11])
    every = lm_logits(model, batch, rows, columns)
    some = lm_logits(model, batch, rows, columns, words)
    torch.testing.assert_close(some, every[:, words], rtol=1e-5, atol=1e-5)
    assert every.shape == (4, model.config.vocab_size)
    grads = []
    for found in (every[:, words], some):
        model.zero_grad()
        (found * torch.arange(12.0).view(4, 3)).sum().backward()
        grads.append({name: p.grad.clone() for name, p in model.named_parameters()})
    torch.testing.assert_close(grads[0], grads[1], rtol=1e-3, atol=1e-4)
    assert not model.get_output_embeddings()._forward_hooks and not model.get_output_embeddings()._forward_pre_hooks


@pytest.mark.parametrize("kind", KINDS)
def test_company_and_its_padding_change_nothing(kind):
    model, own = causal_model(kind), tokenizer(kind)
    cp = CPTuning(universal_template(("text",)), list(WORDS), own, mlm_weight=0)
    shown = InContext(PATTERN, Verbalizer(WORDS, own), own, ROWS[:2])
    ways = [(model, pet(kind)), (model, cp.fitted(model, ROWS)), (model, shown)]
    ways += [(add_head(model, 2, pooling, seed=0), HeadClassifier(own)) for pooling in ("last", "mean")]
    for model, how in ways:
        together, alone = (predict(model, how, ROWS, batch_size=size, progress=False) for size in (4, 1))
        torch.testing.assert_close(torch.tensor(together), torch.tensor(alone), rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_head_reads_the_last_token_wherever_the_padding_is(kind):
    base = causal_model(kind)
    model, batch = add_head(base, 2, "last", seed=0), HeadClassifier(tokenizer(kind)).collate(ROWS)
    ids, mask = batch["input_ids"], batch["attention_mask"]
    for row, length in enumerate(mask.sum(1).tolist()):
        states = base(input_ids=ids[row : row + 1, :length], output_hidden_states=True).hidden_states[-1]
        wanted = model.classifier(states[0, -1])
        torch.testing.assert_close(model(ids, mask).logits[row], wanted, rtol=1e-4, atol=1e-4)
    moved = [torch.stack([one.roll(-int(n)) for one, n in zip(what, mask.sum(1), strict=True)]) for what in (ids, mask)]
    torch.testing.assert_close(model(*moved).logits, model(ids, mask).logits, rtol=1e-4, atol=1e-4)


def test_a_pair_is_one_text_of_two_lines():
    own = tokenizer("gemma")
    how = HeadClassifier(own, ("text", "other"), max_length=24)
    ids = how.collate([{"text": "good", "other": "bad"}])["input_ids"][0].tolist()
    assert ids == own("good\nbad")["input_ids"]
    assert how.collate([{"text": "good" * 9, "other": "bad" * 60}])["input_ids"].shape == (1, 24)


# Tuning


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_cp_tuning_compares_last_states(kind):
    model, own = causal_model(kind), tokenizer(kind)
    how = CPTuning(universal_template(("text",)), list(WORDS), own, mlm_weight=0, rule="mean")
    wanted = [
        model(input_ids=torch.tensor([ids]), output_hidden_states=True).hidden_states[-1][0, -1]
        for ids in prompts(kind, "{} it is")
    ]
    found = how.features(model, how.collate(ROWS))
    torch.testing.assert_close(found, F.normalize(torch.stack(wanted), dim=1), rtol=1e-4, atol=1e-4)


def test_language_modelling_beside_it_asks_for_words_in_sight():
    model, own = causal_model("gemma"), tokenizer("gemma")
    how = CPTuning(universal_template(("text",)), list(WORDS), own, mlm_weight=0.5, mlm_probability=0.3)
    batch = how.collate(ROWS, np.random.default_rng(0))
    named = batch["mlm_labels"] >= 0
    assert named.any() and torch.equal(batch["input_ids"][named], batch["mlm_labels"][named])
    _, logits, answers = how._pass(model, batch)
    rows, columns = named.nonzero(as_tuple=True)
    wanted = model(batch["input_ids"], batch["attention_mask"]).logits[rows, columns - 1]
    torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
    assert torch.equal(answers, batch["input_ids"][named])


ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize("kind", ["llama", "gemma"])
@pytest.mark.parametrize("name", [name for name in DELTAS if name not in ("bitfit", "combined", "intrinsic")])
def test_every_delta_starts_there_trains_and_comes_off_bit_for_bit(kind, name):
    model, how, before = causal_model(kind), pet(kind), weights(causal_model(kind))
    delta = DELTAS[name](**{"lora": {"rank": 4, "targets": ATTENTION}, "ladder": {"reduction": 4}}.get(name, {}))
    batch = how.collate(ROWS)
    untouched = how.logits(model, batch).detach()
    delta.attach(model)
    if name not in ("prompt", "prefix"):
        torch.testing.assert_close(how.logits(model, batch).detach(), untouched, rtol=1e-3, atol=1e-3)
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=20, lr=3e-2, progress=False)
    assert history.losses[-1] < history.losses[0]
    delta.detach(model)
    assert weights(model) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_soft_prompt_is_a_template_that_begins_with_soft_tokens(kind):
    own, model = tokenizer(kind), causal_model(kind)
    soft = pet(kind, "{soft*3}" + " " * (kind == "llama") + PATTERN)  # the space that it puts before a text
    templated = attach_soft_tokens(copy.deepcopy(model), soft.template, own)
    prompt = PromptTuning(3).attach(model)
    with torch.no_grad():
        model.base_model.soft_prompt.weight.copy_(templated.get_input_embeddings().soft.weight)
        found, wanted = pet(kind).logits(model, pet(kind).collate(ROWS)), soft.logits(templated, soft.collate(ROWS))
    torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-3)
    assert weights(PromptTuning.detach(PromptTuning(3), model)) == weights(causal_model(kind)) and prompt is model


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_a_prefix_is_a_cache_of_earlier_keys_and_values(kind):
    far = {"sliding_window": 64} if kind == "gemma" else {}
    model, ids = Prefix(3).attach(causal_model(kind, **far)), torch.tensor([prompts(kind)[1]])
    cache, states = DynamicCache(config=model.config), model.base_model.prefix
    for layer in range(2):
        cache.update(*(part[None] for part in states.layer(layer)), layer)
    how = model(input_ids=ids).logits
    bare = Prefix(3).detach(copy.deepcopy(model))
    places = torch.arange(ids.shape[1])[None]
    mask = torch.ones(1, 3 + ids.shape[1], dtype=torch.long)
    wanted = bare(input_ids=ids, attention_mask=mask, past_key_values=cache, position_ids=places).logits
    torch.testing.assert_close(how, wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_untrained_p_tuning_is_the_cloze_folded_or_not(kind):
    model, how = causal_model(kind), pet(kind, cls=PTuning)
    wanted = pet(kind).logits(model, pet(kind).collate(ROWS))
    attached = how.attach(copy.deepcopy(model))
    batch = how.collate(ROWS)
    torch.testing.assert_close(how.logits(attached, batch), wanted, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(how.logits(fold_soft_tokens(attached), batch), wanted, rtol=1e-4, atol=1e-4)
    assert weights(detach_soft_tokens(attached)) == weights(model)


@torch.no_grad()
@pytest.mark.parametrize("kind", ["gpt2", "gemma"])  # whose LM head is their table of words
def test_untrained_warp_with_words_is_the_cloze(kind):
    model, how = causal_model(kind), pet(kind, cls=WARP, soften=False)
    wanted = pet(kind).logits(model, pet(kind).collate(ROWS))
    torch.testing.assert_close(how.logits(how.attach(model), how.collate(ROWS)), wanted, rtol=1e-4, atol=1e-4)


def test_lora_by_key_trains_the_cloze():
    model, how = causal_model("gemma"), pet("gemma")
    LoRA(rank=4, targets=ATTENTION).attach(model)
    assert sum(p.requires_grad for p in model.parameters()) == 2 * 2 * len(ATTENTION)
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=40, lr=3e-2, progress=False)
    assert history.losses[-1] < 0.5 * history.losses[0]
