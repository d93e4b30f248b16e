"""What the ranks of these tests run: top-level functions, since ranks import them by name."""

from __future__ import annotations

import torch
from torch import nn

from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.model_parallel import pipeline, three_d
from labkit.parallel.model_parallel.model import batch, build
from labkit.parallel.model_parallel.schedule import schedule
from labkit.parallel.model_parallel.tensor_parallel import VocabularyCrossEntropy, VocabularyEmbedding, split


def gradients(model):
    return {name: weight.grad for name, weight in model.named_parameters()}


def tensor_parallel(here, shape, rows):
    """Loss, gradients and bytes of the split model; then embedding and cross-entropy alone, with logits up to ±2000."""
    group = Communicator(here, name="model")
    model = split(build(shape), group)
    loss = model(*batch(shape, rows, step=0))
    forward = dict(group.sent_by)
    loss.backward()
    sent = group.sent
    logits = extreme(shape).chunk(group.world, 1)[group.rank].clone().requires_grad_()
    value = VocabularyCrossEntropy(group)(logits, torch.arange(len(logits)) % shape.vocabulary)
    value.backward()
    table = nn.Parameter(torch.eye(shape.vocabulary).chunk(group.world)[group.rank].clone())
    vectors = VocabularyEmbedding(group, table)(torch.arange(shape.vocabulary)).detach()
    return loss.item(), gradients(model), forward, sent, (value.item(), logits.grad), vectors


def extreme(shape):
    generator = torch.Generator().manual_seed(4)
    return 2000 * (2 * torch.rand(9, shape.vocabulary, generator=generator, dtype=torch.float64) - 1)


def pipelines(here, shape, rows, count):
    """Every schedule: loss, gradients, what was held, and the events."""
    found = {}
    for name in ("gpipe", "1f1b"):
        line = Communicator(here, name="pipe")
        module = pipeline.stage_of(build(shape), line.rank, line.world)
        stage = pipeline.Stage(module, line, (rows // count, shape.positions, shape.width))
        tokens, targets = (pipeline.equal_parts(whole, count) for whole in batch(shape, rows, step=0))
        here.trace.events.clear()
        loss = stage.step(schedule(name, line.world, count)[line.rank], tokens, targets)
        left = len(stage.held)
        found[name] = (
            loss,
            gradients(module),
            stage.most_live,
            stage.most_bytes,
            left,
            list(here.trace.events),
            line.sent,
        )
    return found


def grids(here, runs):
    """Several trainings, one after the other."""
    return [three_d.train(here, grid, run) for grid, run in runs]
