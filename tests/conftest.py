"""What every test shares: the real-data folder, a cache of its own, no network, one thread a worker."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser):
    parser.addoption(
        "--real-data",
        default=str(ROOT.parent / "shared" / "data"),
        metavar="DIR",
        help="folder with real data sets for the tests marked `real` (default: ../shared/data beside the project)",
    )


def pytest_configure(config):
    # A shell's background jobs ignore Ctrl-C, and so would the tests that send it and the programs they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # Before any test module imports torch or transformers, and inherited by the programs that tests start.
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["MPLBACKEND"] = "Agg"
    if hasattr(config, "workerinput"):  # under xdist the workers share the cores
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
            os.environ[name] = "1"
        os.environ["TOKENIZERS_PARALLELISM"] = "false"


def pytest_collection_modifyitems(config, items):
    gpu = [item for item in items if item.get_closest_marker("gpu")]
    if gpu:
        import torch

        if not torch.cuda.is_available():
            for item in gpu:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and there is none here"))


@pytest.fixture(scope="session")
def real_data(request) -> Path:
    """The folder of real data sets; the test is skipped, saying why, where it is absent."""
    folder = Path(request.config.getoption("--real-data"))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}; name its folder with --real-data DIR")
    return folder


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """A cache that is new and empty each session, so that no test reads or fills the one of the person who runs it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_CACHE", str(tmp_path_factory.mktemp("labkit-cache")))
        yield


@pytest.fixture(scope="session")
def tiny_app(tmp_path_factory) -> Path:
    """The folder of a saved app: a random BERT of two layers with a classifier, for texts about films."""
    from labkit.apps import save_app

    return save_app(tmp_path_factory.mktemp("apps") / "tiny", *_tiny_parts(), metrics={"accuracy": 0.5})


@pytest.fixture(scope="session")
def tiny_parts():
    """The function that makes (model, tokenizer, method, task) of a random app."""
    return _tiny_parts


def _tiny_parts(kind: str = "head", fields: tuple[str, ...] = ("text",)):
    """(model, tokenizer, method, task) of a random app; `kind` is "head" or "pet"."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, BertTokenizerFast

    from labkit.fewshot.pet import PET
    from labkit.foundations.heads import HeadClassifier, add_head
    from labkit.tasks import Task

    words = "[PAD] [UNK] [CLS] [SEP] [MASK] a the film was good bad fine it dull great . <b> &".split()
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    splits = {"train": [{**dict.fromkeys(fields, "the film was good"), "label": 1}]}
    pattern = " ".join(f"{{{field}}}" for field in fields) + " it was {mask} ."
    task = Task("world/films", fields, ("negative", "positive"), splits, patterns=(pattern,),
                words={"negative": ("bad",), "positive": ("good",)})  # fmt: skip
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=64, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        initializer_range=0.5,  # far from uniform, so that every weight shows in the answers
    )  # fmt: skip
    if kind == "pet":
        return BertForMaskedLM(config).eval(), tokenizer, PET.for_task(task, tokenizer), task
    model = add_head(BertModel(config), 2, pooling="mean").eval()
    return model, tokenizer, HeadClassifier(tokenizer, fields), task
