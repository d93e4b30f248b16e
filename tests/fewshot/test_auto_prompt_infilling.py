"""Beams against brute force: every filling of a tiny masked LM and of a tiny T5 is scored one by one."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from labkit.errors import UsageError
from labkit.fewshot.auto_prompts.candidates import whole_words
from labkit.fewshot.auto_prompts.infilling import Layout, masked_beam, masked_fillings, with_words
from labkit.fewshot.auto_prompts.t5 import t5_fillings
from labkit.fewshot.auto_prompts.templates import layouts_of
from labkit.tasks import Task
from tests.fewshot.auto_prompt_tiny import PLAIN, WORDS, albert, bert, task
from tests.fewshot.auto_prompt_tiny import tokenizer as tiny_tokenizer

ROWS = with_words(task().splits["train"], task().words)


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


# A masked LM


def chain(model, tokenizer, row, before, blanks, left, after):
    """log p of the words in `blanks`, filled one after another, by the model's plain forward pass."""
    total = 0.0
    for number, word in enumerate(blanks):
        shown = [*blanks[:number], *["[MASK]"] * (len(blanks) - number)]
        words = [*before, *shown[:left], row["label word"], *shown[left:], *after]
        inputs = tokenizer(" ".join(words), return_tensors="pt")
        at = 1 + len(before) + number + (number >= left)
        total += float(model(**inputs).logits[0, at].log_softmax(0)[WORDS.index(word)])
    return total


@pytest.mark.parametrize("build", [bert, albert])
@pytest.mark.parametrize(("layout", "blanks"), [(Layout("{text}"), (1, 1)), (Layout("", "{text}"), (2, 0))])
@torch.no_grad()
def test_a_wide_beam_finds_what_brute_force_finds(tokenizer, build, layout, blanks):
    model = build().eval()
    usable = whole_words(tokenizer, len(WORDS))
    found = masked_fillings(model, tokenizer, layout, blanks, ROWS, usable, beam=len(PLAIN) ** 2)
    every = {}
    for words in itertools.product(PLAIN, repeat=2):
        texts = [row["text"].split() if layout.before else [] for row in ROWS]
        ends = [row["text"].split() if layout.after else [] for row in ROWS]
        parts = zip(ROWS, texts, ends, strict=True)
        if words[0] in PLAIN[:2]:  # a part is enough to compare scores
            every[words] = sum(chain(model, tokenizer, row, text, words, blanks[0], end) for row, text, end in parts)
    assert len(found) == len(PLAIN) ** 2
    scores = {(*one.left.split(), *one.right.split()): one.log_probability for one in found}
    for words, score in every.items():
        assert scores[words] == pytest.approx(score, abs=2e-3), words
    order = [one.log_probability for one in found]
    assert order == sorted(order, reverse=True)


def test_a_narrow_beam_keeps_the_best_of_what_it_grew(tokenizer):
    """Each step of the beam is the best of all extensions of the step before, and of nothing else."""
    model, usable = bert().eval(), whole_words(tokenizer, len(WORDS))
    skeleton = Layout("{text}").skeleton(2, 1)
    narrow = list(masked_beam(model, tokenizer, skeleton, ROWS, usable, beam=3))
    wide = list(masked_beam(model, tokenizer, skeleton, ROWS, usable, beam=10**6))
    for step in range(3):
        known = {tuple(ids): score for ids, score in zip(*map(torch.Tensor.tolist, wide[step]), strict=True)}
        parents = [tuple(ids) for ids in narrow[step - 1][0].tolist()] if step else [()]
        grown = sorted((s for ids, s in known.items() if ids[:-1] in parents), reverse=True)[:3]
        assert narrow[step][1].tolist() == pytest.approx(grown, abs=1e-3)
    assert narrow[-1][1][0] <= wide[-1][1][0] + 1e-3


def test_only_whole_words_stand_in_a_template(tokenizer):
    usable = whole_words(tokenizer, len(WORDS))
    assert [WORDS[number] for number in usable.nonzero().flatten()] == PLAIN
    letters = whole_words(tokenizer, len(WORDS), letters=True)
    assert {WORDS[number] for number in (usable & ~letters).nonzero().flatten()} == {".", ",", "!"}
    assert whole_words(tokenizer, 100).sum() == len(PLAIN)  # a model may have more rows than its tokenizer has tokens


