"""The page of the knowledge demo: a text with blanks for two models, and a query for three retrievers.

Handlers are plain functions of what was typed; `build_demo` only lays out the page and connects them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from labkit.demos.foundations.form import MAX_TEXT, parts_around_blanks, typed
from labkit.demos.foundations.writing import Models
from labkit.demos.knowledge import asking, showing
from labkit.errors import UsageError
from labkit.knowledge.passages import Collection, world_passages
from labkit.serving import MAX_WAITING, import_gradio, telling
from labkit.serving.look import examples, page
from labkit.widgets.retrieval_bench import MOST, Retriever, compute

if TYPE_CHECKING:
    import gradio

BEFORE, AFTER = "mini-bert-en", "mini-dkplm-en"
INTRO = """Text says much of a few things and little of most. See what a model knows of frequent and of rare things,
before and after it was asked for the facts of a graph; then find the page that knows better."""
EXPLANATION = """
**Facts.** Both models read the text and fill each blank on its own. The second is the first after some more reading,
in which it was also asked for the graph's facts about rare things (DKPLM). Neither sees the graph here: it is shown to
you alone. Counted over hundreds of blanks the second knows no more than the first, rare or not; lesson 02/03 looks for
the reason. Some facts stand in the graph and in no text that any model has read.

**Search.** *BM25* counts the words that query and page share, rare ones more. *Dense* compares two vectors that a small
BERT has made. *SparTerm* has a weight for each word of the vocabulary, also for words that do not stand in the page.
Under each page stand the words that found it. Queries from the list are marked: ✓ where the page answers.

Things to try:

- Take a fact of a frequent thing and one of a rare thing: which of them does the first model know? And the second?
- Say the same fact in other words: does a model that knew it still know it?
- Ask for a fact with ✗: where could a model know it from?
- Search for a page with words that do not stand in it. Which retriever finds it, and by which words?
- Ask something with a name that no page has. Which retriever notices?
"""


def on_fill(models: Models, names: Sequence[str], graph: asking.Graph, text: Any) -> str:
    """What "Fill" does, as HTML. LabkitError says what is wrong with the text."""
    parts = parts_around_blanks(text)
    return showing.filled(asking.ask(models, names, graph, parts), parts, graph.tokenizer)


def on_search(retrievers: Mapping[str, Retriever], pages: Collection, query: Any, count: Any) -> str:
    """What "Search" does, as HTML."""
    query = typed(query)
    if count not in range(1, MOST + 1):
        raise UsageError(f"choose 1 to {MOST} pages")
    known = {row["text"]: row["answers"] for row in pages.splits["test"]}
    return showing.pages(compute(retrievers, pages.passages, query, int(count), known.get(query)))


def build_demo(model: str = AFTER) -> gradio.Blocks:
    """The page; `model`, named as in `labkit.load_model`, stands beside mini-bert-en.

    UsageError for a model that fills no blanks. The first start trains two retrievers, in some two minutes.
    """
    gr, models = import_gradio(), Models(BEFORE)
    names = list(dict.fromkeys((BEFORE, model)))
    if models.get(model).tokenizer.mask_token is None:
        raise UsageError(f"model {model!r} fills no blanks: choose one like {AFTER}")
    graph, pages = asking.Graph(asking.STUDY, models.get(BEFORE).tokenizer), world_passages()
    retrievers = asking.retrievers(pages)
    with page(gr, "What a model knows, and where to look it up", INTRO, ("02/03", "02/05")) as demo:
        with gr.Tabs():
            with gr.Tab("Facts"):
                samples = asking.cloze_examples(asking.STUDY)
                text = _box(gr, samples[0], "A text with blanks: [MASK] where a word is missing")
                _tab(gr, [text], samples, "Fill", lambda text: on_fill(models, names, graph, text))
            with gr.Tab("Search"):
                asked = _some_queries(pages)
                query = _box(gr, asked[0], "What do you want to know?")
                count = gr.Slider(1, MOST, value=3, step=1, label="Pages of each")
                _tab(gr, [query, count], asked, "Search", lambda *typed: on_search(retrievers, pages, *typed))
        with gr.Accordion("What you see, and what to try", open=True):
            gr.Markdown(EXPLANATION)
    return demo.queue(max_size=MAX_WAITING, default_concurrency_limit=1)


def _some_queries(pages: Collection) -> list[str]:
    """Three queries that share words with the page that answers, three that share none."""
    rows = pages.splits["test"]
    return [row["text"] for differ in (False, True) for row in [r for r in rows if r["mismatch"] == differ][:3]]


def _box(gr: Any, value: str, label: str) -> Any:
    return gr.Textbox(value, label=label, lines=1, max_lines=6, max_length=MAX_TEXT, submit_btn=False)


def _tab(gr: Any, inputs: list[Any], samples: Sequence[str], name: str, answer: Any) -> None:
    """A button, examples of the first input, and below them what is found; Enter asks too."""
    button = gr.Button(name, variant="primary")
    examples(gr, [[one] for one in samples], inputs[:1])
    shown = gr.HTML(showing.WAITING)

    def told(*values):
        with telling():
            return answer(*values)

    one = {"concurrency_limit": 1, "concurrency_id": "model", "show_progress_on": shown}
    button.click(told, inputs, shown, api_name=name.lower(), **one)
    inputs[0].submit(told, inputs, shown, api_visibility="private", **one)
