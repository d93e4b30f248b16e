"""A widget and, beside it in the same output, the picture that stays when no kernel is there to answer.

A live front end shows the widget, which it prefers among the forms it is offered. A saved notebook, which holds no
widget's state, shows the picture: an image with an alternative text, or HTML that reads as text too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ipywidgets import HTML, VBox, Widget

from labkit.errors import LabkitError, UsageError
from labkit.tasks.text import check_whole
from labkit.widgets.boxes import alert

VIEW = "application/vnd.jupyter.widget-view+json"
MISHAPS = (LabkitError, ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


class Drawing(Protocol):
    """What a widget's draw() gives: a `labkit.report.Plot`, or a `Picture`. Its repr says in words what it shows."""

    def _repr_html_(self) -> str: ...


@dataclass(frozen=True, repr=False)
class Picture:
    """A picture made of HTML, and what it shows in words (`alt`)."""

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html

    def __repr__(self) -> str:
        return self.alt


class Shown:
    """An ipywidget with its static picture: `static` may be replaced as the widget changes."""

    def __init__(self, widget: Widget, static: Drawing) -> None:
        self.widget, self.static = widget, static

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None, **_: Any) -> dict[str, Any]:
        """One bundle: the widget's view, the picture as it is now, and its words."""
        bundle = {"text/plain": repr(self.static), "text/html": self.static._repr_html_()}
        view = self.widget._repr_mimebundle_()
        return {**bundle, VIEW: view[VIEW]} if VIEW in view else bundle

    def __repr__(self) -> str:
        return repr(self.static)


class Explorer(Shown):
    """A thin shell: when one of `controls` changes, `picture()` is asked anew.

    An error becomes one sentence above the picture, and the last good picture stays. The first picture is drawn at
    once, and its errors are raised: they are the caller's.
    """

    def __init__(self, controls: Sequence[Widget], rows: Sequence[Widget]) -> None:
        self.message, self.view = HTML(), HTML()
        self.view.layout.overflow = "auto"
        super().__init__(VBox([*rows, self.message, self.view]), self.picture())
        self.view.value = self.static._repr_html_()
        for control in controls:
            control.observe(self._changed, "value")

    def picture(self) -> Drawing:
        """The picture for the controls as they stand; a LabkitError where they make none."""
        raise NotImplementedError

    def _changed(self, _: Any) -> None:
        try:
            drawing = self.picture()
        except MISHAPS as error:
            said = str(error) if isinstance(error, LabkitError) else f"{type(error).__name__}: {error}"
            self.message.value = alert(f"{said} (below: the last picture that worked)")
            return
        self.static = drawing
        self.view.value, self.message.value = drawing._repr_html_(), ""


def bounded(text: str, what: str, most: int = 1000) -> str:
    """The text, if it has at most `most` characters, all of them whole; else a LabkitError that says what is wrong."""
    if len(text) > most:
        raise UsageError(f"{what}: {len(text)} characters; at most {most} are taken here")
    check_whole(text, what)
    return text
