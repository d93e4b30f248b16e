"""What the ranks of test_zero.py, test_zero_state.py and test_ddp.py run, and the same in one process."""

from __future__ import annotations

import functools

import torch
from torch import nn
from torch.nn import functional as F
from transformers import BertConfig, BertForMaskedLM, BertModel

import labkit
from labkit.errors import LabkitError
from labkit.measure import peak_memory
from labkit.parallel.data_parallel.adam import Adam
from labkit.parallel.data_parallel.collectives import Communicator
from labkit.parallel.data_parallel.ddp import DataParallel
from labkit.parallel.data_parallel.workload import batch_of, loss_of, new_model, part_of
from labkit.parallel.data_parallel.zero import Zero, train
from labkit.training import Batches

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24,
         "vocab_size": 31, "max_position_embeddings": 16, "hidden_dropout_prob": 0.0,
         "attention_probs_dropout_prob": 0.0}  # fmt: skip
SIZES = {"width": 16, "layers": 2}
STEPS, ADAM, FAST = 3, Adam(lr=1e-2, decay=0.1), Adam(lr=1e-2)


def bert(kind, seed=0):
    torch.manual_seed(seed)
    return kind(BertConfig(**SMALL)).double()


def masked_loss(model, batch):
    """A tied language model: the decoder is the word embeddings, in another place."""
    logits = model(input_ids=batch["input_ids"]).logits
    return F.cross_entropy(logits.flatten(0, 1), batch["labels"].flatten())


def unpooled_loss(model, batch):
    """A model of which a part, the pooler, gets no gradient."""
    states = model(input_ids=batch["input_ids"]).last_hidden_state
    return (states[..., 0] - batch["labels"] / 31).square().mean()


MODELS = {
    "transformer": (functools.partial(new_model, **SIZES), loss_of),
    "tied": (functools.partial(bert, BertForMaskedLM), masked_loss),
    "pooler": (functools.partial(bert, BertModel), unpooled_loss),
}


def alone(name, steps=10, adam=None):
    """Losses and weights of plain PyTorch in one process, whole batches."""
    make, loss = MODELS[name]
    model = make()
    settings = adam or Adam()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.lr, betas=settings.betas, eps=settings.eps, weight_decay=settings.decay
    )
    losses = []
    for step in range(steps):
        value = loss(model, batch_of(0, step))
        value.backward()
        if name == "pooler":  # a gradient of zeros rather than none, as the sharded optimizer has it
            for parameter in model.parameters():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        optimizer.step()
        optimizer.zero_grad()
        losses.append(value.item())
    return losses, {name: tensor.detach() for name, tensor in model.named_parameters()}


def stages(here):
    """`train` under every stage."""
    return {stage: train(here, stage, sizes=SIZES) for stage in (0, 1, 2, 3)}


def others(here):
    """Other models, with weight decay, in two micro-batches a step: (stage, model) -> weights, most units gathered."""
    found = {}
    for name, (make, loss) in MODELS.items():
        for stage in (1, 2, 3):
            zero = Zero(make(here.rank), loss, Communicator(here), stage, "fp64", ADAM)
            most = 0
            for step in range(STEPS):
                own = part_of(batch_of(0, step), here.rank, here.world)
                for micro in range(2):
                    value = zero.forward(part_of(own, micro, 2)) / 2
                    assert stage < 3 or not zero.on_loan, "all is freed after forward"
                    zero.backward(value)
                    most = max(most, len(zero.on_loan))
                assert stage < 3 or not any(parameter.numel() for parameter in zero.model.parameters())
                zero.step()
            found[stage, name] = zero.weights(), most
            zero.close()
    return found


def loans(here):
    """The most units that stage 3 has whole at once, of the rest and four layers."""
    zero = Zero(new_model(layers=4), loss_of, Communicator(here), 3, "fp64")
    most, gather = [], zero._gather

    def watched(unit):
        gather(unit)
        most.append(len(zero.on_loan))

    zero._gather = watched
    zero.backward(zero.forward(part_of(batch_of(0, 0), here.rank, here.world)))
    return max(most), zero.held()


