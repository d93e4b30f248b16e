"""Label texts of differing lengths: PET where they are of one, a plain loop over blanks where they are not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labkit.errors import UsageError
from labkit.evaluation import predict
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.generative import GenerativePET, LabelTexts
from labkit.fewshot.prompts.verbalizer import Verbalizer
from labkit.tasks import Task
from labkit.training import Batches, fit
from tests.fewshot.tiny_prompts import ID, LABELS, ROWS, TEMPLATE, tiny_bert, tiny_tokenizer

MIXED = {"negative": ("bad", "terriblely"), "positive": ("good", "terrific")}  # 1, 3, 1 and 2 pieces


@pytest.fixture(scope="module")
def model():
    return tiny_bert()


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def generative(tokenizer, words, **options):
    names = ("aggregate", "order", "normalise", "prior")
    own = {name: options.pop(name) for name in names if name in options}
    return GenerativePET(TEMPLATE, LabelTexts(words, tokenizer, **own), tokenizer, **options)


@torch.no_grad()
@pytest.mark.parametrize("order", ["at once", "left to right"])
@pytest.mark.parametrize("aggregate", ["mean", "max", "sum"])
def test_words_of_one_piece_are_pets(model, tokenizer, order, aggregate):
    words = {"negative": ("bad", "dull"), "positive": ("good",)}
    how = generative(tokenizer, words, order=order, aggregate=aggregate)
    pet = PET(TEMPLATE, Verbalizer(words, tokenizer, aggregate), tokenizer)
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), pet.logits(model, pet.collate(ROWS)))
    torch.testing.assert_close(how.loss(model, how.collate(ROWS)), pet.loss(model, pet.collate(ROWS)))


@torch.no_grad()
def test_words_of_two_pieces_are_pets_with_two_blanks(model, tokenizer):
    words = {"negative": "terrible", "positive": "terrific"}
    how = generative(tokenizer, words, normalise=False)
    pet = PET(TEMPLATE.replace("{mask}", "{mask*2}"), Verbalizer(words, tokenizer, masks=2), tokenizer)
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), pet.logits(model, pet.collate(ROWS)))


def by_hand(model, tokenizer, text: str, pieces: list[str], order: str) -> float:
    """Σ log p of the pieces in n blanks, with nothing but the model's own forward."""
    ids = tokenizer(f"{text} it was {'[MASK] ' * len(pieces)}.", return_tensors="pt")
    at = (ids["input_ids"][0] == ID["[MASK]"]).nonzero().flatten().tolist()
    total = 0.0
    for place, piece in zip(at, pieces, strict=True):
        total += model(**ids).logits[0, place].log_softmax(-1)[ID[piece]].item()
        if order == "left to right":
            ids["input_ids"][0, place] = ID[piece]
    return total


