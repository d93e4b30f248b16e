"""Between a run and its checkpoints: what is saved of it, and how it goes on."""

from __future__ import annotations

import contextlib
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from labkit import checkpoints
from labkit.config import to_dict
from labkit.errors import CheckpointError, LabkitError, TrainingError
from labkit.training import randomness
from labkit.training.identity import CHANGED, identity

FREE = ("save_every", "keep", "device", "timeout")  # a resumed run may change these: they do not touch the result


Run = Any  # one call of `fit`, as `labkit.training.loop` has it; what of it is saved stands in `_snapshot`


def save(run: Run) -> None:
    """Write a checkpoint of the run's last boundary: rank 0 writes, all ranks hear whether it worked.

    Raises TrainingError, writing nothing, where a weight is no number; LabkitError where the system refuses.
    """
    random_states = _gather(run)
    failure: LabkitError | None = None
    with getattr(run.engine, "whole", contextlib.nullcontext)():
        if run.rank == 0:
            try:
                run.history.folder = checkpoints.save(run.folder, _snapshot(run, random_states), run.settings.keep)
            except LabkitError as error:
                failure = error
    failed = run.engine.total([float(failure is not None)])[0] if run.world > 1 else failure
    if failure is not None:
        raise failure
    if failed:
        raise TrainingError(f"step {run.history.steps}: rank 0 could not write its checkpoint; its message says why")


def _snapshot(run: Run, random_states: dict[str, Tensor]) -> checkpoints.Snapshot:
    history = run.history
    run.losses.check(run.model)
    tensors, numbers = run.engine.state_dict() if hasattr(run.engine, "state_dict") else ({}, {})
    own = {f"objective:{name}": tensor for name, tensor in _own(run).items()}
    facts = {
        "settings": settings_of(run),
        "seconds": history.seconds,
        "tokens": history.tokens,
        "pieces": run.pieces,
        "world": run.world,
        "precision": getattr(run.engine, "precision", None),
        "engine": numbers,
    }
    losses = {"losses": torch.tensor(history.losses, dtype=torch.float64)}
    config = getattr(run.model, "config", None)
    text = config.to_json_string() if hasattr(config, "to_json_string") else None
    model = checkpoints.weights(run.model)
    return checkpoints.Snapshot(history.steps, model, tensors, {**random_states, **losses, **own}, facts, text)


def settings_of(run: Run) -> dict[str, Any]:
    """What a resumed run must have in common with the first: settings, what decides the data's order, its identity."""
    plain = {name: value for name, value in to_dict(run.settings).items() if name not in FREE}
    return {**plain, **{f"batches.{name}": value for name, value in run.data.settings().items()}, **run.identity}


def prepare(run: Run, resume: bool) -> None:
    """Go on from the newest whole checkpoint in the run's folder, or make sure that there is none to overwrite."""
    before = randomness.capture(run.device)
    run.identity |= identity(run.model, run.objective, run.data)
    randomness.restore(before, run.device)  # a batch was made, and its collate may have drawn
    if not resume:
        if there := checkpoints.steps(run.folder):
            raise CheckpointError(f"{run.folder}: holds {there[0].name} already; pass resume=True, or another folder")
        return
    found = checkpoints.load(run.folder)
    if run.rank == 0:
        checkpoints.sweep(run.folder)
    if found is not None:
        _restore(run, *found)


def _restore(run: Run, path: Path, snapshot: checkpoints.Snapshot) -> None:
    """Raises CheckpointError naming the setting or tensor in which checkpoint and run differ."""
    facts, state = snapshot.facts, snapshot.state
    try:
        _compare(path, facts["settings"], settings_of(run))
        checkpoints.load_weights(run.model, snapshot.model, path)
        _load_own(run, path, state)
        _load_engine(run, path, snapshot)
        _load_random(run, path, facts["world"], state)
        history = run.history
        history.steps = history.resumed = run.saved = snapshot.step
        history.losses = state["losses"].tolist()
        history.seconds = run.earlier = float(facts["seconds"])
        history.tokens, run.pieces, history.folder = int(facts["tokens"]), int(facts["pieces"]), path
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: is no checkpoint of fit ({type(error).__name__}: {error})") from error


def _compare(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name in sorted(then):  # an older checkpoint does not know all that is compared now
        if then[name] != now.get(name):
            difference = f"was made with {name}={then[name]!r}, this run has {name}={now.get(name)!r}"
            if name in CHANGED:
                difference = f"was made with {CHANGED[name]}"
            raise CheckpointError(f"{path}: {difference}; use the same, or another folder")


def _load_own(run: Run, path: Path, state: dict[str, Tensor]) -> None:
    """The objective's own trainable parameters."""
    own = _own(run)
    saved = {name.removeprefix("objective:"): value for name, value in state.items() if name.startswith("objective:")}
    if own.keys() != saved.keys() or any(own[name].shape != value.shape for name, value in saved.items()):
        raise CheckpointError(f"{path}: the objective's own parameters are {sorted(saved)}, in this run {sorted(own)}")
    with torch.no_grad():
        for name, value in saved.items():
            own[name].copy_(value)


def _own(run: Run) -> dict[str, Tensor]:
    if run.carrier is None:
        return {}
    shared = {id(parameter) for parameter in run.model.parameters()}
    named = run.carrier.named_parameters()
    return {name: value for name, value in named if value.requires_grad and id(value) not in shared}


def _load_engine(run: Run, path: Path, snapshot: checkpoints.Snapshot) -> None:
    if not hasattr(run.engine, "load_state_dict"):
        raise CheckpointError(f"{path}: this engine cannot take up its optimizer: it has no load_state_dict")
    now, then = getattr(run.engine, "precision", None), snapshot.facts["precision"]
    if now != then:
        _say(run, f"{path}: trained in {then}, going on in {now}: the result will differ in its last digits")
    run.engine.load_state_dict(snapshot.optimizer, snapshot.facts["engine"])


def _gather(run: Run) -> dict[str, Tensor]:
    """Every rank's random generators: "random0:cpu" and so on."""
    mine = randomness.to_tensors(run.random)
    gather = getattr(run.engine, "gather", lambda tensor: [tensor])
    every = {name: gather(tensor) for name, tensor in mine.items()}
    return {f"random{rank}:{name}": tensor for name, ranks in every.items() for rank, tensor in enumerate(ranks)}


def _load_random(run: Run, path: Path, world: int, state: dict[str, Tensor]) -> None:
    """Another number of ranks cannot draw the same dropout; it starts anew from (seed, step, rank), and says so."""
    prefix = f"random{run.rank}:"
    mine = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
    if world == run.world and mine:
        run.random = randomness.from_tensors(mine)
        randomness.restore(run.random, run.device)
        return
    _say(run, f"{path}: made by {world} ranks, going on with {run.world}: same data order, other dropout")
    step = int(path.name.removeprefix("step-"))
    randomness.seed_all(run.settings.seed + 7919 * run.rank + 1_000_003 * step, run.device)


def _say(run: Run, message: str) -> None:
    if run.rank == 0:
        warnings.warn(message, RuntimeWarning, stacklevel=2)
