"""`m3it serve`: an OpenAI-compatible server and a web page."""

import argparse
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, progress
from m3it_jax.cli import generate, options

if TYPE_CHECKING:
    from m3it_jax.generation.assistant import Assistant

EXAMPLE = "m3it serve runs/quickstart --port 8000"

KEY_VARIABLE = "M3IT_SERVE_KEY"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="run folder, quick-start folder or checkpoint folder")
    parser.add_argument(
        "--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)"
    )
    parser.add_argument(
        "--port", metavar="N", type=options.count, default=8000, help="default 8000; 0 takes a free one"
    )
    parser.add_argument("--name", metavar="TEXT", help="name of the model for clients (default: the folder's name)")
    parser.add_argument(
        "--called",
        metavar="NAME",
        action="append",
        default=[],
        help="a host name that clients may call this server by; repeatable (default: any beyond this machine)",
    )
    parser.add_argument(
        "--allow-host",
        metavar="HOST[:PORT]",
        action="append",
        default=[],
        help="fetch pictures that requests name by an address from this public host; repeatable (default: from none)",
    )
    parser.add_argument(
        "--rows", metavar="N", type=options.positive, default=32, help="answers made at once (default 32)"
    )
    parser.add_argument("--max-len", metavar="N", type=options.positive, help="tokens of prompt and answer together")
    parser.add_argument(
        "--queue",
        metavar="N",
        type=options.count,
        default=256,
        help="answers that may wait; beyond it 429 (default 256)",
    )
    parser.add_argument("--prefix-mb", metavar="N", type=options.count, default=256, help="memory for known beginnings")
    parser.add_argument(
        "--picture-mb", metavar="N", type=options.positive, default=256, help="memory for known pictures"
    )
    parser.add_argument(
        "--body-mb", metavar="N", type=options.positive, default=20, help="largest request (default 20)"
    )
    options.add_decoder_weights(parser)


def run(args: argparse.Namespace) -> int:
    """Serves until SIGTERM or Ctrl-C."""
    try:
        from m3it_jax.serving import app, engine, server
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn", "h11", "anyio"):
            raise
        raise errors.UserError("m3it serve needs starlette and uvicorn; run: pip install -e '.[serve]'") from error
    key = _key()
    if args.port > 65_535:
        raise errors.ConfigError(f"--port {args.port}: must be a number from 0 to 65535")
    options.check_checkpoint(args.checkpoint)
    server.check_port(args.host, args.port)
    if key is None and not server.is_loopback(args.host):
        print(
            f"m3it: warning: --host {args.host} opens this server to other machines and there is no key; anybody who "
            f"reaches it can use it. Set {KEY_VARIABLE} to ask for one",
            file=sys.stderr,
        )
    with progress.Waiting("loading JAX"):
        from m3it_jax.generation import assistant, scheduler

    with progress.Waiting(f"loading {args.checkpoint}"):
        answering = assistant.load(args.checkpoint, decoder_weights=args.decoder_weights)
    print(generate.about(args.checkpoint, answering), file=sys.stderr)
    made = scheduler.Scheduler(
        answering.sampler,
        num_rows=args.rows,
        num_slots=args.max_len,
        pool_bytes=args.prefix_mb << 20,
        feature_bytes=args.picture_mb << 20,
    )
    with progress.Waiting("compiling"):
        made.warm_up()
    settings = app.Settings(
        name=args.name or pathlib.Path(args.checkpoint).resolve().name,
        key=key,
        hosts=server.names(args.host, args.called),
        most_bytes=args.body_mb << 20,
        picture_hosts=frozenset(host.lower() for host in args.allow_host),
        **_facts(args.checkpoint, answering),
    )
    service = app.Service(engine.Engine(made, most_waiting=args.queue), settings)

    def ready(url: str) -> None:
        print(f"{url}  web page; {url}/v1  OpenAI-compatible API, model {settings.name!r}", flush=True)

    server.run(app.make(service), host=args.host, port=args.port, ready=ready)
    return 0


def _key() -> str | None:
    """Returns the key that clients must name, from the environment: a command line can be read by everybody here.

    Raises:
      ConfigError: it holds what no header can.
    """
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if not key.isascii() or not key.isprintable() or " " in key:
        raise errors.ConfigError(f"{KEY_VARIABLE}: holds characters that no key has; use letters and digits")
    return key or None


def _facts(checkpoint: str, answering: "Assistant") -> dict[str, Any]:
    """Returns what the page tells: the model, what it was asked in training, instructions by task."""
    import jax

    from m3it_jax.dataset_building.steps import instructions

    asked = options.asked_in_training(checkpoint)
    variant = answering.config.get("model", {}).get("variant", "a model")
    about = {
        "variant": pathlib.Path(str(variant)).name,
        "step": answering.step,
        "device": jax.devices()[0].device_kind,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(answering.sampler.params)),
    }
    return {"about": about, "asked": tuple(asked), "templates": instructions.by_task()}
