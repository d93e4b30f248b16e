"""Spaces are those of the template: what is encoded in parts is what the tokenizer makes of the whole text."""

from __future__ import annotations

from functools import cache

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from labkit.errors import UsageError
from labkit.fewshot.auto_prompts.candidates import whole_words
from labkit.fewshot.fewclue.candidates import RowCandidates
from labkit.fewshot.pet import PET
from labkit.fewshot.pet.fuzzy import FuzzyPET
from labkit.fewshot.prompts.causal_prompt import CausalPrompt
from labkit.fewshot.prompts.encoding import encode
from labkit.fewshot.prompts.generative import GenerativePET, LabelTexts
from labkit.fewshot.prompts.spacing import text_ids
from labkit.fewshot.prompts.template import Template
from labkit.fewshot.prompts.verbalizer import Verbalizer, in_text, pieces_of

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
MASK = AddedToken("[MASK]", lstrip=True, special=True)  # as of RoBERTa and XLM-R: the space before it is the word's
WORDS = {"no": "bad", "yes": "good"}
CORPUS = [
    "这部电影很好看。", "这家店很差，不好。", "总之好。", "这电影不差，很好。", "差。", "好，总之很好看！",
    "看这部电影，差",
    "the film was good .", "a bad film, it was bad .", "good (bad) \"good\"", "bad", "it was a good film: good",
]  # fmt: skip
TEXTS = ["这部电影好看", "the film was good", "good film，好", " 这家店很差", "看 good\n好", ""]
TEMPLATES = [
    "{text}很{mask}。", "{text}总之{mask}，看", "{text} it was {mask} .", "{text}，{mask}", "{text} {mask}",
    "这部{text}很{mask}，这{text|whole}好。", 'the "{text}" ({mask})', "{mask}，{text}", "{text}:\n{mask}",
]  # fmt: skip
TRAINED = {"vocab_size": 420, "special_tokens": [*SPECIAL[:4], MASK], "show_progress": False}


def backend(kind: str) -> tuple[Tokenizer, trainers.Trainer]:
    if kind == "wordpiece":
        own = Tokenizer(models.WordPiece(unk_token="[UNK]"))
        own.normalizer, own.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
        return own, trainers.WordPieceTrainer(**TRAINED)
    if kind.startswith("bytes"):
        own = Tokenizer(models.BPE())
        own.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "bytes, led")
        own.decoder = decoders.ByteLevel()
        return own, trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **TRAINED)
    if kind.startswith("pieces"):
        own, scheme = Tokenizer(models.Unigram()), kind.removeprefix("pieces, ")
        own.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
        own.decoder = decoders.Metaspace(prepend_scheme=scheme)
        return own, trainers.UnigramTrainer(unk_token="[UNK]", **TRAINED)
    own = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    own.pre_tokenizer, own.decoder = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"), decoders.Fuse()
    return own, trainers.WordLevelTrainer(**TRAINED)


@cache
def tokenizer(kind: str) -> PreTrainedTokenizerFast:
    own, trainer = backend(kind)
    own.train_from_iterator([*CORPUS, "\n"] * 8, trainer)
    own.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[(name, own.token_to_id(name)) for name in ("[CLS]", "[SEP]")]
    )
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL[:4]}
    return PreTrainedTokenizerFast(tokenizer_object=own, mask_token=MASK, model_max_length=128, **names)


WHOLE = ("wordpiece", "bytes", "pieces, first", "characters")
SPACED = ("bytes", "bytes, led", "pieces, first", "pieces, always", "characters")  # whose decoder gives the text again


@pytest.mark.parametrize("kind", WHOLE)
@pytest.mark.parametrize("template", TEMPLATES)
def test_parts_are_encoded_as_the_whole_text(kind, template):
    own = tokenizer(kind)
    rows = [{"text": text} for text in TEXTS if text or kind != "wordpiece"]
    batch = encode(Template.parse(template), rows, own)
    for row, ids, mask in zip(rows, batch["input_ids"], batch["attention_mask"], strict=True):
        spelled = template.replace("{mask}", "[MASK]").replace("{text|whole}", "{text}").format(text=row["text"])
        if "\n[MASK]" in spelled and kind != "wordpiece":  # what [MASK] takes away, and the word does not
            continue
        assert own.convert_ids_to_tokens(ids[mask == 1].tolist()) == own.convert_ids_to_tokens(
            own(spelled)["input_ids"]
        )


@pytest.mark.parametrize("kind", SPACED)
@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("words", [{"no": "差", "yes": "好"}, WORDS])
def test_the_word_in_the_blank_stands_there_as_in_the_whole_text(kind, template, words):
    own, parsed = tokenizer(kind), Template.parse(template)
    how = GenerativePET(parsed, LabelTexts(words, own), own)
    for word, pieces in zip(words.values(), how.verbalizer.ids, strict=True):
        batch = encode(parsed.with_masks(len(pieces)), [{"text": "这家店"}, {"text": "a film"}], own)
        for row, text in enumerate(("这家店", "a film")):
            ids = batch["input_ids"][row].clone()
            ids[batch["mask_positions"][row]] = ids.new_tensor(pieces)
            found = own.decode(ids[batch["attention_mask"][row] == 1].tolist(), skip_special_tokens=True)
            wanted = template.replace("{mask}", word).replace("{text|whole}", "{text}").format(text=text)
            assert found.removeprefix(" ") == wanted  # of a tokenizer that begins every text with a space


