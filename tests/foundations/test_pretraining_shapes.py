from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertForPreTraining, BertTokenizer

from labkit.foundations.pretraining import MaskedLM, token_counts, tokenize_corpus
from labkit.foundations.pretraining.rows import TokenRows
from labkit.foundations.pretraining.sentences import NextSentence, sentence_rows
from labkit.foundations.pretraining.shapes import IGNORE, hidden_places, roomy
from labkit.training import Batches, fit
from tests.training.toy import assert_same, interrupt_at

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "."] + [f"w{number}" for number in range(40)]
TOKENS = st.lists(st.lists(st.integers(0, 70_000), max_size=9), max_size=12)
SIZES = {"vocab_size": len(WORDS), "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
         "intermediate_size": 32, "max_position_embeddings": 64, "initializer_range": 0.5,
         "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def texts(count: int, longest: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS[6:], rng.integers(1, longest))) for _ in range(count)]


# Rows


@given(sequences=TOKENS, data=st.data())
@settings(max_examples=80, deadline=None)
def test_rows_are_those_of_a_list(sequences, data):
    plain, rows = [np.array(one, dtype=np.int32) for one in sequences], TokenRows.of(sequences)
    cut = data.draw(st.slices(len(plain) + 2))

    def same(found, wanted):
        assert len(found) == len(wanted) and all(row["input_ids"].dtype == np.int32 for row in found)
        assert [row["input_ids"].tolist() for row in found] == [one.tolist() for one in wanted]

    same(rows, plain)
    same(rows[cut], plain[cut])
    same(TokenRows.joined([rows[cut], rows]), plain[cut] + plain)
    assert rows.lengths.tolist() == [len(one) for one in plain]
    if plain:
        number = data.draw(st.integers(-len(plain), len(plain) - 1))
        assert rows[number]["input_ids"].tolist() == plain[number].tolist()
        rows[number]["input_ids"][:] = 3  # a row is a copy
        assert rows[number]["input_ids"].tolist() == plain[number].tolist()
    with pytest.raises(IndexError):
        rows[len(plain)]


def test_rows_take_few_bytes_and_serve_all_that_takes_rows(tokenizer):
    written = texts(300, 40)
    rows = tokenize_corpus(written, tokenizer, 64)
    plain = [{"input_ids": np.array(tokenizer(text)["input_ids"], dtype=np.int32)} for text in written]
    assert rows.nbytes <= 5 * len(rows.ids) and rows.ids.dtype == np.uint16
    assert TokenRows.of([[70_000]]).ids.dtype == np.int32
    assert (token_counts(rows, len(WORDS)) == token_counts(plain, len(WORDS))).all()
    made = [
        Batches(some, MaskedLM(tokenizer).collate, 32, lengths=lengths)
        for some, lengths in ((rows, rows.lengths), (plain, [len(row["input_ids"]) for row in plain]))
    ]
    assert made[0].settings() == made[1].settings()
    for one, other in zip(*(batches.epoch(0) for batches in made), strict=True):
        assert all(torch.equal(one[name], other[name]) for name in other)


# Sizes


def test_sizes_are_eight_an_octave_and_at_most_an_eighth_larger():
    sizes = [roomy(size) for size in range(1025)]
    assert sizes[:17] == list(range(17)) and sizes == sorted(sizes)
    assert all(size <= found < max(1.125 * size, size + 1) for size, found in enumerate(sizes))
    assert all(len({found for found in sizes if low < found <= 2 * low}) == 8 for low in (16, 32, 64, 128, 256, 512))
    assert all(roomy(found) == found for found in sizes)


@given(rows=st.integers(1, 6), tokens=st.integers(1, 40), seed=st.integers(0, 2**32), share=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_places_are_the_hidden_ones_and_then_some_that_do_not_count(rows, tokens, seed, share):
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(9, (rows, tokens), generator=draw)
    labels[torch.rand(rows, tokens, generator=draw) > share] = IGNORE
    where, n = (labels != IGNORE).nonzero(), int((labels != IGNORE).sum())
    row, column, wanted = hidden_places(labels)
    assert len(row) == len(column) == len(wanted) == roomy(n)
    assert torch.equal(torch.stack([row, column], 1)[:n], where) and (wanted[n:] == IGNORE).all()
    assert torch.equal(wanted[:n], labels[labels != IGNORE])


def tight(batch):
    """The batch without the columns that no text reaches."""
    width = int(batch["attention_mask"].sum(1).max())
    return {name: value[:, :width] if value.ndim > 1 else value for name, value in batch.items()}


@pytest.mark.parametrize(("count", "longest"), [(5, 17), (16, 33), (3, 56)])
def test_loss_and_gradients_are_those_of_tight_tensors(tokenizer, count, longest):
    """Against logits at every position of a batch that is padded to its longest text alone."""
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**SIZES)).double()
    objective = MaskedLM(tokenizer, probability=0.5, max_length=64)
    rows = tokenize_corpus([*texts(count, longest), " ".join(["w1"] * longest)], tokenizer, 64)
    made = (objective.collate(rows, np.random.default_rng(seed)) for seed in range(20))
    batch = next(batch for batch in made if roomy(n := int(batch["count"].sum())) > n)
    small = tight(batch)
    assert small["input_ids"].shape[1] == longest + 2 < batch["input_ids"].shape[1] == roomy(longest + 2)
    with_more = _gradients(model, objective.loss(model, batch))
    logits = model(input_ids=small["input_ids"], attention_mask=small["attention_mask"]).logits
    plain = _gradients(model, F.cross_entropy(logits.flatten(0, 1).float(), small["labels"].flatten()))
    for one, other in zip(with_more, plain, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def _gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return [loss.detach().double(), *(parameter.grad.clone() for parameter in model.parameters())]


def test_the_masks_do_not_depend_on_the_padding(tokenizer):
    longest = 33
    rows = tokenize_corpus([*texts(6, longest), " ".join(["w1"] * (longest - 2))], tokenizer, 64)
    free, capped = (MaskedLM(tokenizer, max_length=most).collate(rows) for most in (64, longest))
    assert capped["input_ids"].shape[1] == longest and free["input_ids"].shape[1] == roomy(longest)
    for name, value in tight(free).items():
        assert torch.equal(value, capped[name])
    assert (free["input_ids"][:, longest:] == tokenizer.pad_token_id).all() and torch.equal(
        free["count"], capped["count"]
    )


def test_the_next_sentence_objective_counts_hidden_tokens_alone(tokenizer):
    torch.manual_seed(0)
    model = BertForPreTraining(BertConfig(**SIZES)).eval()
    pairs = [" . ".join(pair) for pair in zip(texts(8, 12, 1), texts(8, 12, 2), strict=True)]
    objective = NextSentence(tokenizer, max_length=64, probability=0.4)
    batch = objective.collate(sentence_rows(tokenize_corpus(pairs, tokenizer, 64), tokenizer))
    out = model(**{name: batch[name] for name in ("input_ids", "attention_mask", "token_type_ids")})
    wanted = F.cross_entropy(out.prediction_logits.flatten(0, 1), batch["labels"].flatten())
    torch.testing.assert_close(objective.losses(model, batch)[0], wanted)


def test_a_long_run_meets_few_shapes(tokenizer):
    """Lengths 20 to 64 and their hidden tokens: hundreds of shapes as they come, a few dozen here."""
    written = tokenize_corpus([" ".join(["w1"] * n) for n in range(18, 63) for _ in range(32)], tokenizer, 64)
    objective = MaskedLM(tokenizer, max_length=64)
    batches = Batches(written, objective.collate, 16, lengths=written.lengths)
    seen = [batch for epoch in range(3) for batch in batches.epoch(epoch)]
    hidden = {len(hidden_places(batch["labels"])[0]) for batch in seen}
    assert len({batch["input_ids"].shape[1] for batch in seen}) <= 15
    assert len(hidden) < len({int(batch["count"].sum()) for batch in seen}) / 3


def test_pretraining_resumes_to_the_same_bits(tokenizer, tmp_path):
    rows = tokenize_corpus(texts(60, 40), tokenizer, 64)
    batches = Batches(rows, MaskedLM(tokenizer, max_length=64).collate, 8, lengths=rows.lengths)

    def run(folder, stop=None):
        torch.manual_seed(0)
        model = BertForMaskedLM(BertConfig(**{**SIZES, "hidden_dropout_prob": 0.1}))
        history = fit(model, MaskedLM(tokenizer).loss, batches, folder=folder, resume=True, steps=12, on_step=stop)
        return model, history.losses

    whole = run(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", interrupt_at(5))
    parts = run(tmp_path / "parts")
    assert_same(whole[0], parts[0])
    assert whole[1] == parts[1]
