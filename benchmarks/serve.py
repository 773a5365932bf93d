"""Requests a second and waiting times of `m3it serve`, beside transformers behind the same HTTP and `generate_batch`.

    M3IT_REFERENCE_PYTHON=/path/to/python python benchmarks/serve.py CHECKPOINT [--clients 1 8 32] [--requests 64]

The same requests (one picture each, texts of 2 to 30 words, 8 to 48 new tokens, no answer shorter than that) are asked
by 1, 8 and 32 clients at once, each with a stream, from a process of its own. Beside them, in the same run:

    transformers    the checkpoint as `m3it weights export` writes it, in a child process, one request after another
                    behind the same routes (starlette, uvicorn, the same reading of requests)
    generate_batch  the same requests at once, without HTTP: the ceiling

Also: how much sooner the first token of a picture comes that was asked about before; programs that were compiled after
the warm-up; and the process's memory before and after. Writes benchmarks/results/serve.json (NAME.json with --name).
"""

import argparse
import asyncio
import base64
import concurrent.futures
import io
import json
import os
import pathlib
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

import decode
import harness
import jax
import numpy as np
from PIL import Image
from starlette.responses import StreamingResponse

from m3it_jax.generation import assistant as assistant_lib
from m3it_jax.generation.request import Request
from m3it_jax.generation.scheduler import Scheduler
from m3it_jax.serving import app, chat_answers, chat_requests
from m3it_jax.serving.engine import Engine, Update
from m3it_jax.serving.server import Server, names

COLUMNS = (
    ("case", "case", ""),
    ("clients", "clients", ""),
    ("requests_per_s", "requests/s", ",.2f"),
    ("tokens_per_s", "tokens/s", ",.0f"),
    ("first_p50", "first token, median s", ".3f"),
    ("first_p95", "95 % s", ".3f"),
    ("between_p50", "between pieces, median s", ".4f"),
    ("between_p95", "95 % s", ".4f"),
)


def picture(seed: int, size: int = 64) -> bytes:
    """Returns a PNG of noise, which nobody has seen before."""
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def requests(count: int, salt: int) -> list[dict[str, Any]]:
    """Returns requests of mixed lengths, the same for every case but for their pictures."""
    number = random.Random(0)
    found = []
    for place in range(count):
        words = " ".join(
            number.choices(("left", "right", "circle", "colour", "which", "larger"), k=number.randint(2, 30))
        )
        length = number.randint(8, 48)
        url = f"data:image/png;base64,{base64.b64encode(picture(salt * 10_000 + place)).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": f"What is it? {words}"}]
        found.append(
            {
                "messages": [{"role": "user", "content": parts}],
                "temperature": 0,
                "max_tokens": length,
                "min_tokens": length,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        )
    return found


async def _ask(address: tuple[str, int], body: dict[str, Any]) -> tuple[list[float], int]:
    """Returns (seconds after which each piece of text came, new tokens)."""
    data = json.dumps(body).encode()
    began = time.perf_counter()
    reader, writer = await asyncio.open_connection(*address, limit=1 << 24)
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    writer.write((head + f"Connection: close\r\nContent-Length: {len(data)}\r\n\r\n").encode() + data)
    await writer.drain()
    times, num_tokens = [], 0
    while line := await reader.readline():
        if not line.startswith(b"data: {"):
            if line.startswith(b"HTTP/1.1") and b" 200 " not in line:
                raise SystemExit(f"refused: {line!r} {await reader.read()!r}")
            continue
        event = json.loads(line[6:])
        if event.get("usage"):
            num_tokens = event["usage"]["completion_tokens"]
        elif event["choices"] and event["choices"][0]["delta"].get("content"):
            times.append(time.perf_counter() - began)
    writer.close()
    return times, num_tokens


async def _clients(address: tuple[str, int], bodies: Sequence[dict[str, Any]], count: int) -> dict[str, Any]:
    waiting = list(bodies)[::-1]
    found: list[tuple[list[float], int]] = []

    async def client() -> None:
        while waiting:
            found.append(await _ask(address, waiting.pop()))

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(count)))
    seconds = time.perf_counter() - began
    first = sorted(times[0] for times, _ in found if times)
    between = sorted(b - a for times, _ in found for a, b in zip(times, times[1:], strict=False)) or [0.0]
    return {
        "requests_per_s": len(found) / seconds,
        "tokens_per_s": sum(number for _, number in found) / seconds,
        "first_p50": statistics.median(first),
        "first_p95": first[int(0.95 * (len(first) - 1))],
        "between_p50": statistics.median(between),
        "between_p95": between[int(0.95 * (len(between) - 1))],
    }


