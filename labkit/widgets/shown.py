"""A widget and, beside it in the same output, the picture that stays when no kernel is there to answer.

A live front end shows the widget, which it prefers among the forms it is offered. A saved notebook, which holds no
widget's state, shows the picture: an image with an alternative text, or HTML that reads as text too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from ipywidgets import HTML, HBox, Layout, VBox, Widget

from labkit.errors import LabkitError, UsageError
from labkit.tasks.text import check_whole
from labkit.widgets.boxes import alert

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

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
    """Controls above a picture: when one of them changes, `picture` is asked anew, with every control's value by name.

    Each control is an attribute of its name; a dictionary of controls stands for a dictionary of values. `rows` lays
    them out, by default beside one another. An error becomes one sentence above the picture, and the last good picture
    stays. The first picture is drawn at once, and its errors are raised: they are the caller's.
    """

    def __init__(self, picture: Callable[..., Drawing], rows: Sequence[Widget] = (), /, **controls: Any) -> None:
        self.picture, self.controls = picture, controls
        vars(self).update(controls)
        every = [one for some in controls.values() for one in (some.values() if isinstance(some, dict) else [some])]
        self.message, self.view = HTML(), HTML()
        self.view.layout.overflow = "auto"
        super().__init__(VBox([*(rows or [beside(*every)]), self.message, self.view]), self._drawn())
        self.view.value = self.static._repr_html_()
        for control in every:
            control.observe(self._changed, "value")

    def _drawn(self) -> Drawing:
        """The picture for the controls as they stand."""

        def value(control: Any) -> Any:
            return {name: one.value for name, one in control.items()} if isinstance(control, dict) else control.value

        return self.picture(**{name: value(control) for name, control in self.controls.items()})

    def _changed(self, _: Any) -> None:
        try:
            drawing = self._drawn()
        except MISHAPS as error:
            said = str(error) if isinstance(error, LabkitError) else f"{type(error).__name__}: {error}"
            self.message.value = alert(f"{said} (below: the last picture that worked)")
            return
        self.static = drawing
        self.view.value, self.message.value = drawing._repr_html_(), ""


def beside(*controls: Widget) -> HBox:
    """Controls beside one another, or below where the page is narrow."""
    return HBox(controls, layout=Layout(flex_flow="row wrap"))


def look(label: int, width: int | str) -> dict[str, Any]:
    """A control's keywords for the width of its description and its own, in pixels or as CSS has it."""
    whole = width if isinstance(width, str) else f"{width}px"
    return {"style": {"description_width": f"{label}px"}, "layout": Layout(width=whole)}


def as_written(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Tokens as the vocabulary writes them, a leading space as ␣."""
    return [re.sub("^[Ġ▁]", "␣", token) for token in tokenizer.convert_ids_to_tokens(list(ids))]


def bounded(text: str, what: str, most: int = 1000) -> str:
    """The text, if it has at most `most` characters, all of them whole; else a LabkitError that says what is wrong."""
    if len(text) > most:
        raise UsageError(f"{what}: {len(text)} characters; at most {most} are taken here")
    check_whole(text, what)
    return text
