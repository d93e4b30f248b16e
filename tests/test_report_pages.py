"""docs/results.md and `labkit results`: every measured table has a page, made from its rows."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import pytest

from labkit.cli import main
from labkit.report.page import anchor, document, heading
from labkit.report.pages import PAGES, page, pages
from labkit.report.rows import names

DOCS = Path(__file__).parents[1] / "docs"


def test_every_table_has_a_page_and_the_pages_are_what_the_rows_say():
    assert sorted(one.name for one in pages()) == names() and len({one.name for one in PAGES}) == len(PAGES)
    stale = "docs/results.md is stale: run `labkit results build`"
    assert (DOCS / "results.md").read_text(encoding="utf-8") == document(pages()), stale


def test_links_lead_to_headings_and_rows():
    assert anchor("How hard the world's English tasks are") == "how-hard-the-worlds-english-tasks-are"
    assert anchor("Few-shot methods on eight tasks") == "few-shot-methods-on-eight-tasks"
    text = document(pages())
    headings = {anchor(line[3:]) for line in text.splitlines() if line.startswith("## ")}
    assert len(headings) == len(pages()) and all(f"](#{found})" in text for found in headings)
    assert all((DOCS / f"../labkit/results/{one.name}.json").is_file() for one in pages())


@pytest.mark.parametrize("name", names())
def test_no_two_tasks_share_a_heading(name):
    tasks = {row.task for row in page(name).report.rows}
    assert len({heading(task) for task in tasks}) == len(tasks)


def test_a_cell_is_the_mean_and_deviation_of_its_rows():
    found = page("zero")
    values = [row.value for row in found.report.rows
              if (row.task, row.metric, row.method) == ("4 ranks, stage 3", "bytes sent, × Ψ", "labkit")]  # fmt: skip
    cells = next(row for row in found.table.rows if row[0] == "4 ranks, stage 3: labkit")
    cell = cells[found.table.header.index("bytes sent, × Ψ")]
    ends = page("fewshot_bert")
    assert [line[0] for line in ends.table.lines] == ["chance", "ceiling"] and "50.0" in ends.table.lines[0]
    assert len(values) > 1 and cell == f"{statistics.fmean(values):.4g} ± {statistics.stdev(values):.4g}"


def test_tables_are_listed_printed_and_written(tmp_path, capsys):
    assert main(["results", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == [one.name for one in pages()]
    assert main(["results", "landing"]) == 0
    shown = capsys.readouterr().out
    assert "Gemma" in shown and "paper" in shown and "90.63" in shown
    assert main(["results", "landing", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["rows"]) == len(page("landing").report.rows)
    assert main(["results", "build", "--out", str(tmp_path / "all.md")]) == 0
    assert (tmp_path / "all.md").read_text(encoding="utf-8") == document(pages())


@pytest.mark.parametrize("name", ["landin", "../results/zero", ""])
def test_an_unknown_table_is_one_error_with_the_nearest_name(name, capsys):
    assert main(["results", name]) == 2
    error = capsys.readouterr().err
    assert "unknown results" in error and ("landing" in error or name != "landin")


def test_the_readme_shows_two_of_them():
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert all(page(name).table.markdown() in text for name in ("landing", "fewshot_bert"))
    assert len(text.splitlines()) <= 150


def test_a_page_is_drawn_from_the_best_method_to_the_worst():
    shown = page("fewshot_bert").plot()
    (axes,) = shown.figure.axes[:1]
    means = [float(label.get_text().split(" ± ")[0]) for label in axes.child_axes[0].get_yticklabels()]
    assert means == sorted(means, reverse=True) and len(means) == len(page("fewshot_bert").table.rows)
    assert "PET 80.9" in shown.alt and "paper 78.01" in shown.alt and "against" not in shown.alt
