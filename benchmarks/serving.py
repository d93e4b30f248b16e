"""Throughput and latency of `labkit serve` beside twenty lines of FastAPI around a transformers pipeline, in one run.

    python benchmarks/serving.py                             -> labkit/results/serving.json
    python benchmarks/serving.py --model minilm              its rows beside those that are there; "student" is small
    python benchmarks/serving.py --int8                      labkit serves int8 weights, the pipeline the same in floats

Each server is a process of its own and answers the same model, torch on one thread (FastAPI answers several requests at
once, each on a thread of its own). 1, 8 and 64 clients, one process, ask one text after another, each over its own
connection; the servers take turns. Kept are answers a second, the median and the 99th percentile of the time to an
answer, the server's own milliseconds of processor an answer (which do not depend on what else the machine does), and
the ratio of the throughputs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import psutil
from prediction import app_of, opened, texts_of

from labkit.report import Report

RESULTS = Path("labkit/results/serving.json")
CLIENTS = (1, 8, 64)
FIRST = 7900  # port of the first server
PLAIN = """
import sys, torch, uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import pipeline

torch.set_num_threads(1)
classify = pipeline("text-classification", sys.argv[1], device="cpu", top_k=None)
app = FastAPI()


class Asked(BaseModel):
    rows: list[str]


@app.post("/predict")
def predict(asked: Asked):
    return {"answers": classify(asked.rows, truncation=True, max_length=128)}


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="error")
"""
SERVERS = {
    "labkit serve": ["-c", "import sys, torch; torch.set_num_threads(1); from labkit.serving import serve; "
                     "serve(sys.argv[1], int(sys.argv[2]))"],
    "FastAPI and pipeline": ["-c", PLAIN],
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="micro-bert-en", help="a new head on it is served")
    parser.add_argument("--int8", action="store_true", help="labkit serves it in int8")
    parser.add_argument("--seconds", type=float, default=5.0, help="of asking, a server, turn and number of clients")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args()
    report = opened(options.out)
    with tempfile.TemporaryDirectory() as work:
        plain = app_of(options.model, Path(work) / "plain")
        ours = app_of(options.model, Path(work) / "int8", quantised=True) if options.int8 else plain
        folders = dict(zip(SERVERS, (ours, plain), strict=True))
        running = {name: start(name, folders[name], FIRST + place) for place, name in enumerate(SERVERS)}
        try:
            for place in range(len(SERVERS)):
                wait_for(FIRST + place)
            compare(report, options, running)
        finally:
            for process in running.values():
                process.terminate()
    report.save(options.out)


def start(name: str, folder: Path, port: int) -> subprocess.Popen:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [sys.executable, *SERVERS[name], str(folder), str(port)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)


def wait_for(port: int) -> None:
    """Until the server answers."""
    for _ in range(600):
        try:
            if httpx.post(f"http://127.0.0.1:{port}/predict", json={"rows": ["a"]}, timeout=10).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    raise SystemExit(f"no server answers on port {port}")


def compare(report: Report, options: argparse.Namespace, running: dict[str, subprocess.Popen]) -> None:
    """Every server with every number of clients, in turns."""
    texts = [" ".join(text.split()) for text in texts_of(500, "zh" if "zh" in options.model else "en")]
    model = options.model + (", int8" if options.int8 else "")
    for turn in range(options.turns):
        for clients in CLIENTS:
            task, rates = f"{model}, {clients} client{'s' * (clients > 1)}", {}
            for place, (name, process) in enumerate(running.items()):
                before = sum(psutil.Process(process.pid).cpu_times()[:2])
                times, seconds = asyncio.run(asked(FIRST + place, clients, options.seconds, texts))
                spent, cuts = (
                    sum(psutil.Process(process.pid).cpu_times()[:2]) - before,
                    statistics.quantiles(times, n=100),
                )
                rates[name] = len(times) / seconds
                values = {"answers/s": rates[name], "p50, ms": 1000 * cuts[49], "p99, ms": 1000 * cuts[98],
                          "processor, ms an answer": 1000 * spent / len(times)}  # fmt: skip
                for metric, value in values.items():
                    report.add(name, task, value, seed=turn, metric=metric)
                print(f"{task}, turn {turn}, {name}:", {metric: round(value, 1) for metric, value in values.items()})
            for name, rate in rates.items():
                report.add(name, task, rate / [*rates.values()][-1], seed=turn, metric="answers/s, × pipeline")
            print(f"{task}, turn {turn}: {[*rates.values()][0] / [*rates.values()][-1]:.2f} ×", flush=True)


async def asked(port: int, clients: int, seconds: float, texts: list[str]) -> tuple[list[float], float]:
    """The seconds to each answer, and how long all took. The client does no more than it must."""
    times, start = [], time.perf_counter()

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (begun := time.perf_counter()) < start + seconds:
            number += clients
            body = json.dumps({"rows": [texts[number % len(texts)]]}).encode()
            head = f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer = await reader.readuntil(b"\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200"), answer
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", answer.lower())[1]))
            times.append(time.perf_counter() - begun)
        writer.close()

    await asyncio.gather(*(client(number) for number in range(clients)))
    return times, time.perf_counter() - start


if __name__ == "__main__":
    main()
