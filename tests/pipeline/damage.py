"""Random damage to a folder: what disks, copies and people do to files."""

from __future__ import annotations

import random
import shutil
from pathlib import Path


def damage(folder: Path, rng: random.Random) -> str:
    """Damage one file somewhere in `folder`; says what was done."""
    path = rng.choice(sorted(file for file in folder.rglob("*") if file.is_file()))
    ways = (_flip, _cut, _blank, _more, _swap, _stray, _gone, _folder, _link, _digit)
    way = rng.choice(ways)
    way(path, rng, folder)
    return f"{way.__name__} {path.relative_to(folder)}"


def _flip(path: Path, rng: random.Random, _: Path) -> None:
    data = bytearray(path.read_bytes())
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def _cut(path: Path, rng: random.Random, _: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: rng.choice([0, 1, 9, rng.randrange(len(data)), len(data) - 1])])


def _blank(path: Path, rng: random.Random, _: Path) -> None:
    data = bytearray(path.read_bytes())
    at = rng.randrange(len(data))
    data[at : at + 512] = bytes(len(data[at : at + 512]))
    path.write_bytes(data)


def _more(path: Path, rng: random.Random, _: Path) -> None:
    other = rng.choice([b"\0" * 99, b"{}", b"[" * 100_000, b"\xff\xfe", b'{"a": "\\ud83d"}'])
    path.write_bytes(rng.choice([b"", path.read_bytes()]) + other)


def _swap(path: Path, rng: random.Random, folder: Path) -> None:
    alike = sorted(file for file in folder.rglob(f"*{path.suffix}") if file.is_file())
    shutil.copy(rng.choice(alike), kept := path.with_name(".kept"))
    kept.replace(path)


def _stray(path: Path, rng: random.Random, _: Path) -> None:
    path.with_name(rng.choice(["adapter_config.json", "vocab.txt", "added_tokens.json", "x.py"])).write_text("{}")


def _gone(path: Path, *_: object) -> None:
    path.unlink()


def _folder(path: Path, *_: object) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, *_: object) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def _digit(path: Path, rng: random.Random, _: Path) -> None:
    """Another digit or letter, which leaves a JSON file well formed."""
    data = bytearray(path.read_bytes())
    places = [at for at, byte in enumerate(data) if chr(byte).isalnum()]
    if places:
        data[rng.choice(places)] = ord(rng.choice("0123456789abcdef"))
    path.write_bytes(data)
