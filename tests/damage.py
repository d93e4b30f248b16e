"""Random damage to a folder of JSON, safetensors and tokenizer files: what disks, copies, editors and strangers do."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

VALUES = (
    None, True, False, -1, 0, 1, 2, 7, 10**9, 10**18, 2**70, 1.5, 1e308, float("nan"), "", "x", "../x", "\ud83d",
    "re:(a+)+$", [], {}, [[]], [1, "x"], {"x": 1}, ["x"] * 3,
)  # fmt: skip
STRAYS = {
    "adapter_config.json": '{"peft_type": "LORA", "r": 2, "target_modules": ["query"], "task_type": null}',
    "pytorch_model.bin": "\x80\x04.",
    "vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nx\n",
    "added_tokens.json": '{"the": 3}',
    "special_tokens_map.json": '{"unk_token": "good"}',
    "model.safetensors.index.json": '{"weight_map": {"x": "model.safetensors"}}',
    "chat_template.jinja": "{{ lipsum }}",
    "generation_config.json": "[]",
    "evil.py": "raise SystemExit",
}


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file in `folder`, at any depth, in one of many ways; says what was done."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    path = rng.choice(files)
    ways = [flip, cut, blank, stuff, remove, swap, stray]
    ways += [document] * 9 * (path.suffix == ".json") + [header] * 9 * (path.suffix == ".safetensors")
    way = rng.choice(ways)
    return f"{way.__name__} {path.name}: {way(path, rng)}"


def flip(path: Path, rng: random.Random) -> Any:
    """Another bit, or another byte."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at] = data[at] ^ 1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(256)
    path.write_bytes(data)
    return at


def cut(path: Path, rng: random.Random) -> Any:
    """The end is missing."""
    data = path.read_bytes()
    keep = rng.choice([0, 1, 7, 8, 9, rng.randrange(len(data)), len(data) - 1])
    path.write_bytes(data[:keep])
    return keep


def blank(path: Path, rng: random.Random) -> Any:
    """A stretch of zeros, as after a power cut."""
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    path.write_bytes(data)
    return at


def stuff(path: Path, rng: random.Random) -> Any:
    """Something else in its place, or behind it."""
    other = rng.choice([b"", b"\0" * 99, b"{}", b"[]", b"null", b"[" * 100_000, b"\xff\xfe{\0}\0", b"<html>"])
    path.write_bytes(rng.choice([b"", path.read_bytes()]) + other)
    return other[:9]


def remove(path: Path, rng: random.Random) -> Any:
    """Gone, or a folder, a link to nowhere, another name in its place."""
    how = rng.choice(["gone", "folder", "link", "name"])
    if how == "name":
        path.rename(path.with_name(path.name + ".bak"))
        return how
    path.unlink()
    if how == "folder":
        path.mkdir()
    elif how == "link":
        path.symlink_to("nowhere")
    return how


def swap(path: Path, rng: random.Random) -> Any:
    """Another file's contents."""
    other = rng.choice(sorted(file for file in path.parent.iterdir() if file.is_file()))
    shutil.copy(other, path.with_name("kept"))
    path.replace(other)
    path.with_name("kept").replace(path)
    return other.name


def stray(path: Path, rng: random.Random) -> Any:
    """A file that does not belong there."""
    name = rng.choice(sorted(STRAYS))
    path.with_name(name).write_text(STRAYS[name], encoding="utf-8")
    return name


def document(path: Path, rng: random.Random) -> Any:
    """Another value, key or document in a JSON file."""
    values = json.loads(path.read_text(encoding="utf-8"))
    done, values = mutated(values, rng)
    path.write_text(json.dumps(values), encoding="utf-8")
    return done


def header(path: Path, rng: random.Random) -> Any:
    """Another value, key or document in the header of a safetensors file, or another length of it."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    if rng.random() < 0.1:
        length = rng.choice([0, 1, length - 1, length + 1, len(data), 2**31, 2**63])
        path.write_bytes(length.to_bytes(8, "little") + data[8:])
        return length
    done, values = mutated(json.loads(data[8 : 8 + length]), rng)
    text = json.dumps(values).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    return done


def mutated(values: Any, rng: random.Random) -> tuple[str, Any]:
    """`values` with one change somewhere inside, and what it was."""
    places = list(_places(values))
    new = rng.choice(VALUES)
    if not places or rng.random() < 0.03:
        return f"all = {new!r}", new
    inner, key = rng.choice(places)
    how = rng.choice(["set", "set", "set", "drop", "rename", "add"])
    if how in ("rename", "add") and isinstance(inner, dict):
        inner[rng.choice([f"{key}x", "x", "", key[::-1]])] = inner.pop(key) if how == "rename" else new
    elif how == "drop":
        del inner[key]
    else:
        inner[key] = new
    return f"{how} {key!r:.40} {new!r:.40}", values


def _places(values: Any, most: int = 60) -> Iterator[tuple[Any, Any]]:
    """Where something may be changed: a container and a key, of each container at most so many."""
    if not isinstance(values, dict | list):
        return
    keys = list(values) if isinstance(values, dict) else list(range(len(values)))
    for key in keys[:most]:
        yield values, key
        yield from _places(values[key], 3)


def outcomes(
    folder: Path, scratch: Path, count: int, seed: int, check: Callable[[Path, str], None], after: Any = None
) -> None:
    """Call `check(copy, what was done)` on `count` damaged copies; `after(copy, rng)` may dress the wound first."""
    for number in range(count):
        rng = random.Random(f"{seed}/{number}")
        copy = scratch / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        done = damage(copy, rng)
        if after is not None:
            after(copy, rng)
        check(copy, f"damage {number}: {done}")
