"""Decoding writes what transformers writes, token for token; with a cache as without; what is wrong is said."""

from __future__ import annotations

import itertools

import pytest
import torch

from labkit.errors import TrainingError, UsageError
from labkit.foundations.generation import Sampler, Steps, beam_search, decode, greedy, prompted
from tests.foundations.generation_models import EOS, IDS, MASK, PAD, POSITIONS, WORDS, inputs_of, writer

KINDS = ["gpt2", "llama", "t5"]
END = {"eos": EOS, "pad": PAD}


def theirs(kind, model, most, **options):
    ids, mask = inputs_of(kind)
    options = {"do_sample": False, "max_new_tokens": most, **options}
    written = model.generate(input_ids=ids, attention_mask=mask, pad_token_id=PAD, eos_token_id=EOS, **options)
    return written[:, 1 if kind == "t5" else ids.shape[1] :]


def ours(kind, model):
    return Steps(model, *inputs_of(kind))


def same(found, wanted):
    assert found.tolist() == wanted.tolist()


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_greedy_is_that_of_transformers(kind, seed):
    model = writer(kind, seed)
    same(decode(ours(kind, model), greedy, 20, **END), theirs(kind, model, 20))


@pytest.mark.parametrize("early", [False, True, "never"])
@pytest.mark.parametrize("kind", KINDS)
def test_beam_search_is_that_of_transformers(kind, early):
    ended = 0
    for seed, beams, penalty in itertools.product(range(4), (3, 25), (-1.0, 0.6, 2.0)):
        model, rules = writer(kind, seed), {"length_penalty": penalty, "early_stopping": early}
        found = beam_search(ours(kind, model), 12, beams, **END, **rules)
        same(found, theirs(kind, model, 12, num_beams=beams, **rules))
        ended += (found == EOS).any(1).sum()
    assert ended > 2  # texts that end before their time are among them


def test_one_beam_is_greedy():
    model = writer("gpt2", 1)
    same(beam_search(ours("gpt2", model), 9, 1, **END), decode(ours("gpt2", model), greedy, 9, **END))


def test_a_beam_as_wide_as_all_texts_finds_the_best_of_them():
    """Brute force: without a length penalty, the likeliest of all texts of two tokens, or of one that ends."""
    model, ids = writer("gpt2", 2), torch.tensor([[5, 6]])
    first = model(ids).logits[0, -1].log_softmax(0)
    pairs = torch.stack(
        [first[t] + model(torch.tensor([[5, 6, t]])).logits[0, -1].log_softmax(0) for t in range(WORDS)]
    )
    pairs[EOS] = first[EOS]
    best = divmod(int(pairs.argmax()), WORDS)
    found = beam_search(Steps(model, ids), 2, WORDS, eos=EOS, pad=PAD, length_penalty=0.0, early_stopping="never")
    assert tuple(found[0].tolist()) == (best if best[0] != EOS else (EOS,))


