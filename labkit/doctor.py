"""What this machine offers labkit: versions, device, cache, extras. Read only; asks nothing of the network."""

from __future__ import annotations

import os
import platform
import textwrap
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

import labkit
from labkit import files, threads
from labkit.errors import LabkitError

EXTRA, OPTIONAL, WAITING = "extra ", "not needed", "waiting threads"


def examine(waiting: threads.Waiting | None = None) -> list[dict[str, Any]]:
    """Rows `{what, value, advice}`; advice is empty where nothing is to be done.

    `waiting` is what this process chose when it began; None looks at how it stands now.
    """
    waiting = waiting or threads.waiting()
    return [
        _row("labkit", labkit.__version__),
        _row("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        _row("cpu cores", threads.cores()),
        _row(WAITING, str(waiting), waiting.advice),
        *_devices(),
        *_compilers(),
        _cache(),
        *_core(),
        *_extras(),
    ]


def verdict(rows: list[dict[str, Any]]) -> str:
    """One sentence: whether the lessons run here, and what is missing for the rest."""
    missing = [row["what"] for row in rows if row["advice"] and not row["advice"].startswith(OPTIONAL)
               and row["what"] != WAITING]  # which is a matter of speed  # fmt: skip
    extras = [name.removeprefix(EXTRA) for name in missing if name.startswith(EXTRA)]
    first = [name for name in missing if not name.startswith(EXTRA)]
    if first:
        return f"mend first: {', '.join(first)}"
    if extras:
        return f"the library works; not installed: {', '.join(extras)}"
    return "all is well: lessons, demos, tests and assignments can run"


def text(rows: list[dict[str, Any]]) -> str:
    """The rows for a terminal of 80 columns, what is in order folded into a line a kind; `verdict` is the last line."""
    core = {item.name for item in requirements().get("", ())}
    fine = [row for row in rows if not row["advice"]]
    packages = [row for row in fine if row["what"] in core]
    extras = [row for row in fine if row["what"].startswith(EXTRA)]
    folded = [
        _row("packages", ", ".join(f"{row['what']} {row['value']}" for row in packages)),
        _row("extras", ", ".join(row["what"].removeprefix(EXTRA) for row in extras)),
    ]
    shown = [row for row in rows if row not in packages and row not in extras]
    lines = [line for row in [*shown, *folded] if row["value"] != "" for line in _wrapped(row)]
    return "\n".join([*lines, "", f"verdict: {verdict(rows)}"])


def _wrapped(row: dict[str, Any]) -> list[str]:
    """A row in lines of at most 80 characters, its advice below."""
    texts = [(f"{row['what']:<17}", str(row["value"])), (" " * 17 + "-> ", row["advice"])]
    return [
        line
        for head, body in texts
        if body
        for line in textwrap.wrap(body, 80, initial_indent=head, subsequent_indent=" " * len(head))
    ]


def _row(what: str, value: Any, advice: str = "") -> dict[str, Any]:
    return {"what": what, "value": value, "advice": advice}


def _devices() -> list[dict[str, Any]]:
    import psutil
    import torch

    rows = [_row("memory", f"{psutil.virtual_memory().total / 2**30:.0f} GiB")]
    if torch.cuda.is_available():
        return rows + [_row("gpu", f"{torch.cuda.get_device_name(i)}") for i in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        return [*rows, _row("gpu", "Apple (mps)")]
    return [*rows, _row("gpu", "none", f"{OPTIONAL}: every lesson runs on the CPU")]


def _compilers() -> list[dict[str, Any]]:
    from labkit.cuda.build import find_cxx, find_nvcc

    found = (("nvcc", find_nvcc(), "only kernels on a GPU need it"),
             ("g++", find_cxx(), "only the emulator of kernels (lesson 06/02) needs it"))  # fmt: skip
    return [_row(name, path or "none", "" if path else f"{OPTIONAL}: {use}") for name, path, use in found]


def _cache() -> dict[str, Any]:
    try:
        folder = files.cache_folder()
    except LabkitError as error:
        return _row("cache", "none", str(error))
    nearest = next(parent for parent in (folder, *folder.parents) if parent.exists())
    writable = nearest.is_dir() and os.access(nearest, os.W_OK)
    return _row("cache", str(folder), "" if writable else "not writable: set LABKIT_CACHE to a folder that is")


def requirements() -> dict[str, list[Requirement]]:
    """labkit's requirements by extra; "" holds those of the core. Empty where labkit is not installed."""
    try:
        lines = metadata.requires("labkit") or []
        extras = metadata.metadata("labkit").get_all("Provides-Extra") or []
    except metadata.PackageNotFoundError:
        return {}
    parsed = [Requirement(line) for line in lines]
    found = {"": [item for item in parsed if item.marker is None or item.marker.evaluate({"extra": ""})]}
    for extra in extras:
        found[extra] = [item for item in parsed if item not in found[""] and item.marker.evaluate({"extra": extra})]
    return found


def _lacks(requirement: Requirement) -> str | None:
    """Why `requirement` is not met here, or None."""
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    fits = requirement.specifier.contains(version, prereleases=True)
    return None if fits else f"{requirement.name} is {version}, needs {requirement.specifier}"


def _core() -> list[dict[str, Any]]:
    found = requirements()
    if not found:
        return [_row("installed", "no", "runs from its source folder; `pip install -e .` installs it")]
    rows = []
    for item in found[""]:
        lack = _lacks(item)
        advice = f"pip install '{item.name}{item.specifier}'" if lack else ""
        rows.append(_row(item.name, lack or metadata.version(item.name), advice))
    return rows


def _extras() -> list[dict[str, Any]]:
    rows = []
    for extra, items in requirements().items():
        if extra in ("", "all"):
            continue
        lacks = [lack for lack in map(_lacks, items) if lack]
        build = "DS_BUILD_OPS=0 pip install --no-build-isolation" if extra == "deepspeed" else "pip install"
        advice = f"{build} -e '.[{extra}]'  (in labkit's folder)" if lacks else ""
        rows.append(_row(f"{EXTRA}{extra}", "; ".join(lacks) or "complete", advice))
    return rows
