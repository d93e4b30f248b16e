"""Applications that find things in a text: a tag for each word, spans of some types, the answer to a question.

What each reads and answers is said by its method: `labkit.foundations.tagging` and `labkit.foundations.reading`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from labkit.apps.application import EXAMPLE, Application, Parameter, in_splits
from labkit.errors import DataError, UsageError
from labkit.fewshot.methods import Adapted, Start
from labkit.foundations.native import native_head
from labkit.foundations.reading import Reader
from labkit.foundations.tagging import Extractor, Tagger, read_spans
from labkit.tasks import Task
from labkit.world.examples import collect
from labkit.world.extraction import TAGS, ner_rows
from labkit.world.matching import Matcher
from labkit.world.reading import reading_rows
from labkit.world.settings import World, randomness

WINDOW = "tokens that the model reads at once; a longer text is read in windows that overlap"
LENGTH = Parameter(128, WINDOW)
Rows = list[dict[str, Any]]


def _splits(
    name: str, make: Callable[..., Rows], write: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> dict[str, Rows]:
    """The world's rows of English, as `write` has them, in three splits."""
    world = World()
    rows = make(world, "en", sum(EXAMPLE.values()), randomness(world, "application", name))
    return in_splits([write(row) for row in rows])


# Sequence labelling


def prepare_tags(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """A `Tagger` of the task's labels."""
    method = Tagger(start.tokenizer, start.task.labels, start.task.fields[0], settings["max_length"])
    return Adapted(native_head(start.model, "token", method.labels, seed=start.seed), method)


def tag_cells(answer: Mapping[str, Any], labels: Sequence[str]) -> dict[str, str]:
    """A tag and a probability for each word, blanks between, and the entities as JSON."""
    return {
        "output": json.dumps(answer["spans"], ensure_ascii=False),
        "predictions": " ".join(labels[tag] for tag in answer["tags"]),
        "probabilities": " ".join(f"{value:.6g}" for value in answer["probabilities"]),
    }


def tags_example() -> Task:
    """Names of twelve types in sentences."""
    splits = _splits("tags", ner_rows, lambda row: {"text": " ".join(row["tokens"]), "label": row["tags"]})
    return Task("world/ner", ("text",), TAGS, splits, answer="tags", ceiling=1.0)


SEQUENCE_LABELING = Application(
    name="sequence_labeling",
    hub="token-classification",
    about="a tag for each word of a text: names, slots, parts of speech",
    answer="tags",
    texts=(1, 1),
    metric="f1",
    prepare=prepare_tags,
    cells=tag_cells,
    example=tags_example,
    rate=2e-3,
    parameters={"max_length": LENGTH},
)


# Information extraction


def prepare_spans(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """An `Extractor` of the types in the task's "train" rows. DataError naming split and row for a label that is no
    list of spans of its text.
    """
    field, types = start.task.fields[0], {}
    for split, rows in start.task.splits.items():
        for number, row in enumerate(rows, start=1):
            try:
                found = [] if row.get("label") is None else read_spans(row["label"], row[field])
            except DataError as error:
                where = f"task {start.task.name}: split {split!r}, row {number}"
                raise DataError(f"{where}: field 'label': {error}") from error
            types.setdefault(split, {}).update(dict.fromkeys(span["type"] for span in found))
    known = sorted(types.get("train", ()))
    for split, some in types.items():
        if strange := sorted(set(some) - set(known)):
            raise DataError(f"task {start.task.name}: split {split!r} has spans of type {strange[0]!r:.60}, which "
                            "'train' has not: it cannot be learnt")  # fmt: skip
    method = Extractor(start.tokenizer, known, field, settings["max_length"])
    return Adapted(native_head(start.model, "token", method.labels, seed=start.seed), method)


def span_cells(answer: Sequence[Mapping[str, Any]], labels: Sequence[str]) -> dict[str, str]:
    """The spans as JSON, which is what a label's cell holds too."""
    return {"output": json.dumps(answer, ensure_ascii=False)}


def spans_example() -> Task:
    """Names of twelve types in sentences, as spans of characters."""
    splits = _splits("spans", ner_rows, lambda row: {"text": row["text"], "label": json.dumps(_named(row))})
    return Task("world/names", ("text",), (), splits, answer="text", ceiling=1.0)


def _named(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The names of a tagged row of English, as spans of its text."""
    spans, place = [], 0
    for token, tag in zip(row["tokens"], (TAGS[tag] for tag in row["tags"]), strict=True):
        place = row["text"].index(token, place)
        if tag.startswith("B-"):
            spans.append({"type": tag[2:], "text": token, "start": place})
        elif tag.startswith("I-"):
            spans[-1]["text"] = row["text"][spans[-1]["start"] : place + len(token)]
        place += len(token)
    return spans


INFORMATION_EXTRACTION = Application(
    name="information_extraction",
    hub="token-classification",
    about="the spans of a text that name something of a type",
    answer="text",
    texts=(1, 1),
    metric="f1",
    prepare=prepare_spans,
    cells=span_cells,
    example=spans_example,
    rate=2e-3,
    parameters={"max_length": LENGTH},
    view="spans",
)


# Machine reading comprehension

READING = {
    "max_length": Parameter(384, WINDOW),
    "language": Parameter("", "en or zh, for the score: by words or by characters; empty for the task's own"),
    "doc_stride": Parameter(128, "tokens from one window's beginning to the next; half a window at most"),
    "max_query_length": Parameter(64, "tokens of a question that are read"),
    "max_answer_length": Parameter(30, "tokens of an answer"),
    "n_best_size": Parameter(10, "beginnings and ends of answers that are paired"),
}


def prepare_reading(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """A `Reader` of the task's first field, the text, and its second, the question. "No answer" is one of its answers
    where a row of "train" has none.
    """
    task = start.task
    if len(task.fields) != 2:
        raise UsageError(f"machine_reading_comprehension reads a text and a question, not {', '.join(task.fields)}")
    taken = ("doc_stride", "max_query_length", "max_answer_length", "n_best_size")
    labels = [row["label"] for row in task.splits.get("train", ()) if row.get("label")]
    method = Reader(
        start.tokenizer, task.fields, settings["max_length"], **{name: settings[name] for name in taken},
        unanswerable=any(label["start"] < 0 for label in labels), language=settings["language"] or task.language,
    )  # fmt: skip
    return Adapted(native_head(start.model, "span", seed=start.seed), method)


def answer_cells(answer: Mapping[str, Any], labels: Sequence[str]) -> dict[str, str]:
    """The answer, its place (−1 for none) and its probability; the text, the question and its id are the row's own."""
    return {
        "best_answer": answer["text"],
        "start_position": str(answer["start"]),
        "probabilities": f"{answer['probability']:.6g}",
        "output": json.dumps(answer, ensure_ascii=False),
    }


def reading_example() -> Task:
    """Questions on three to six sentences, one of which answers. (Where a text has no answer, its cell is empty.)"""

    def answered(*given: Any) -> Rows:
        world, language, count, rng = given
        return [row for row in reading_rows(world, language, 2 * count, rng) if row["answer"]]  # every other one

    def write(row: Mapping[str, Any]) -> dict[str, Any]:
        label = {"text": row["answer"], "start": row["answer_start"]}
        return {"text": row["text"], "question": row["question"], "label": label}

    splits = _splits("reading", answered, write)
    return Task("world/reading", ("text", "question"), (), splits, answer="span", ceiling=1.0)


MACHINE_READING_COMPREHENSION = Application(
    name="machine_reading_comprehension",
    hub="question-answering",
    about="the answer to a question, as a piece of the text, or none",
    answer="span",
    texts=(2, 2),
    metric="f1",
    prepare=prepare_reading,
    cells=answer_cells,
    example=reading_example,
    usual=3e-5,
    parameters=READING,
)


# A solution: which of several hundred things is a text about?


def subjects_task(labels: int = 300, each: int = 14) -> Task:
    """Tagging of contents, for `text_classify`: sentences about one of `labels` things of the world. There are `each`
    about every one of them, two of these for "dev" and two for "test"; a text names other things as well.
    """
    matcher = Matcher(World(), "en", randomness(World(), "application", "subjects"))
    known = (thing.id for thing in matcher.graph.entities if len(matcher.graph.facts_of(thing.id)) > 4)
    things = [thing for thing, _ in zip(known, range(labels), strict=False)]

    def one(number: int) -> dict[str, Any]:
        facts = matcher.about(things[number % labels], 1, 2)
        return {"text": matcher.text([matcher.say(fact) for fact in facts]), "label": number % labels}

    rows, cut = collect(labels * each, one, ("text",)), [labels * (each - 4), labels * (each - 2)]
    splits = {"train": rows[: cut[0]], "dev": rows[cut[0] : cut[1]], "test": rows[cut[1] :]}
    return Task("world/subjects", ("text",), tuple(map(matcher.name, things)), splits, chance=1 / labels)
