from __future__ import annotations

import importlib.util
import json

import pytest

from labkit.errors import UsageError
from labkit.parallel.deepspeed_config import NAMES, deepspeed_config, parse_name, read_config
from labkit.training import Training

SETTINGS = Training(steps=10, accumulate=2, clip=0.5, lr=1e-3)
needed = pytest.mark.skipif(not importlib.util.find_spec("deepspeed"), reason="deepspeed is not installed here")


def read(tmp_path, content, **options):
    path = tmp_path / "ds.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_config(path, SETTINGS, **{"rows": 16, "world": 4, **options})


def test_a_config_says_what_the_settings_say():
    config = deepspeed_config(SETTINGS, 3, True, "bf16", rows=16, world=4)
    assert config["train_micro_batch_size_per_gpu"] == 4 and config["gradient_accumulation_steps"] == 2
    assert config["gradient_clipping"] == 0.5 and config["bf16"] == {"enabled": True}
    assert config["zero_optimization"]["stage"] == 3
    assert config["zero_optimization"]["offload_optimizer"] == {"device": "cpu"}
    assert json.loads(json.dumps(config)) == config
    assert deepspeed_config(Training(clip=None), 0)["gradient_clipping"] == 0.0


def test_names():
    assert {name: parse_name(name) for name in NAMES} == {
        "zero0": (0, False), "zero1": (1, False), "zero2": (2, False), "zero3": (3, False),
        "zero1-offload": (1, True), "zero2-offload": (2, True), "zero3-offload": (3, True),
    }  # fmt: skip
    with pytest.raises(UsageError, match="unknown DeepSpeed setting 'zero4': did you mean 'zero"):
        parse_name("zero4")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": 4}, "unknown ZeRO stage '4'.*Known: 0, 1, 2, 3"),
        ({"stage": True}, "unknown ZeRO stage 'True'"),
        ({"stage": 0, "offload": True}, "no optimizer to offload: take zero1-offload"),
        ({"rows": 3, "world": 4}, "a batch of 3 rows for 4 ranks leaves some without a row: make it 4 or more"),
        ({"stage": 0, "precision": "bf16"}, "ZeRO stage 0 in bf16: take zero1 or higher"),
    ],
)
def test_what_cannot_be(options, message):
    with pytest.raises(UsageError, match=message):
        deepspeed_config(SETTINGS, **options)


@needed
def test_an_own_file_is_completed(tmp_path):
    own = {"zero_optimization": {"stage": 3, "stage3_prefetch_bucket_size": 77}, "train_batch_size": 32,
           "gradient_clipping": "auto", "optimizer": {"type": "AdamW", "params": {"lr": "auto"}}}  # fmt: skip
    config = read(tmp_path, own)
    expected = deepspeed_config(SETTINGS, 3, rows=16, world=4)
    expected["zero_optimization"]["stage3_prefetch_bucket_size"] = 77
    assert config == expected


@needed
@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[1]", "ds.json: DeepSpeed takes one JSON object"),
        ("{", "ds.json: not a JSON file"),
        pytest.param("[" * 100_000, "ds.json: not a JSON file", id="deep"),
        ({"gradient_cliping": 1}, "ds.json: unknown key 'gradient_cliping': did you mean 'gradient_clipping'"),
        (
            {"zero_optimization": {"stag": 1}},
            "unknown key 'zero_optimization.stag': did you mean 'zero_optimization.st",
        ),
        ({"zero_optimization": {"stage": 5}}, "zero_optimization: unknown stage '5'"),
        ({"zero_optimization": 2}, "zero_optimization must be an object, not 2"),
        ({"scheduler": {}}, "scheduler: labkit's own schedule sets the rate at every step"),
        ({"optimizer": {"type": "Lamb"}}, "optimizer.type is 'Lamb'; behind fit it is AdamW"),
        ({"train_batch_size": 64}, "train_batch_size is 64, labkit's batch size x accumulate is 32: make them equal"),
        ({"gradient_accumulation_steps": 4}, 'gradient_accumulation_steps is 4, labkit\'s accumulate is 2: .*"auto"'),
        ({"gradient_clipping": 1.0}, "gradient_clipping is 1.0, labkit's clip is 0.5"),
        ({"bf16": {"enabled": True}}, "bf16.enabled is true, labkit's precision 'fp32', so bf16 is false"),
        ({"optimizer": {"params": {"lr": 0.1}}}, "optimizer.params.lr is 0.1, labkit's lr is 0.001: .*for lr"),
        ({"managed_gradient_accumulation": True}, "managed_gradient_accumulation is true, labkit's loop"),
    ],
)
def test_an_own_file_that_labkit_contradicts(tmp_path, content, message):
    with pytest.raises(UsageError, match=message):
        read(tmp_path, content)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UsageError, match="no.json: No such file or directory; give a JSON file, or one of zero0"):
        read_config(tmp_path / "no.json", SETTINGS)