def peaks(here, sizes):
    """Stage -> the most bytes of tensors alive at once, making the model included; the units' sizes."""
    found = {}
    for stage in (0, 1, 2, 3):
        made = []

        def run(stage=stage, made=made):
            zero = Zero(new_model(0, torch.bfloat16, **sizes), loss_of, Communicator(here), stage, "bf16")
            made.append(zero)
            rows = batch_of(0, 0, here.world, 2)
            zero.backward(zero.forward(part_of(rows, here.rank, here.world)))
            zero.step()

        peak = peak_memory(run)
        found[stage] = peak, [unit.padded for unit in made[0].units], made[0].held()
        made[0].close()
    return found


def resumed(here, folder, stage, steps):
    """Go on from a checkpoint; bytes of what was kept."""
    found = train(here, stage, steps, folder=folder, sizes=SIZES)
    return found["losses"], found["weights"], found["steps"]


def refused(here, folder, **sizes):
    """What is said of a checkpoint that does not fit."""
    try:
        train(here, 2, 5, folder=folder, sizes=SIZES | sizes)
    except LabkitError as error:
        return str(error)
    return None


def sent_off(here, overlap):
    """How many buckets are on their way when backward is through."""
    parallel, seen = DataParallel(new_model(**SIZES), Communicator(here), 8_000, overlap), []
    finish = parallel._finish
    parallel._finish = lambda: (seen.append(len(parallel.under_way)), finish())
    parallel.backward(loss_of(parallel.model, part_of(batch_of(0, 0), here.rank, here.world)))
    parallel.close()
    return seen[0]


def ddp(here):
    """DDP in many buckets and one, beside backward and after it, with accumulation and an unused part."""
    from labkit.parallel.data_parallel import ddp as module

    found = {
        "one": module.train(here, sizes=SIZES),
        "many": module.train(here, sizes=SIZES, bucket=8_000),
        "after": module.train(here, sizes=SIZES, bucket=8_000, overlap=False),
    }
    found["sent off in backward"] = {name: sent_off(here, name == "many") for name in ("many", "after")}
    model, group = bert(BertModel, here.rank), Communicator(here)
    parallel, optimizer = (
        DataParallel(model, group, 3000),
        torch.optim.AdamW(model.parameters(), 1e-2, weight_decay=0.1),
    )
    for step in range(STEPS):
        own = part_of(batch_of(0, step), here.rank, here.world)
        with parallel.no_sync():
            parallel.backward(unpooled_loss(model, part_of(own, 0, 2)) / 2)
        parallel.backward(unpooled_loss(model, part_of(own, 1, 2)) / 2)
        optimizer.step()
        optimizer.zero_grad(set_to_none=bool(step % 2))  # both ways of clearing
    found["pooler"] = {name: tensor.detach() for name, tensor in model.named_parameters()}
    parallel.close()
    try:
        DataParallel(nn.Linear(2, 2).requires_grad_(False), group)
    except LabkitError as error:
        found["frozen"] = str(error)
    return found


def collate(rows, rng):
    return {name: torch.stack([row[name] for row in rows]) for name in ("input_ids", "labels")}


def fitted(here=None, stage=3):
    """`labkit.fit` in one process, or on ranks with ZeRO as its engine: losses and weights."""
    whole = batch_of(0, 0, rows=24)
    rows = [{name: whole[name][number] for name in whole} for number in range(24)]
    model, adam = new_model(**SIZES), Adam(betas=(0.9, 0.98))
    engine = None if here is None else Zero(model, loss_of, Communicator(here), stage, "fp64", adam)
    settings = {"steps": 4, "lr": 1e-2, "weight_decay": 0.0, "clip": None, "precision": "fp32", "device": "cpu"}
    history = labkit.fit(model, loss_of, Batches(rows, collate, 8), engine=engine, progress=False, **settings)
    return history.losses, {name: tensor.detach().clone() for name, tensor in model.named_parameters()}
