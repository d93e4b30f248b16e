"""AutoPrompt: the first-order score against finite differences, and the loss that only falls."""

from __future__ import annotations

import random

import pytest
import torch

from labkit.errors import UsageError
from labkit.fewshot.auto_prompts import first_order_scores, search_triggers
from labkit.fewshot.auto_prompts.candidates import whole_words
from labkit.fewshot.auto_prompts.triggers import _Climb
from labkit.fewshot.pet import PET
from tests.fewshot.auto_prompt_tiny import WORDS, albert, bert, task
from tests.fewshot.auto_prompt_tiny import tokenizer as tiny_tokenizer

TEMPLATE = "{text} {soft:it so} {mask} ."


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


class Exact(PET):
    """PET's loss in float64 throughout: the cross-entropy over the label words' logits."""

    def loss(self, model, batch):
        picked = self.mask_logits(model, batch)[:, 0, self.verbalizer.word_ids[:, 0]]
        return torch.nn.functional.cross_entropy(picked, batch["labels"])


def loss_moved(model, method, batch, trigger, direction, size):
    """The loss when the embedding of one trigger is moved in every row."""
    places = batch["soft_mask"].nonzero().view(len(batch["labels"]), -1, 2)[:, trigger]

    def move(_, __, output):
        output = output.clone()
        output[places[:, 0], places[:, 1]] += size * direction
        return output

    handle = model.get_input_embeddings().register_forward_hook(move)
    try:
        return float(method.loss(model, batch).detach())
    finally:
        handle.remove()


@pytest.mark.parametrize("build", [bert, albert])
def test_the_first_order_score_is_the_directional_derivative(tokenizer, build):
    model = build().double().eval()
    plain = PET.for_task(task(), tokenizer, TEMPLATE)
    method = Exact(plain.template, plain.verbalizer, tokenizer)
    batch = method.collate(task().splits["train"])
    assert float(method.loss(model, batch).detach()) == pytest.approx(
        float(plain.loss(model, batch).detach()), rel=1e-5
    )
    found = first_order_scores(model, method, batch)
    assert found.shape == (2, len(WORDS))
    table = model.get_input_embeddings().weight.detach()
    for trigger, now in enumerate(("it", "so")):
        assert float(found[trigger, WORDS.index(now)]) == pytest.approx(0, abs=1e-12)
        for word in ("love", "##s", "!", "[PAD]"):
            direction = table[WORDS.index(word)] - table[WORDS.index(now)]
            ends = [loss_moved(model, method, batch, trigger, direction, size) for size in (1e-4, -1e-4)]
            assert float(found[trigger, WORDS.index(word)]) == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_a_swap_is_accepted_only_if_the_true_loss_falls(tokenizer):
    model, rows = bert(3), task().splits["train"]
    method, usable = PET.for_task(task(), tokenizer, TEMPLATE), whole_words(tokenizer, len(WORDS))
    climb = _Climb(model, method, rows, usable, candidates=4)
    states = climb.run(20, random.Random(0))
    losses = [loss for _, loss in states]
    assert len(losses) > 1 and all(after < before for before, after in zip(losses, losses[1:], strict=False))
    model.eval()
    for ids, loss in states:
        words = " ".join(WORDS[number] for number in ids)
        plain = PET.for_task(task(), tokenizer, f"{{text}} {words} {{mask}} .")
        with torch.no_grad():
            assert float(plain.loss(model, plain.collate(rows))) == pytest.approx(loss, abs=1e-5)
    for (before, _), (after, _) in zip(states, states[1:], strict=False):
        assert sum(a != b for a, b in zip(before, after, strict=True)) == 1


def test_with_all_words_as_candidates_it_ends_where_no_single_swap_helps(tokenizer):
    model = bert(5)
    method, usable = PET.for_task(task(), tokenizer, TEMPLATE), whole_words(tokenizer, len(WORDS))
    climb = _Climb(model, method, task().splits["train"], usable, candidates=len(WORDS))
    end, loss = climb.run(500, random.Random(1))[-1]
    model.eval()
    options = []
    for trigger in range(2):
        for number in usable.nonzero().flatten().tolist():
            ids = list(end)
            ids[trigger] = number
            options.append(ids)
    assert float(climb._losses(torch.tensor(options)).min()) >= loss - 1e-6


def test_label_words_and_pieces_are_no_triggers(tokenizer):
    for seed in range(3):
        found = search_triggers(bert(seed), tokenizer, task(), triggers=2, candidates=20, swaps=8)
        for one in found.tried:
            if not one.start:
                assert not {"bad", "good"} & set(str(one.template).split()) and "##" not in str(one.template)


def test_settings_that_make_no_sense(tokenizer):
    with pytest.raises(UsageError, match="triggers=0"):
        search_triggers(bert(), tokenizer, task(), triggers=0)
