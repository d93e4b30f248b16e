"""What the cells of a notebook show, made fit to be kept: the same bytes whenever the same thing is shown.

A saved output holds no live widget, no progress bar, no address of an object; and measured times, which differ at every
run, stay as they were where nothing but them has changed.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Sequence
from typing import Any

from labkit.errors import LabkitError

VIEW = "application/vnd.jupyter.widget-view+json"
ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
DATA_URI = re.compile(r"data:[\w/+.-]+;base64,[A-Za-z0-9+/=\s]*")
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}\b")
BAR = re.compile(r"\d+%\|.*\| *[\d.]+[kMG]?/[\d.?]+[kMG]? *\[|\r(?!\n)")

NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?(?:\s?[kMG](?=\s?\w))?"
SECONDS = r"ns|µs|us|ms|s|secs?|seconds?|mins?|minutes?|hours?|h"
RATE = rf"(?:[A-Za-z]+\s?)?[A-Za-z]+(?:\s?/\s?|\s(?:a|per)\s)(?:s|sec|second|minute|hour)|(?:{SECONDS})\s?/\s?[A-Za-z]+"
FACTOR = r"(?:×|x|times)\s(?:as fast|faster|slower|as slow)"
TIME = re.compile(rf"{NUMBER}(?:\s?(?:±|–|-|to)\s?{NUMBER})?\s?(?:{RATE}|{SECONDS}|{FACTOR})(?![A-Za-z0-9]|\.d\b)")
# The bytes of a picture, or a time: a column keeps its width, so a longer number has less before it.
BYTES_OR_TIME = re.compile(rf"({DATA_URI.pattern})|[ ]*{TIME.pattern}")
TIME_HEADING = re.compile(rf"(?:^|[\s(/,])(?:{SECONDS})(?:$|[\s)/,])", re.IGNORECASE)

TABLE = re.compile(r"<table.*?</table>", re.DOTALL)
ROW = re.compile(r"<tr.*?</tr>", re.DOTALL)
CELL = re.compile(r"(<t([hd])\b[^>]*>)(.*?)(</t\2>)", re.DOTALL)
IMAGE = re.compile(r"<img\b[^>]*>")


class Refused(LabkitError):
    """An output that may not be kept; the message says why, and what to do."""


def texts(output: dict[str, Any]) -> Iterator[str]:
    """Every text that an output holds, without the bytes of pictures."""
    if output["output_type"] == "stream":
        yield output["text"]
    for kind, value in output.get("data", {}).items():
        if isinstance(value, str) and not kind.startswith("image/"):
            yield DATA_URI.sub("", value)
    yield from output.get("traceback", ())


def tidied(outputs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The outputs as they are kept: streams joined, views of widgets and their progress bars dropped.

    Raises Refused for what cannot be kept: stderr, a bar on a terminal, a widget without a picture, an address.
    """
    kept: list[dict[str, Any]] = []
    for output in outputs:
        output = {key: value for key, value in output.items() if key not in ("transient", "execution_count")}
        if "data" in output and not _without_view(output):
            continue
        last = kept[-1] if kept else None
        if last and output["output_type"] == "stream" == last["output_type"] and output["name"] == last["name"]:
            last["text"] += output["text"]
        else:
            kept.append(output)
    for output in kept:
        if problem := refusal(output):
            raise Refused(problem)
    return kept


def _without_view(output: dict[str, Any]) -> bool:
    """Drop the view of a widget from `output`; False where nothing worth keeping is left: a bar that has run."""
    data = output["data"]
    if VIEW not in data:
        return True
    output["data"] = rest = {kind: value for kind, value in data.items() if kind != VIEW}
    plain = rest.get("text/plain", "")
    if set(rest) <= {"text/plain"}:
        if BAR.search(plain) or not plain:
            return False
        raise Refused(f"a widget without a picture ({plain[:60]}): wrap it in labkit.widgets.Shown")
    return True


def refusal(output: dict[str, Any]) -> str:
    """Why an output may not be kept, and the mend; empty if it may."""
    if output["output_type"] == "error":
        return f"{output['ename']}: {output['evalue']}: a cell of a lesson may not fail"
    if output.get("name") == "stderr":
        return f"stderr is not empty: mend its cause, or switch the message off: {ANSI.sub('', output['text']).strip()}"
    for text in texts(output):
        if BAR.search(text):
            return "a terminal's progress bar: leave progress to lab.progress"
        if found := ADDRESS.search(text):
            return f"the address of an object ({found[0]}): it changes at every run; print something that says more"
    return ""


def same_but_times(new: Sequence[dict[str, Any]], old: Sequence[dict[str, Any]]) -> bool:
    """Whether two lists of outputs differ in nothing but measured times and rates, or not at all."""
    return list(map(_timeless, new)) == list(map(_timeless, old))


def _timeless(output: dict[str, Any]) -> Any:
    """An output with its times masked. Of several forms of one output, HTML stands for all."""
    if output["output_type"] == "stream":
        return "stream", output["name"], timeless(output["text"])
    data = output.get("data", {})
    if "text/html" in data:
        return "html", timeless(data["text/html"])
    return [(kind, timeless(value) if isinstance(value, str) else value) for kind, value in sorted(data.items())]


def timeless(text: str) -> str:
    """`text` with a bare unit in place of each time; also in columns headed by one, and in pictures of times."""
    text = TABLE.sub(lambda found: _timeless_table(found[0]), text)
    text = IMAGE.sub(lambda found: DATA_URI.sub("", found[0]) if times(html.unescape(found[0])) else found[0], text)
    return BYTES_OR_TIME.sub(lambda found: found[1] or " time", text)


def times(text: str) -> list[str]:
    """The times and rates in `text`, as they stand there."""
    return [found[0] for found in TIME.finditer(DATA_URI.sub("", text))]


def _timeless_table(table: str) -> str:
    """An HTML table without the numbers of the columns whose heading is a unit of time or a rate."""
    rows = ROW.findall(table)
    heads = [html.unescape(cell[2]).strip() for cell in CELL.findall(rows[0])] if rows else []
    timed = {place for place, head in enumerate(heads) if TIME_HEADING.search(head)}
    for row in rows[1:]:
        count = iter(range(len(heads) + 1))

        def masked(cell: re.Match[str], count: Iterator[int] = count) -> str:
            return cell[1] + ("time" if next(count, -1) in timed and cell[3].strip() else cell[3]) + cell[4]

        table = table.replace(row, CELL.sub(masked, row))
    return table
