"""Forms of verse: read, checked, and held to while writing."""

from __future__ import annotations

import json
import math
import random
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import GPT2Config, GPT2LMHeadModel

from labkit.errors import DataError, UsageError
from labkit.foundations.generation import Sampler, Steps, beam_search, decode, greedy, prompted
from labkit.foundations.generation.verse import END, FORMS, NAMES, OTHER, Form, Held, asked, read_poems, verse_rows
from labkit.foundations.pretraining.causal import CausalLM
from labkit.foundations.sequences.language_model import character_tokenizer
from labkit.training import Batches, fit

LINES = st.lists(st.tuples(st.integers(1, 99), st.sampled_from("，。")), min_size=1, max_size=8)
CHARACTERS = "山水風花雪月江春秋夜雲天人"
QUATRAIN = "床前看月光，疑是地上霜。舉頭望山月，低頭思故鄉。"  # Li Bai


def poem_of(form, rng):
    return "".join(place or rng.choice(CHARACTERS) for place in form.places)


@given(LINES, st.integers(0, 99))
def test_a_form_is_written_read_and_found_in_a_poem(lines, seed):
    form = Form(tuple(lines))
    poem = poem_of(form, random.Random(seed))
    assert Form.parse(str(form)) == form == Form.of(poem)
    assert len(poem) == len(form.places)
    assert form.faults(poem) == []


@given(LINES, st.integers(0, 99), st.data())
def test_a_character_too_much_or_too_little_is_a_fault(lines, seed, data):
    form = Form(tuple(lines))
    poem = poem_of(form, random.Random(seed))
    place = data.draw(st.integers(0, len(poem) - 1))
    assert form.faults(poem[:place] + poem[place + 1 :])
    assert form.faults(poem[:place] + data.draw(st.sampled_from(CHARACTERS + "，。x ")) + poem[place:])
    other = data.draw(st.sampled_from("，。 a\n！" + CHARACTERS))
    same = other == poem[place] or (other in CHARACTERS and poem[place] in CHARACTERS)
    assert bool(form.faults(poem[:place] + other + poem[place + 1 :])) != same


@given(st.text("0123456789，。 a", max_size=12))
def test_any_notation_is_a_form_or_one_error(text):
    try:
        assert str(Form.parse(text)) == text.replace("0", "") or "0" in text
    except UsageError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a form without lines"),
        ("5，5", "character 3: '5' is not a number of one or two digits and one of"),
        ("5，x。", "character 3: 'x'"),
        ("0。", "line 1: 0 characters"),
        ("123。", "character 1"),
        ("５，", "character 1"),
    ],
)
def test_what_is_no_form_is_refused_by_place(text, message):
    with pytest.raises(UsageError, match=message):
        Form.parse(text)


def test_a_known_quatrain_and_its_faults():
    form = FORMS["五言絕句"]
    assert Form.of(QUATRAIN) == form and NAMES[form] == "五言絕句"
    assert form.faults(QUATRAIN[:-1]) == ["line 4 ends in '', not '。'"]
    assert form.faults(QUATRAIN.replace("月光", "光")) == ["line 1 has 4 characters, not 5"]
    assert form.faults(QUATRAIN.replace("霜", "x")) == ["line 2: 'x' is no Chinese character"]
    assert form.faults(QUATRAIN[:12]) == ["2 lines, not 4"]
    with pytest.raises(DataError, match="line 2: '疑是x' '。'"):
        Form.of("床前看月光，疑是x。")


def test_poems_and_couplets_make_rows(tmp_path):
    entries = [
        {"title": "靜夜思", "paragraphs": ["床前看月光，疑是地上霜？", "舉頭望山月，低頭思故鄉！"]},
        {"title": "again", "paragraphs": ["床前看月光，疑是地上霜。", "舉頭望山月，低頭思故鄉。"]},
        {"title": "with a note", "paragraphs": ["（一作x）"]},
        {"title": "empty", "paragraphs": []},
        {"title": "old", "paragraphs": ["關關雎鳩，在河之洲。"]},
    ]
    path = tmp_path / "poems.json"
    path.write_text(json.dumps(entries, ensure_ascii=False), encoding="utf-8")
    poems = read_poems(path)
    assert [one["title"] for one in poems] == ["靜夜思", "old"]
    rows = verse_rows(poems)
    assert [row["form"] for row in rows] == ["五言絕句", "五言對聯", "五言對聯", OTHER]
    assert rows[0]["text"] == f"五言絕句：靜夜思　　　　　：{QUATRAIN}{END}"
    assert len(asked("五言絕句", "a long title")) == len(asked(OTHER, ""))
    assert rows[2]["poem"] == QUATRAIN[12:]
    path.write_text('[{"title": "x"}]', encoding="utf-8")
    with pytest.raises(DataError, match="entry 1: a title and paragraphs are needed"):
        read_poems(path)


@pytest.fixture(scope="module")
def writer():
    """A random model of the characters of this file, and its tokenizer."""
    tokenizer = character_tokenizer(CHARACTERS + QUATRAIN + asked("五言絕句七律詩對聯古", "x") + END)
    torch.manual_seed(0)
    sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 96, "bos_token_id": 0, "eos_token_id": 0}
    return GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), initializer_range=1.0, **sizes)).eval(), tokenizer


def text_of(tokenizer, ids):
    return ["".join(tokenizer.convert_ids_to_tokens(row)).split(END)[0] for row in ids.tolist()]