def measure(address: tuple[str, int], *, count: int, salt: int, clients: int) -> dict[str, Any]:
    """Returns what clients in a process of their own have seen."""
    asked = json.dumps({"address": address, "count": count, "salt": salt, "clients": clients})
    done = subprocess.run([sys.executable, __file__, "--client", asked], capture_output=True, text=True, check=True)
    seen = dict(json.loads(done.stdout))
    print(f"{clients} clients: {seen['requests_per_s']:.2f} requests/s", file=sys.stderr, flush=True)
    return seen


class ReferenceService(app.Service):
    """The same routes with `transformers` behind them: one request after another."""

    def __init__(self, engine: Engine, settings: app.Settings, *, reference: decode.Reference, placeholder: int):
        """Takes the child process that answers, and its id for a picture's places."""
        super().__init__(engine, settings)
        self._reference, self._placeholder = reference, placeholder
        self._one = concurrent.futures.ThreadPoolExecutor(1)

    async def complete(self, request: Any) -> Any:
        """POST /v1/chat/completions."""
        chat = chat_requests.parse(await request.body())
        (prepared, *_) = await asyncio.to_thread(self._prepare, chat)
        config = self.sampler.model.vit.config
        row = prepared.row
        ids = np.where(row["image_token_index"] >= 0, self._placeholder, row["token_ids"]).tolist()
        most = prepared.sampling.max_new_tokens
        asked = {"ids": [ids], "pictures": [[3, config.image_size, config.image_size], 0], "new_tokens": most}
        made = await asyncio.get_running_loop().run_in_executor(self._one, self._reference.answer, asked)
        text = self.sampler.tokenizer.decode([index for index in made[0].tolist() if index < self.sampler.num_ids])
        completion = chat_answers.Completion(
            "reference", num_prompt_tokens=len(ids), num_choices=1, tokenizer=self.sampler.tokenizer
        )
        update = Update(0, text or "-", (), most, 0, "length", None)

        async def events() -> Any:
            completion.add(update)
            yield completion.event(update, has_scores=False)
            yield completion.usage_event() + chat_answers.DONE

        return StreamingResponse(events(), media_type="text/event-stream")


class Served:
    """A server in a thread."""

    def __init__(self, service: app.Service):
        """Starts it and waits until it is open."""
        opened = threading.Event()
        self._server = Server(app.make(service), host="127.0.0.1", port=0, ready=lambda _: opened.set())
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        opened.wait()
        self.address = ("127.0.0.1", int(self._server.url.rpartition(":")[2]))

    def close(self) -> None:
        """Ends it."""
        self._server.should_exit = True
        self._thread.join()


def batch_rate(answering: assistant_lib.Assistant, count: int, salts: Sequence[int]) -> tuple[float, float]:
    """Returns (requests a second, tokens a second) of `generate_batch`, the best of several rounds after a warm-up."""
    best = (0.0, 0.0)
    for number, salt in enumerate((0, *salts)):
        asked = []
        for body in requests(count, salt):
            shown, text = body["messages"][0]["content"]
            data = base64.b64decode(shown["image_url"]["url"].partition(",")[2])
            length = body["max_tokens"]
            asked.append(
                {"instruction": text["text"], "images": [data], "max_new_tokens": length, "min_new_tokens": length}
            )
        began = time.perf_counter()
        answering.generate_batch(asked)
        seconds = time.perf_counter() - began
        if number:
            best = max(best, (count / seconds, sum(one["max_new_tokens"] for one in asked) / seconds))
    return best


