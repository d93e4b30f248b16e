"""Searches for templates and label words: what they rank by, what they never fall below, what they refuse."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch

from labkit.errors import DataError, UsageError
from labkit.evaluation import evaluate
from labkit.fewshot.auto_prompts import label_words as module
from labkit.fewshot.auto_prompts import search_template, search_triggers, search_words
from labkit.fewshot.auto_prompts.label_words import best_assignments, likely_words, usable_words
from labkit.fewshot.pet import PET
from tests.fewshot.auto_prompt_tiny import WORDS, albert, bert, task
from tests.fewshot.auto_prompt_tiny import tokenizer as tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def dev_score(model, tokenizer, few, template, words):
    method = PET.for_task(replace(few, words=words), tokenizer, str(template))
    return evaluate(model, method, few, "dev", progress=False)["accuracy"]


SEARCHES = {
    "template": lambda model, tokenizer, few: search_template(model, tokenizer, few, beam=4, candidates=5),
    "words": lambda model, tokenizer, few: search_words(model, tokenizer, few, few.patterns[0], pool=6, candidates=5),
    "triggers": lambda model, tokenizer, few: search_triggers(model, tokenizer, few, triggers=2, swaps=6),
}


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize("build", [bert, albert])
def test_the_score_is_pets_on_dev_and_never_below_the_start(tokenizer, build, search):
    for seed in range(2):
        model, few = build(seed), task()
        before = [value.clone() for value in model.state_dict().values()]
        found = SEARCHES[search](model, tokenizer, few)
        for one in found.tried[:3] + (found.start,):
            assert one.score == pytest.approx(dev_score(model, tokenizer, few, one.template, one.words))
        own = dev_score(model, tokenizer, few, few.patterns[0], few.words)
        assert found.start.score == pytest.approx(own) and found.score >= own
        assert [(-one.score, -one.log_likelihood) for one in found.tried] == sorted(
            (-one.score, -one.log_likelihood) for one in found.tried
        )
        assert str(PET.for_task(replace(few, words=found.words), tokenizer, str(found.template)).template) == str(
            found.template
        )
        assert model.training and all(
            torch.equal(a, b) for a, b in zip(before, model.state_dict().values(), strict=True)
        )
        assert all(parameter.grad is None for parameter in model.parameters())


def test_a_search_is_a_function_of_its_seed(tokenizer):
    one, two = (search_triggers(bert(), tokenizer, task(), swaps=4, seed=3) for _ in range(2))
    assert one.template == two.template and one.losses == two.losses
    one, two = (search_template(bert(), tokenizer, task(), beam=3, candidates=2, steps=2, seed=1) for _ in range(2))
    assert [(str(c), c.log_likelihood) for c in one.tried] == [(str(c), c.log_likelihood) for c in two.tried]


def test_with_steps_a_trained_copy_is_judged(tokenizer):
    model = bert()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = search_words(model, tokenizer, task(), "{text} it was {mask} .", pool=3, candidates=2)
    trained = search_words(model, tokenizer, task(), "{text} it was {mask} .", pool=3, candidates=2, steps=30, lr=1e-2)
    assert {str(c) for c in plain.tried} == {str(c) for c in trained.tried}
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert plain.start.log_likelihood != trained.start.log_likelihood


def test_a_pair_task_and_the_words_of_a_pattern(tokenizer):
    rows = [{"one": "the film was good", "two": "it was fine", "label": number % 2} for number in range(4)]
    few = task(fields=("one", "two"), splits={"train": rows, "dev": rows}, patterns=("{one} , {mask} , {two}",))
    for search in SEARCHES.values():
        found = search(bert(), tokenizer, few)
        assert set(found.template.fields) == {"one", "two"}


# Label words


def test_words_are_ranked_as_the_paper_says():
    """Summed log-likelihood a class, then training accuracy of every combination, by brute force."""
    generator = torch.Generator().manual_seed(0)
    scores, labels = torch.randn(20, 9, generator=generator).log_softmax(1), torch.arange(20) % 3
    usable = torch.tensor([True] * 8 + [False])
    pools = likely_words(scores, labels, 3, usable, 4)
    for label, pool in enumerate(pools):
        sums = {word: float(scores[labels == label, word].sum()) for word in range(8)}
        assert pool == sorted(sums, key=sums.get, reverse=True)[:4]
    found = best_assignments(scores, labels, pools, keep=5)
    every = {}
    for ids in itertools.product(*pools):
        if len(set(ids)) == 3:
            every[ids] = float((scores[:, list(ids)].argmax(1) == labels).float().mean())
    assert sorted(found.values(), reverse=True) == pytest.approx(sorted(every.values(), reverse=True)[:5])
    assert all(value == pytest.approx(every[ids]) for ids, value in found.items())


def test_class_by_class_it_comes_near_the_best_of_all(monkeypatch):
    generator = torch.Generator().manual_seed(1)
    scores, labels = torch.randn(40, 30, generator=generator).log_softmax(1), torch.arange(40) % 4
    pools = likely_words(scores, labels, 4, torch.ones(30, dtype=torch.bool), 8)
    exact = best_assignments(scores, labels, pools, keep=1)
    monkeypatch.setattr(module, "MOST", 10)
    climbed = best_assignments(scores, labels, pools, keep=8)
    assert all(len(set(ids)) == 4 for ids in climbed)
    assert max(climbed.values()) >= max(exact.values()) - 0.05
    assert max(climbed.values()) <= max(exact.values())


def test_a_task_without_words_has_no_start(tokenizer):
    found = search_words(bert(), tokenizer, task(words={}), "{text} {mask}", pool=3, candidates=2)
    assert len(set(found.words.values())) == 2 and found.start is None


def test_words_of_two_pieces_stay_a_candidate(tokenizer):
    few = task(words={"negative": ("very bad",), "positive": ("very good",)})
    found = search_words(bert(), tokenizer, few, few.patterns[0], pool=3, candidates=2)
    assert found.start.words == {"negative": ("very bad",), "positive": ("very good",)}
    assert found.start.score == pytest.approx(dev_score(bert(), tokenizer, few, few.patterns[0], few.words))


# What is refused


def without(split):
    whole = task()
    return replace(whole, splits={name: rows for name, rows in whole.splits.items() if name != split})


def one_class():
    whole = task()
    return replace(whole, splits={**whole.splits, "train": [row for row in whole.splits["train"] if row["label"]]})


def unlabelled():
    whole = task()
    return replace(whole, splits={**whole.splits, "dev": [{"text": "a film", "label": None}]})


@pytest.mark.parametrize("search", SEARCHES)
@pytest.mark.parametrize(
    ("few", "error", "said"),
    [
        (without("dev"), UsageError, "needs rows in 'dev', it has train; task.few_shot"),
        (without("train"), UsageError, "needs rows in 'train'"),
        (one_class(), DataError, "label 'negative' has no row in 'train'"),
        (unlabelled(), DataError, "split 'dev', row 1: no label"),
    ],
)
def test_a_task_without_what_a_search_needs_is_refused(tokenizer, search, few, error, said):
    with pytest.raises(error, match=said):
        SEARCHES[search](bert(), tokenizer, few)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_model_without_a_masked_lm_head_is_refused(tokenizer, search):
    with pytest.raises(UsageError, match="no masked-LM head"):
        SEARCHES[search](bert().bert, tokenizer, task())


def test_words_that_cannot_be_are_refused(tokenizer):
    with pytest.raises(UsageError, match="words are single pieces of this tokenizer, 99 classes need one each"):
        usable_words(tokenizer, len(WORDS), 99)
    with pytest.raises(UsageError, match="template of one {mask}"):
        search_words(bert(), tokenizer, task(), "{text} {mask*2}")
    with pytest.raises(UsageError, match="pool=0"):
        search_words(bert(), tokenizer, task(), "{text} {mask}", pool=0)
    for search in (search_template, search_triggers):
        with pytest.raises(UsageError, match="label 'negative' has no label words"):
            search(bert(), tokenizer, task(words={}))
    with pytest.raises(UsageError, match="beam=0"):
        search_template(bert(), tokenizer, task(), beam=0)


def test_a_pool_too_small_for_classes_that_share_words_is_refused(monkeypatch):
    monkeypatch.setattr(module, "MOST", 0)
    with pytest.raises(UsageError, match="pool=1: too small for 2 classes"):
        best_assignments(torch.zeros(4, 5), torch.arange(4) % 2, [[3], [3]], keep=2)


def test_on_the_courses_model_searched_beats_a_bad_start_where_it_decides(monkeypatch):
    """On SUBJ the untrained hand-written cloze guesses; each search finds better on the rows that it decides by."""
    from labkit import load_task
    from labkit.zoo import load

    model, tokenizer = load("micro-bert-en")
    few = load_task("world/subj").few_shot(8, seed=0)
    monkeypatch.setattr("labkit.fewshot.auto_prompts.templates.BLANKS", ((1, 1),))
    found = search_template(model, tokenizer, few, beam=4, candidates=4)
    assert found.score > found.start.score + 0.1
    found = search_words(model, tokenizer, few, few.patterns[0])
    assert found.score > found.start.score + 0.1