@pytest.mark.parametrize("choose", [greedy, Sampler(seed=0), Sampler(temperature=5.0, seed=1), Sampler(k=1, seed=2)])
def test_whatever_is_drawn_has_the_form(writer, choose):
    model, tokenizer = writer
    forms = [FORMS[name] for name in list(FORMS)[:4]] + [Form.parse("3。6，2。")]
    end = tokenizer.get_vocab()[END]
    steps = Held(Steps(model, **prompted(tokenizer, ["五言：x："] * len(forms))), tokenizer, forms)
    ids = decode(steps, choose, 80, eos=end, pad=end)
    assert [form.faults(text) for form, text in zip(forms, text_of(tokenizer, ids), strict=True)] == [[]] * len(forms)


def test_a_beam_keeps_to_the_form_and_is_the_best_of_all_that_do(writer):
    model, tokenizer = writer
    end, form, prompt = tokenizer.get_vocab()[END], Form.parse("1，1。"), "五：x："
    ids = beam_search(
        Held(Steps(model, **prompted(tokenizer, [prompt])), tokenizer, [form]), 5, len(tokenizer), eos=end
    )
    known = [one for one in tokenizer.get_vocab() if "\u4e00" <= one <= "\u9fff"]

    def likelihood(text):
        whole = torch.tensor([tokenizer(prompt + text + END)["input_ids"]])
        allowed = [known, ["，"], known, ["。"], [END]]
        logits, total = model(whole).logits[0], 0.0
        for place, ones in enumerate(allowed, start=len(prompt)):
            some = tokenizer.convert_tokens_to_ids(ones)
            total += float(logits[place - 1, whole[0, place]] - logits[place - 1, some].logsumexp(0))
        return total

    best = max((f"{a}，{b}。" for a in known for b in known), key=likelihood)
    assert text_of(tokenizer, ids) == [best]


def test_no_character_twice(writer):
    model, tokenizer = writer
    form, first = Form.parse("7。"), "山水風花雪月江"
    end = tokenizer.get_vocab()[END]
    steps = Held(Steps(model, **prompted(tokenizer, [first + "，"] * 20)), tokenizer, [form] * 20, fresh=True, before=[first] * 20)  # fmt: skip # noqa: E501
    for text in text_of(tokenizer, decode(steps, Sampler(temperature=3.0), 9, eos=end, pad=end)):
        assert form.faults(text) == [] and len(set(first + text)) == 15


def test_rows_kept_keep_their_form(writer):
    model, tokenizer = writer
    forms = [Form.parse("1。"), Form.parse("2。")]
    held = Held(Steps(model, **prompted(tokenizer, ["山", "水"])), tokenizer, forms)
    held.keep(torch.tensor([1, 0, 1]))
    held.advance(torch.full((3,), tokenizer.get_vocab()["山"]))
    stops = held.logits[:, tokenizer.get_vocab()["。"]].isfinite().tolist()
    assert stops == [False, True, False]


def test_what_does_not_pair_is_refused(writer):
    model, tokenizer = writer
    steps = Steps(model, **prompted(tokenizer, ["山"]))
    with pytest.raises(UsageError, match="2 forms, 0 texts before them, for 1 rows"):
        Held(steps, tokenizer, [Form.parse("1。")] * 2)
    with pytest.raises(UsageError, match="a tokenizer that has"):
        Held(steps, character_tokenizer("山" * 9), [Form.parse("1。")])


@pytest.mark.real
def test_a_small_model_reads_tang_verse_better_than_its_counts(real_data):
    """Perplexity of unseen quatrains' characters and marks: below that of the unigram, and falling."""
    poems = read_poems(real_data / "chinese_poetry" / "唐诗三百首.json") + read_poems(
        real_data / "chinese_poetry" / "poet.tang.0.json"
    )
    rows = [row for row in verse_rows(poems) if row["form"] == "五言對聯"]
    rows = random.Random(0).sample(rows, 2000)
    train, test = rows[200:], rows[:200]
    tokenizer = character_tokenizer("".join(row["poem"] for row in train) + asked("五言對聯", "") + END)
    for row in rows:
        row["text"] = asked("五言對聯", "") + row["poem"] + END
    torch.manual_seed(0)
    sizes = {"n_embd": 96, "n_layer": 2, "n_head": 4, "n_inner": 192, "n_positions": 32}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, **sizes))
    method = CausalLM(tokenizer)
    history = fit(model, method.loss, Batches(train, method.collate, 32), steps=150, lr=3e-3, progress=False)
    assert sum(history.losses[-20:]) < sum(history.losses[:20]) - 20
    counts = Counter(one for row in train for one in row["poem"])
    places = range(len(asked("五言對聯", "")), len(rows[0]["text"]) - 1)
    ids = torch.tensor([tokenizer(row["text"])["input_ids"] for row in test])
    with torch.no_grad():
        logs = model.eval()(ids).logits.log_softmax(-1)
    letters = [(row, place) for row in range(200) for place in places if test[row]["text"][place] not in "，。"]
    found = -sum(float(logs[row, place - 1, ids[row, place]]) for row, place in letters) / len(letters)
    total = sum(count for one, count in counts.items() if one not in "，。") + len(tokenizer)
    alone = -sum(math.log((counts[test[row]["text"][place]] + 1) / total) for row, place in letters) / len(letters)
    print(math.exp(found), math.exp(alone))
    assert found < alone