def again(scheduler: Scheduler, rounds: int = 5) -> tuple[float, float]:
    """Returns seconds to the first token of a (new, known) picture with the same question, the best of several."""
    best = [float("inf"), float("inf")]
    for number in range(rounds):
        for place in range(2):
            values = {"instruction": "What is it?", "images": [picture(5_000_000 + number)], "max_new_tokens": 1}
            began = time.perf_counter()
            answer = scheduler.submit(scheduler.sampler.prepare(Request.of(values)))
            while not answer.finish:
                scheduler.step()
            best[place] = min(best[place], time.perf_counter() - began)
    return best[0], best[1]


def main() -> None:
    """Does what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", nargs="?", type=pathlib.Path)
    parser.add_argument("--clients", nargs="+", type=int, default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--name", default="serve")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.client:
        asked = json.loads(args.client)
        bodies = requests(asked["count"], asked["salt"])
        print(json.dumps(asyncio.run(_clients(tuple(asked["address"]), bodies, asked["clients"]))))
        return
    machine = harness.machine()
    answering = assistant_lib.load(args.checkpoint)
    scheduler = Scheduler(answering.sampler, num_rows=32)
    scheduler.warm_up()
    lowered: list[str] = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda name, _, **__: lowered.append(name) if "jaxpr_to_mlir" in name else None
    )
    new, known = again(scheduler)
    settings = app.Settings(name="served", hosts=names("127.0.0.1"))
    served = Served(app.Service(Engine(scheduler, most_waiting=256), settings))
    rows, salt = [], 1
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(args.rounds):
        for clients in args.clients:
            seen = measure(served.address, count=args.requests, salt=salt, clients=clients)
            rows.append({"case": "m3it serve", "clients": clients, **seen})
            salt += 1
    num_lowered, after = len(lowered), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    served.close()
    rows += _reference_rows(args, scheduler, salt)
    ceiling = batch_rate(answering, args.requests, range(salt + 50, salt + 50 + args.rounds))
    references = {
        "generate_batch of the same requests at once, requests/s": ceiling[0],
        "the same, tokens/s": ceiling[1],
        "programs compiled after the warm-up": num_lowered,
        "growth of the process over all requests, MB": (after - before) / 1024,
        "first token of a new picture, s": new,
        "first token of a known picture, s": known,
    }
    harness.finish(args.name, machine=machine, references=references, columns=COLUMNS, rows=best_of(rows))


def best_of(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the round of each case with the most requests a second."""
    best: dict[tuple[str, int], dict[str, Any]] = {}
    for row in rows:
        key = (row["case"], row["clients"])
        if key not in best or row["requests_per_s"] > best[key]["requests_per_s"]:
            best[key] = row
    return list(best.values())


def _reference_rows(args: argparse.Namespace, scheduler: Scheduler, salt: int) -> list[dict[str, Any]]:
    """Returns the rows of transformers; none without an interpreter that has it."""
    python = os.environ.get("M3IT_REFERENCE_PYTHON")
    if not python:
        return []
    with tempfile.TemporaryDirectory() as scratch:
        hub = pathlib.Path(scratch) / "hub"
        export = [sys.executable, "-m", "m3it_jax", "weights", "export", str(args.checkpoint), str(hub)]
        subprocess.run(export, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        placeholder = json.loads((hub / "config.json").read_text("utf-8"))["image_token_index"]
        reference = decode.Reference(python, hub, len(os.sched_getaffinity(0)))
        service = ReferenceService(
            Engine(scheduler, most_waiting=256),
            app.Settings(name="served"),
            reference=reference,
            placeholder=placeholder,
        )
        served = Served(service)
        rows = []
        for number, clients in enumerate((1, *args.clients)):
            seen = measure(served.address, count=args.requests if number else 4, salt=salt + number, clients=clients)
            if number:  # the first is its warm-up
                rows.append({"case": "transformers", "clients": clients, **seen})
        served.close()
        reference.close()
    return rows


if __name__ == "__main__":
    main()