@torch.no_grad()
@pytest.mark.parametrize("order", ["at once", "left to right"])
def test_differing_lengths_are_a_loop_over_their_pieces(model, tokenizer, order):
    how = generative(tokenizer, MIXED, order=order)
    spelled = [["bad"], ["terr", "##ible", "##ly"], ["good"], ["terr", "##ific"]]
    wanted = torch.tensor([[by_hand(model, tokenizer, row["text"], p, order) for p in spelled] for row in ROWS])
    found = how.log_probabilities(model, how.collate(ROWS))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)
    scores = wanted / torch.tensor([1.0, 3, 1, 2])  # a mean over the pieces
    pairs = [scores[:, :2].exp().mean(1).log(), scores[:, 2:].exp().mean(1).log()]
    torch.testing.assert_close(how.logits(model, how.collate(ROWS)), torch.stack(pairs, 1), rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_the_two_orders_differ_where_they_should(model, tokenizer):
    first, second = (generative(tokenizer, MIXED, order=order) for order in ("at once", "left to right"))
    a, b = (how.log_probabilities(model, how.collate(ROWS)) for how in (first, second))
    torch.testing.assert_close(a[:, [0, 2]], b[:, [0, 2]])
    assert (a[:, [1, 3]] - b[:, [1, 3]]).abs().min() > 1e-4


def test_fuzzy_trains_with_every_set(model, tokenizer):
    sets = [{"negative": "bad", "positive": "good"}, {"negative": "dull", "positive": "fine"}]
    how = generative(
        tokenizer, {"negative": ("bad", "dull"), "positive": ("good", "fine")}, aggregate="sum", fuzzy=True
    )
    plain = FuzzyPET(TEMPLATE, sets, tokenizer)
    batch, other = how.collate(ROWS), plain.collate(ROWS)
    torch.testing.assert_close(how.loss(model, batch), plain.loss(model, other))
    torch.testing.assert_close(how.logits(model, batch), plain.logits(model, other))
    uneven = LabelTexts({"a": ("bad", "dull", "sad"), "b": ("good",)}, tokenizer)
    assert [one.tolist() for one in uneven.sets()] == [[0, 3], [1, 3], [2, 3]]


def test_it_trains_and_a_batch_may_be_cut(tokenizer):
    model, how = tiny_bert(), generative(tokenizer, MIXED)
    history = fit(model, how.loss, Batches(ROWS, how.collate, 4), steps=25, lr=1e-2, progress=False)
    assert history.losses[-1] < 0.3 * history.losses[0]
    whole = predict(model, how, ROWS)
    np.testing.assert_allclose(predict(model, how, ROWS, batch_size=1), whole, rtol=1e-4, atol=1e-5)
    assert whole.argmax(1).tolist() == [row["label"] for row in ROWS]


@torch.no_grad()
def test_calibration_divides_each_text(model, tokenizer):
    how = generative(tokenizer, MIXED, normalise=False, aggregate="max")
    prior = how.log_probabilities(model, how.collate(ROWS[:2])).double().exp().mean(0)
    calibrated = how.calibrated(model, ROWS[:2])
    assert calibrated.verbalizer.prior == pytest.approx(prior.tolist(), rel=1e-4)
    raw = how.log_probabilities(model, how.collate(ROWS)) - prior.log().float()
    torch.testing.assert_close(
        calibrated.logits(model, calibrated.collate(ROWS)), torch.stack([raw[:, :2].amax(1), raw[:, 2:].amax(1)], 1),
        rtol=1e-4, atol=1e-4,
    )  # fmt: skip
    assert how.verbalizer.prior is None


def test_a_task_whose_labels_have_names_of_all_lengths(model, tokenizer):
    task = Task("own", ("text",), ("bad", "so very dull"), {"train": ROWS}, patterns=("{text} it was {mask*2} .",))
    how = GenerativePET.for_task(task, tokenizer)
    assert how.verbalizer.lengths == (1, 3) and str(how.template) == TEMPLATE
    assert predict(model, how, ROWS).shape == (4, 2)
    assert GenerativePET.for_task(task, tokenizer, fuzzy=True).verbalizer.aggregate == "sum"


def test_a_description_makes_the_same_method(model, tokenizer):
    how = generative(tokenizer, MIXED, order="left to right", max_length=32).calibrated(model, ROWS)
    again = GenerativePET.from_description(how.describe(), tokenizer)
    np.testing.assert_array_equal(predict(model, again, ROWS), predict(model, how, ROWS))
    with pytest.raises(UsageError, match="'words' is missing"):
        GenerativePET.from_description({"template": TEMPLATE}, tokenizer)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        ({"negative": "bad", "positive": "zebra"}, {}, "label 'positive': word 'zebra' is not in the tokenizer's voc"),
        ({"negative": "terrible", "positive": "Terrible"}, {}, "labels 'negative' and 'positive' share it"),
        ({"negative": "bad"}, {}, "at least two labels"),
        ({"negative": "bad", "positive": ()}, {}, "at least two labels are needed, and a word for each"),
        (LABELS, {"order": "at onec"}, "unknown order of pieces 'at onec': did you mean 'at once'"),
        (LABELS, {"aggregate": "median"}, "unknown aggregate 'median'"),
        (LABELS, {"prior": (0.5,)}, "each of the 2 words"),
    ],
)
def test_bad_texts_are_named(tokenizer, words, options, message):
    with pytest.raises(UsageError, match=message):
        generative(tokenizer, words, **options)


def test_a_template_needs_one_blank_and_room_for_it(tokenizer):
    texts = LabelTexts(MIXED, tokenizer)
    with pytest.raises(UsageError, match=r"need exactly one \{mask\}"):
        GenerativePET("{text} {mask} and {mask}", texts, tokenizer)
    how = GenerativePET(TEMPLATE, texts, tokenizer, max_length=8)
    with pytest.raises(UsageError, match=r"shorten the template or raise max_length"):
        how.collate([{"text": "good " * 20}])
    with pytest.raises(UsageError, match="calibration needs at least one row"):
        how.calibrated(tiny_bert(), [])