@pytest.mark.parametrize("kind", KINDS)
def test_the_cache_changes_no_logit(kind):
    model, (ids, mask) = writer(kind), inputs_of(kind)
    steps, written = Steps(model, ids, mask), torch.zeros(3, 0, dtype=torch.long)
    for token in ([4, 5, 6], [7, 7, 8], [9, 1, 3]):
        steps.advance(torch.tensor(token))
        written = torch.cat([written, torch.tensor(token)[:, None]], 1)
    for row in range(3):  # alone, without padding
        real = ids[row][mask[row].bool()][None]
        if kind == "t5":
            start = torch.tensor([[PAD, *written[row].tolist()]])
            logits = model(input_ids=real, decoder_input_ids=start).logits[0, -1]
        else:
            logits = model(torch.cat([real, written[row][None]], 1)).logits[0, -1]
        torch.testing.assert_close(steps.logits[row], logits, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_kept_rows_go_on_as_if_they_were_alone(kind):
    model, (ids, mask), rows = writer(kind), inputs_of(kind), torch.tensor([2, 0, 2, 1])
    steps, alone = Steps(model, ids, mask), Steps(model, ids[rows], mask[rows])
    steps.keep(rows)
    for one in (steps, alone):
        one.advance(torch.tensor([4, 5, 6, 7]))
    torch.testing.assert_close(steps.logits, alone.logits, atol=1e-5, rtol=1e-5)


def test_prompts_begin_with_the_first_token_and_do_not_end(tiny_parts):
    tokenizer = tiny_parts()[1]
    found = prompted(tokenizer, ["the film", "a", ""])
    words = [tokenizer.decode(row) for row in found["input_ids"]]
    assert words == ["[CLS] the film", "[PAD] [CLS] a", "[PAD] [PAD] [CLS]"]
    assert found["attention_mask"].tolist() == [[1, 1, 1], [0, 1, 1], [0, 0, 1]]


def test_any_text_can_be_gone_on_from(tiny_parts):
    """Nothing, unknown characters, scripts mixed: each writes what it would alone."""
    tokenizer, model = tiny_parts()[1], writer("gpt2")
    prompts = ["", "電影 ☃ film\u200b é \x00", "the film was good", "[SEP]"]
    found = decode(Steps(model, **prompted(tokenizer, prompts)), greedy, 6)
    for row, prompt in zip(found, prompts, strict=True):
        assert decode(Steps(model, **prompted(tokenizer, [prompt])), greedy, 6)[0].tolist() == row.tolist()
    for wrong, said in ([], "one of them empty"), (["the film " * 30], "a prompt of 61 tokens: .* at most 48"):
        with pytest.raises(UsageError, match=said):
            Steps(model, **prompted(tokenizer, wrong))


def test_a_finished_row_says_nothing_more():
    model = writer("gpt2", 3)
    found = decode(ours("gpt2", model), lambda logits: torch.tensor([EOS, 5, 6]), 4, **END)
    assert found.tolist() == [[EOS, PAD, PAD, PAD], [5] * 4, [6] * 4]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (lambda m: Steps(m, IDS[:, :0]), "one of them empty: each row needs a token"),
        (lambda m: Steps(m, IDS, torch.zeros_like(MASK)), "one of them empty"),
        (lambda m: Steps(m, IDS.flip(1), MASK.flip(1)), "padded on the right"),
        (lambda m: Steps(m, torch.ones(1, POSITIONS + 1, dtype=torch.long)), f"49 tokens: .* at most {POSITIONS}"),
        (lambda m: Steps(m.train(), IDS), "training mode"),
        (lambda m: decode(Steps(m, IDS), greedy, POSITIONS), "48 tokens are to be written: from 1 to 45 are possible"),
        (lambda m: decode(Steps(m, IDS), greedy, 0), "0 tokens"),
        (lambda m: beam_search(Steps(m, IDS), 3, WORDS + 1), "beams=41: from 1 to 40"),
        (lambda m: beam_search(Steps(m, IDS), 3, 0), "beams=0"),
    ],
)  # fmt: skip
def test_what_cannot_be_decoded_is_said(wrong, said):
    with pytest.raises(UsageError, match=said):
        wrong(writer("gpt2"))


def test_a_decoder_must_know_how_a_text_begins():
    model = writer("t5")
    model.config.decoder_start_token_id = None
    with pytest.raises(UsageError, match="names no decoder_start_token_id"):
        Steps(model, IDS)


def test_the_room_is_used_to_its_end():
    assert decode(Steps(writer("gpt2"), IDS), greedy, 45).shape == (3, 45)


@pytest.mark.parametrize("choose", [greedy, Sampler()])
def test_logits_that_are_no_numbers_stop_it(choose):
    model = writer("gpt2")
    model.transformer.wte.weight.data[7] = torch.nan
    with pytest.raises(TrainingError, match="row 1: the model's answer is no number: its 'transformer.wte.weight'"):
        decode(Steps(model, IDS, MASK), choose, 3)
