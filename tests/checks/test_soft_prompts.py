"""What learners write in lesson 03/03 is what the model computes with a prompt or a prefix attached."""

from __future__ import annotations

import torch

from tests.checks.solutions import solutions

SHOWN = solutions("03_fewshot/03_soft_prompts")


def test_the_lessons_functions_agree_with_labkit():
    from transformers import BertTokenizer

    from labkit.fewshot.soft_prompts import WARP, Prefix, PromptTuning
    from labkit.measure import trainable
    from tests.fewshot.soft_prompt_models import ID, bert, task

    n, model = 4, PromptTuning(4).attach(bert())
    ids = torch.tensor([[2, 6, 7, 3]])
    with torch.no_grad():
        words = bert().bert.embeddings.word_embeddings(ids)
        spliced = bert()(inputs_embeds=SHOWN["splice"](words, model.bert.soft_prompt.weight)).logits
        torch.testing.assert_close(model(ids).logits, torch.cat([spliced[:, :1], spliced[:, 1 + n :]], 1))

    counted = SHOWN["trained_weights"](4, 3, 32, 2)
    assert counted["prompt tuning"] == trainable(model)
    assert counted["prefix"] == trainable(Prefix(4).attach(bert()))
    warp = WARP.for_task(task(), BertTokenizer(vocab=ID), pattern="{text} {soft*4} {mask}")
    assert counted["WARP"] == trainable(warp.attach(bert()))

    model = Prefix(3, std=1.0).attach(bert())
    module, states = model.bert.encoder.layer[0].attention.self, torch.randn(1, 5, 32)
    with torch.no_grad():
        found = module(states)[0][0, :, :16]  # the first head
        own = [linear(states)[0, :, :16] for linear in (module.query, module.key, module.value)]
        prefix = [one[0] for one in model.bert.prefix.layer(0)]
        torch.testing.assert_close(SHOWN["prefix_attention"](*own, *prefix), found)


def test_an_own_prompt_steers_as_the_same_vectors_do():
    from labkit.fewshot.soft_prompts import PromptTuning
    from tests.fewshot.soft_prompt_models import bert

    model, ids = PromptTuning(4).attach(bert()), torch.tensor([[2, 6, 7, 3]])
    table = bert().bert.embeddings.word_embeddings
    with torch.no_grad():
        prompt = SHOWN["own_prompt"](table.weight.detach())()
        model.bert.soft_prompt.weight.copy_(prompt)
        spliced = bert()(inputs_embeds=SHOWN["splice"](table(ids), prompt)).logits
        torch.testing.assert_close(model(ids).logits, torch.cat([spliced[:, :1], spliced[:, 5:]], 1))