def test_a_layout_writes_braces_as_text():
    layout = Layout("{text_a}", "{text_b}")
    template = layout.template("{so}", "")
    assert str(template) == "{text_a} {{so}} {mask} {text_b}" and template.fields == ("text_a", "text_b")
    assert str(Layout("{text}", "", "").template("很", "。")) == "{text}很{mask}。"


def test_the_layouts_are_the_papers():
    pair = Task("pair", ("one", "two"), ("a", "b"), {})
    assert [str(layout.template("x", "y")) for layout in layouts_of(task())] == [
        "{text} x {mask} y",
        "x {mask} y {text}",
    ]
    assert [str(layout.template("x", "y")) for layout in layouts_of(pair)] == [
        "{one} x {mask} y {two}", "{one} {two} x {mask} y",
    ]  # fmt: skip


# T5

SMALL = ["it"]


@pytest.fixture(scope="module")
def t5():
    """A random T5 with four words, and its tokenizer."""
    names = ["<pad>", "</s>", "<unk>", *SMALL, "bad", "<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    body = Tokenizer(models.WordLevel({name: number for number, name in enumerate(names)}, unk_token="<unk>"))  # noqa: S106
    body.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=body, pad_token="<pad>", eos_token="</s>", unk_token="<unk>",  # noqa: S106
        extra_special_tokens=list(names[-3:]),
    )  # fmt: skip
    torch.manual_seed(1)
    config = T5Config(
        vocab_size=10, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0,
        dropout_rate=0.1,
    )  # fmt: skip
    model = T5ForConditionalGeneration(config)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    return model.eval(), tokenizer, names


def by_hand(model, names, row, left, right):
    """log P of the whole output, by one teacher-forced pass."""
    ids = names.index
    source = [*map(ids, row["text"].split()), ids("<extra_id_0>"), ids(row["label word"]), ids("<extra_id_1>"), 1]
    target = [ids("<extra_id_0>"), *map(ids, left), ids("<extra_id_1>"), *map(ids, right), ids("<extra_id_2>")]
    logits = model(input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[0, *target[:-1]]])).logits[0]
    log = logits.log_softmax(1)[torch.arange(len(target)), torch.tensor(target)]
    return float(log[1:].sum())  # the first sentinel is given


@torch.no_grad()
def test_t5s_beam_finds_what_brute_force_finds(t5):
    model, tokenizer, names = t5
    rows = [{"text": "it bad", "label word": "it"}, {"text": "bad", "label word": "bad"}]
    options = ["it", "bad"]
    spans = [(), *((word,) for word in options), *itertools.product(options, repeat=2)]
    every = {
        (" ".join(left), " ".join(right)): sum(by_hand(model, names, row, left, right) for row in rows)
        for left in spans
        for right in spans
    }
    assert len(every) == 7**2
    found = t5_fillings(model, tokenizer, Layout("{text}"), rows, beam=1000, most=2)
    assert {(one.left, one.right) for one in found} == set(every)
    for one in found:
        assert one.log_probability == pytest.approx(every[one.left, one.right], abs=1e-3)
    assert found[0].log_probability == pytest.approx(max(every.values()), abs=1e-3)
    narrow = t5_fillings(model, tokenizer, Layout("{text}"), rows, beam=3, most=2)
    assert len(narrow) == 3 and narrow[0].log_probability <= found[0].log_probability + 1e-3


def test_t5s_spans_end_in_time_and_have_no_special_tokens(t5):
    model, tokenizer, _ = t5
    rows = [{"text": "it it <extra_id_1> it", "label word": "it"}]
    for one in t5_fillings(model, tokenizer, Layout("{text}"), rows, beam=30, most=1):
        assert len(one.left.split()) <= 1 and len(one.right.split()) <= 1 and "<" not in one.left + one.right
        assert not math.isinf(one.log_probability)


def test_a_long_text_is_cut_and_the_blanks_stay(t5):
    model, tokenizer, _ = t5
    rows = [{"one": "film " * 500, "two": "it " * 400, "label word": "it"}]
    found = t5_fillings(model, tokenizer, Layout("{one}", "{two}"), rows, beam=2, most=1, max_length=20)
    assert len(found) == 2


def test_a_generator_that_cannot_fill_spans_is_refused(t5, tokenizer):
    with pytest.raises(UsageError, match="cannot fill spans: a T5 and its own"):
        t5_fillings(t5[0], tokenizer, Layout("{text}"), ROWS, beam=2)
    with pytest.raises(UsageError, match="cannot fill spans"):
        t5_fillings(bert(), tokenizer, Layout("{text}"), ROWS, beam=2)