@pytest.mark.parametrize("kind", ["wordpiece", *SPACED])
def test_a_chinese_word_is_one_piece(kind):
    own = tokenizer(kind)
    assert [own.convert_ids_to_tokens(pieces_of(word, own)) for word in "好差" if kind[:5] != "bytes"] in (
        [["好"], ["差"]],
        [],
    )
    how = PET("{text}很{mask}。", Verbalizer({"no": "差", "yes": "好"}, own), own)
    assert how.verbalizer.masks == 1 and len(set(how.verbalizer.word_ids.flatten().tolist())) == 2


@pytest.mark.parametrize("kind", ["wordpiece", "pieces, first", "pieces, always"])
def test_words_to_choose_from_are_those_of_both_scripts(kind):
    own = tokenizer(kind)
    usable = whole_words(own, len(own), letters=True)
    assert usable[pieces_of("好", own)].tolist() == [True] and not usable[own.convert_tokens_to_ids("。")]
    alone = pieces_of("good", own)
    assert len(alone) > 1 or usable[alone[0]]  # some of these tokenizers have no piece for it and the space before


def test_the_scripts_without_spaces():
    assert [in_text(word) for word in ("好", "良い", "カ", "。", "𠮷", "good", "좋다")] == \
        ["好", "良い", "カ", "。", "𠮷", " good", " 좋다"]  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "space"), [("{text} it was {mask}", " "), ('{text} "{mask}', ""), ("{text}:\n{mask}", "")]
)
def test_the_template_decides_whether_a_space_stands_before_the_word(pattern, space):
    own = tokenizer("bytes")
    wanted = [tuple(own(space + word, add_special_tokens=False)["input_ids"]) for word in WORDS.values()]
    found = [GenerativePET(pattern, LabelTexts(WORDS, own), own).verbalizer.ids]
    found += [CausalPrompt(pattern, LabelTexts(WORDS, own), own).texts.ids]
    assert found == [wanted, wanted]
    assert len({len(ids) for ids in wanted}) == 1
    template = Template.parse(pattern).with_masks(len(wanted[0]))
    plain = Verbalizer(WORDS, own, masks=template.masks, spaced=template.spaced)
    pet = PET(template, plain, own)
    ways = [pet, FuzzyPET(template, [WORDS], own, plain.masks), PET.from_description(pet.describe(), own)]
    assert all([tuple(ids) for ids in how.verbalizer.word_ids.tolist()] == wanted for how in ways)


def test_words_that_are_no_words_where_they_go_are_refused():
    own = tokenizer("characters")
    with pytest.raises(UsageError, match=r"word '差' is 2 pieces .*write \{mask\*2\}"):
        PET("{text} {mask}", Verbalizer({"no": "差", "yes": "好"}, own), own)


def test_a_piece_across_two_parts_stays_with_the_one_that_is_never_cut():
    vocab = {piece: number for number, piece in enumerate([*SPECIAL, "a", "b", "c", "ab", "bc"])}
    bpe = Tokenizer(models.BPE(vocab=vocab, merges=[("a", "b"), ("b", "c")], unk_token="[UNK]"))
    names = {f"{name.strip('[]').lower()}_token": name for name in SPECIAL}
    own = PreTrainedTokenizerFast(tokenizer_object=bpe, **names)
    for room, wanted in ((32, "[CLS] a a a ab [MASK] c [SEP]"), (6, "[CLS] a ab [MASK] c [SEP]")):
        ids = encode(Template.parse("{text}b{mask}c"), [{"text": "aaaa"}], own, room)["input_ids"][0]
        assert " ".join(own.convert_ids_to_tokens(ids.tolist())) == wanted
    ids = encode(Template.parse("b{text} {mask}"), [{"text": "caa"}], own, 5)["input_ids"][0]
    assert " ".join(own.convert_ids_to_tokens(ids.tolist())) == "[CLS] bc a [MASK] [SEP]"


@pytest.mark.parametrize("kind", SPACED)
def test_special_tokens_in_a_text_are_text_behind_the_blank_too(kind):
    own = tokenizer(kind)
    ids = encode(Template.parse("{mask}，{text}"), [{"text": "good [MASK] [SEP]"}], own)["input_ids"][0].tolist()
    assert ids.count(own.mask_token_id) == 1 and ids.count(own.sep_token_id) == 1


def test_tokens_that_somebody_added_keep_their_numbers():
    own, trainer = backend("pieces, always")
    own.train_from_iterator(CORPUS, trainer)
    own.add_tokens(["<film>"])
    bare = PreTrainedTokenizerFast(tokenizer_object=own, unk_token="[UNK]", cls_token="[CLS]")
    bare.add_special_tokens({"additional_special_tokens": ["<extra>"]})
    bare.add_tokens(["<later>"])
    known = bare.get_vocab()
    found = text_ids(bare, ["<film>好<later>"])[0]
    assert found[0] == known["<film>"] and found[-1] == known["<later>"] and known["▁"] not in found


def test_a_candidate_takes_the_space_before_its_gap():
    own = tokenizer("bytes")
    how = RowCandidates(own, "text", count=2)
    batch = how.collate([{"text": "it was #idiom# ,", "candidates": ["good", "bad"], "label": 0}])
    pieces = batch["pieces"][0, 0]
    length = int((pieces >= 0).sum())
    ids = batch[f"{length}/input_ids"][0].clone()
    ids[batch[f"{length}/mask_positions"][0]] = pieces[:length]
    assert own.decode(ids.tolist(), skip_special_tokens=True) == "it was good ,"
