"""TransPrompt: its weights against the formula in numpy, its prompts against PET's words, what it trains; Reptile."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from labkit.errors import UsageError
from labkit.evaluation import evaluate, predict
from labkit.fewshot.instruction.meta_learning import Episode, reptile, text_episodes
from labkit.fewshot.instruction.transprompt import (
    PromptEncoders,
    TransPrompt,
    adapt,
    features,
    group_rows,
    meta_train,
    prototype_scores,
    prototype_weights,
)
from labkit.fewshot.pet import PET
from labkit.fewshot.prompts.soft_tokens import SoftEmbedding, detach_soft_tokens, fold_soft_tokens
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.training import Batches, fit
from tests.fewshot import tiny_tasks as tiny

GROUP = [tiny.pairs("made/a"), tiny.pairs("made/b", swapped=True)]


@pytest.fixture(scope="module")
def tokenizer():
    return tiny.tokenizer()


@pytest.fixture
def method(tokenizer):
    return TransPrompt.for_tasks(GROUP, tokenizer)


# Weights


def scores_by_hand(features, tasks, classes, own):
    """s = ζ·cos(f, own centroid) + (1 − ζ)·mean of cos(f, the same class's centroid in each other task)."""
    found = []
    for f, t, y in zip(features, tasks, classes, strict=True):

        def near(task, f=f, y=y):
            some = [g for g, u, z in zip(features, tasks, classes, strict=True) if (u, z) == (task, y)]
            if not some:
                return None
            c = sum(some) / len(some)
            return float(f @ c) / (sum(f * f) ** 0.5 * sum(c * c) ** 0.5)

        far = [near(u) for u in sorted(set(tasks)) if u != t and near(u) is not None]
        found.append(own * near(t) + (1 - own) * sum(far) / len(far) if far else near(t))
    return np.array(found)


@pytest.mark.parametrize("own", [0.0, 0.3, 1.0])
def test_prototype_scores_are_the_formulas(own):
    rng = np.random.default_rng(0)
    tasks, classes = rng.integers(3, size=40), rng.integers(2, size=40)
    some = rng.normal(size=(40, 5)) + tasks[:, None] + 2 * classes[:, None]
    np.testing.assert_allclose(prototype_scores(some, tasks, classes, own), scores_by_hand(some, tasks, classes, own))


def test_a_class_of_one_task_alone_is_scored_by_its_own_centroid():
    some = np.array([[1.0, 0], [0, 1], [1, 1], [1, 0]])
    tasks, classes = [0, 0, 0, 1], [0, 1, 1, 0]
    found = prototype_scores(some, tasks, classes, 0.5)
    np.testing.assert_allclose(found, scores_by_hand(some, tasks, classes, 0.5))
    assert found[1] == pytest.approx(np.cos(np.arctan2(0.5, 1)))  # between (0, 1) and the centroid (.5, 1)


def test_an_example_that_is_typical_everywhere_counts_most():
    some = np.array([[1, 0.2], [1, -0.2], [0.1, 1], [1, 0], [1, 0.1]])
    weights = prototype_weights(prototype_scores(some, [0, 0, 0, 1, 1], [0] * 5), 0.1)
    assert weights.argmin() == 2 and weights.mean() == pytest.approx(1)
    s = np.array([0.3, -0.1, 0.9])
    np.testing.assert_allclose(prototype_weights(s, 0.5), 3 * np.exp(s / 0.5) / np.exp(s / 0.5).sum())
    np.testing.assert_allclose(prototype_weights(s, 1e9), 1, rtol=1e-6)
    with pytest.raises(UsageError, match="temperature=0"):
        prototype_weights(s, 0)


# Prompts


def test_untrained_it_is_pet_with_the_same_words(method, tokenizer):
    """Every prompt, the universal one too, starts as the template's own words."""
    model = method.attach(tiny.bert())
    for task in (*GROUP, replace(GROUP[0], name="made/unseen")):
        pet = PET("{text_a} ? {mask} , {text_b} .", method.asking(task).verbalizer, tokenizer)
        rows = task.splits["test"]
        wanted = predict(tiny.bert(), pet, rows, progress=False)
        np.testing.assert_allclose(predict(model, method.asking(task), rows, progress=False), wanted, atol=1e-5)


@torch.no_grad()
def test_each_row_reads_its_own_prompt(method):
    """Token k of task t is row t·n + k of the prompts: shown by putting the very vectors in place of the ids."""
    model = method.attach(tiny.bert(), share=0.25)
    embedding = model.get_input_embeddings()
    for parameter in embedding.encoder.parameters():
        parameter.normal_(std=0.5)
    rows = embedding.soft.weight
    encoders = embedding.encoder
    prompts = [rows + 0.25 * encoders.universal(rows) + 0.75 * one(rows) for one in encoders.encoders]
    prompts.append(rows + encoders.universal(rows))
    torch.testing.assert_close(embedding.table(), torch.cat(prompts))
    row = GROUP[0].splits["test"][0]
    batch = method.collate([{**row, "prompt": number} for number in (0, 1, 2)])
    found = method.mask_logits(model, batch)[:, 0]
    for number in range(3):
        vectors = embedding.base(batch["input_ids"][[number]])
        vectors[0, batch["soft_mask"][number]] = prompts[number]
        out = model(inputs_embeds=vectors, attention_mask=batch["attention_mask"][[number]]).logits
        torch.testing.assert_close(found[number], out[0, batch["mask_positions"][number, 0]], rtol=1e-4, atol=1e-4)
    assert (found[0] - found[1]).abs().max() > 0.01 and (found[0] - found[2]).abs().max() > 0.01


def test_labels_are_matched_by_their_words(method):
    """The second task names its labels in the other order: "no" is class 0 in both."""
    rows = group_rows(method, GROUP)
    half = len(rows) // 2
    assert [row["label"] for row in rows[:half]] == [row["label"] for row in rows[half:]] == [1, 0, 1]
    assert [row["prompt"] for row in rows] == [0] * 3 + [1] * 3
    assert method.asking(GROUP[1]).verbalizer.labels == ("same", "different")


def test_the_loss_weighs_examples_and_rewards_doubt(method):
    model, rows = method.attach(tiny.bert()), group_rows(method, GROUP)[:3]
    weights = [2.0, 0.5, 0.5]
    batch = method.collate([{**row, "weight": w} for row, w in zip(rows, weights, strict=True)])
    with torch.no_grad():
        logits = method.logits(model, batch)
        p = logits.softmax(1)
        ce = F.cross_entropy(logits, batch["labels"], reduction="none")
        wanted = (torch.tensor(weights) * ce).sum() / 3 - 0.01 * -(p * p.log()).sum(1).mean()
        torch.testing.assert_close(method.loss(model, batch), wanted)


# What trains


def fingerprints(model):
    return {name: value.detach().numpy().tobytes() for name, value in model.named_parameters()}


def test_only_the_prompts_of_the_tasks_in_the_batch_move(method):
    """With the backbone frozen and rows of task 0 alone, everything else stays bit for bit."""
    model = method.attach(tiny.bert())
    embedding = model.get_input_embeddings()
    model.requires_grad_(False)
    for part in (embedding.soft, embedding.encoder):
        part.requires_grad_(True)
    with torch.no_grad():  # the last layers start at 0, and with them the gradient of what is below
        for parameter in embedding.encoder.parameters():
            parameter += 0.1
    before, rows = fingerprints(model), group_rows(method, GROUP[:1])
    batches = Batches(rows, method.collate, 3)
    fit(model, method.loss, batches, steps=3, lr=1e-2, weight_decay=0.0, progress=False)
    moved = {name for name, value in fingerprints(model).items() if value != before[name]}
    prefix = next(name for name in moved if name.endswith("soft.weight")).removesuffix("soft.weight")
    assert moved
    for name in before:
        trains = name.startswith((f"{prefix}soft", f"{prefix}encoder.universal", f"{prefix}encoder.encoders.0"))
        assert (name in moved) <= trains, name
    assert any("encoders.0" in name for name in moved) and any("universal" in name for name in moved)


def test_meta_training_then_adaptation(method):
    """The copy learns the group; the given model stays; an unseen task starts from the universal prompt."""
    model, unseen = tiny.bert(), tiny.pairs("made/c")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    meta = meta_train(model, method, GROUP, steps=60, lr=1e-2)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    for task in GROUP:
        assert evaluate(meta, method.asking(task), task, progress=False)["accuracy"] == 1.0
    assert method.asking(unseen).prompt == 2
    state = fingerprints(meta)
    adapted = adapt(meta, method, unseen, steps=5, lr=1e-2)
    assert fingerprints(meta) == state != fingerprints(adapted)
    assert evaluate(adapted, method.asking(unseen), unseen, progress=False)["accuracy"] == 1.0
    again = meta_train(model, method, GROUP, steps=60, lr=1e-2)
    assert fingerprints(again) == state


def test_folded_and_detached_models(method, tokenizer):
    """Folded, the prompts are rows of a plain embedding that answers alike; detached, the embedding is the model's."""
    model = meta_train(tiny.bert(), method, GROUP, steps=3, lr=1e-2)
    task = GROUP[1]
    wanted = predict(model, method.asking(task), task.splits["test"], progress=False)
    folded = fold_soft_tokens(model)
    assert folded.get_input_embeddings().num_embeddings == len(tiny.WORDS) + 3 * method.tokens
    np.testing.assert_allclose(
        predict(folded, method.asking(task), task.splits["test"], progress=False), wanted, atol=1e-5
    )
    assert not isinstance(detach_soft_tokens(model).get_input_embeddings(), SoftEmbedding)


def test_features_are_mean_states_of_the_untouched_model(method):
    model, rows = tiny.bert(), group_rows(method, GROUP)
    found = features(model, method, rows, batch_size=4)
    assert found.shape == (6, 16)
    batch = PET.collate(method, rows[:1])
    with torch.no_grad():
        states = model.bert(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
    np.testing.assert_allclose(found[0], states[0].mean(0), rtol=1e-4, atol=1e-5)


def no_yes(tokenizer):
    return Verbalizer({"a": "no", "b": "yes"}, tokenizer)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda t: TransPrompt.for_tasks([tiny.pairs(), tiny.sentiment()], t), "made/films does not ask as its group"),
        (lambda t: TransPrompt("{text} so {mask}", no_yes(t), t, []), "different names"),
        (lambda t: TransPrompt("{text} so {mask}", no_yes(t), t, ["x"], entropy=-1), "λ >= 0"),
        (lambda t: group_rows(TransPrompt.for_tasks(GROUP, t), [tiny.pairs("made/c")]), "unknown task of this group"),
        (lambda t: PromptEncoders(8, 2, share=1.5), "share=1.5"),
        (lambda t: reptile(tiny.bert(), [], rounds=1), "0 episodes"),
        (lambda t: reptile(tiny.bert(), text_episodes([tiny.topic()], t), rounds=0), "rounds=0"),
        (lambda t: reptile(tiny.bert(), text_episodes([tiny.topic()], t), rounds=1, outer=0), "outer=0"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(call, message, tokenizer):
    with pytest.raises(UsageError, match=message):
        call(tokenizer)


# Meta-learning on unlabelled text


def end(model, episode):
    """Where `fit` leads from the model on an episode."""
    fast = tiny.bert()
    fast.load_state_dict(model.state_dict())
    batches = Batches(episode.rows, episode.collate, min(32, len(episode.rows)), seed=0)
    fit(fast, episode.loss, batches, steps=3, lr=1e-2, schedule="constant", warmup=0, seed=0, progress=False)
    return dict(fast.named_parameters())


def test_reptile_goes_a_part_of_the_way_to_where_fit_ends(tokenizer):
    model, (episode,) = tiny.bert(), text_episodes([tiny.sentiment()], tokenizer)
    reached = end(model, episode)
    whole = reptile(model, [episode], rounds=1, steps=3, lr=1e-2, outer=1.0)
    part = reptile(model, [episode], rounds=1, steps=3, lr=1e-2, outer=0.25)
    for name, value in model.named_parameters():
        torch.testing.assert_close(dict(whole.named_parameters())[name], reached[name])
        torch.testing.assert_close(dict(part.named_parameters())[name], value + 0.25 * (reached[name] - value))


def test_text_episodes_read_no_label(tokenizer):
    episode = text_episodes([tiny.sentiment()], tokenizer)[0]
    assert (
        isinstance(episode, Episode)
        and len(episode.rows) == 5
        and all(set(row) == {"input_ids"} for row in episode.rows)
    )


def test_every_task_comes_before_any_comes_again(tokenizer):
    seen = []

    def spy(number, episode):
        return Episode(episode.rows, lambda rows, rng: seen.append(number) or episode.collate(rows, rng), episode.loss)

    episodes = text_episodes([tiny.sentiment(), tiny.topic(), tiny.chinese()], tokenizer)
    reptile(tiny.bert(), [spy(n, e) for n, e in enumerate(episodes)], rounds=6, steps=1)
    assert sorted(seen[:3]) == sorted(seen[3:]) == [0, 1, 2]
