"""The options of EasyNLP's command: their names, what their values may be, and which do not apply here."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from labkit.config import AMOUNT, COUNT, RATE, SEED, SOME, Numbers
from labkit.errors import UsageError, unknown

ALIASES = {"checkpoint_path": "checkpoint_dir", "train_batch_size": "micro_batch_size", "wd": "weight_decay",
           "mn": "max_grad_norm", "optimizer": "optimizer_type"}  # fmt: skip
TEXTS = ("mode", "app_name", "user_defined_parameters", "tables", "input_schema", "first_sequence", "second_sequence",
         "label_name", "label_enumerate_values", "outputs", "output_schema", "append_cols", "checkpoint_dir",
         "optimizer_type")  # fmt: skip
NUMBERS: dict[str, Numbers] = {
    "random_seed": SEED, "sequence_length": COUNT, "epoch_num": RATE, "micro_batch_size": COUNT, "learning_rate": RATE,
    "weight_decay": AMOUNT, "max_grad_norm": RATE, "warmup_proportion": AMOUNT, "gradient_accumulation_steps": COUNT,
    "save_checkpoint_steps": SOME, "worker_count": COUNT, "worker_gpu": Numbers(int, -1),
    "worker_cpu": Numbers(int, -1),
}  # fmt: skip
FLAGS = ("skip_first_line", "resume_from_checkpoint", "use_amp")
PLATFORM = ("buckets", "odps_config", "ps_hosts", "chief_hosts", "job_name", "task_index", "task_count", "is_chief",
            "worker_hosts")  # fmt: skip
WINDOWS = ("predict_slice_size", "predict_queue_size", "predict_thread_num", "predict_table_read_thread_num")
STARTED = ("distributed_backend", "master_port", "local_rank")
IGNORED = {
    **dict.fromkeys(PLATFORM, "belongs to the platform that EasyNLP runs on"),
    **dict.fromkeys(WINDOWS, "rows are read in windows of their own size"),
    **dict.fromkeys(STARTED, "torchrun starts several processes, and the device decides how they talk"),
    "data_threads": "rows are prepared as they are needed",
    "restore_works_dir": "an interrupted prediction goes on by itself",
    "modelzoo_base_dir": "models are kept in LABKIT_CACHE and the hub's own cache",
    "do_lower_case": "the model's tokenizer knows whether it lowers",
    "export_tf_checkpoint_type": "models are saved as safetensors alone",
    "logging_steps": "the loss is reported ten times in a run, and every step with `labkit train --tensorboard`",
    "save_all_checkpoints": "the two newest are kept",
    "use_torchacc": "torch runs as it is",
}
REFUSED = {"user_script": "labkit runs no scripts: write it in Python with labkit.fit",
           "user_entry_file": "labkit runs no scripts: write it in Python with labkit.fit"}  # fmt: skip
KNOWN = (*TEXTS, *NUMBERS, *FLAGS, *ALIASES, *IGNORED, *REFUSED)


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The options by their full names, with their values. UsageError for an unknown one, or a value that is none."""
    found: dict[str, Any] = {}
    words = list(argv)
    while words:
        word = words.pop(0)
        name, equals, value = word.partition("=")
        if not name.startswith("--"):
            raise UsageError(f"unexpected argument {word[:60]!r}; options are --name=value or --name value")
        name = name_of(word)
        if name not in KNOWN:
            raise unknown("option", f"--{name}", [f"--{known}" for known in KNOWN])
        if not equals and words and not words[0].startswith("--"):
            value = words.pop(0)
        elif not equals and (name in FLAGS or name in IGNORED):  # which may stand without a value
            value = "True"
        elif not equals:
            raise UsageError(f"--{name}: a value is missing")
        found[name] = _value(name, value)
    return found


def name_of(word: str) -> str:
    """The option's full name, of "--name" or "--name=value"."""
    name = word.partition("=")[0].removeprefix("--")
    return ALIASES.get(name, name)


def _value(name: str, text: str) -> Any:
    if name in REFUSED:
        raise UsageError(f"--{name}: {REFUSED[name]}")
    if name in FLAGS:
        if text.lower() not in ("true", "false", "1", "0"):
            raise UsageError(f"--{name}: True or False is expected, not {text[:40]!r}")
        return text.lower() in ("true", "1")
    return number(f"--{name}", text, NUMBERS[name]) if name in NUMBERS else text


def number(name: str, text: str, kind: Numbers) -> Any:
    """The number that `text` is; UsageError beginning with `name` where it is none of these."""
    try:
        return kind(text)
    except argparse.ArgumentTypeError as error:
        raise UsageError(f"{name}: {error}") from None
