"""Options of the verbs that translate: which translator, and what it needs."""

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from m3it_jax import errors
from m3it_jax.cli import endpoint, options

if TYPE_CHECKING:
    from m3it_jax.dataset_building.translation.engines import Engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options."""
    parser.add_argument(
        "--translator",
        choices=("nllb", "endpoint", "apertium"),
        required=True,
        help="nllb (CTranslate2, needs --model), endpoint (needs --endpoint and --model), or apertium where installed",
    )
    parser.add_argument("--model", help="folder of the NLLB model for CTranslate2, or the model's name at the endpoint")
    parser.add_argument(
        "--endpoint",
        metavar="URL",
        help="address of an OpenAI-compatible endpoint, up to /v1; its key is read from M3IT_API_KEY",
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where nllb runs (default: cpu)")
    parser.add_argument(
        "--processes", type=options.positive, default=1, metavar="N", help="processes of apertium (default: 1)"
    )
    endpoint.add_limits(parser)


def of(args: argparse.Namespace, cache: pathlib.Path) -> "Engine":
    """Returns the translator that the options name.

    Raises:
      UserError: it is not installed, or its model cannot be used.
      ConfigError: an option that it needs is missing.
    """
    return {"nllb": _nllb, "endpoint": _endpoint, "apertium": _apertium}[args.translator](args, cache)


def _nllb(args: argparse.Namespace, cache: pathlib.Path) -> Any:
    from m3it_jax.dataset_building.translation.engines.nllb import Nllb

    del cache
    if not args.model:
        raise errors.ConfigError("--model: nllb needs the folder of a model for CTranslate2; see docs/languages.md")
    return Nllb(pathlib.Path(args.model), device=args.device)


def _endpoint(args: argparse.Namespace, cache: pathlib.Path) -> Any:
    from m3it_jax import llm_client
    from m3it_jax.dataset_building.translation.engines.endpoint import SAMPLING, Endpoint

    if not args.endpoint or not args.model:
        raise errors.ConfigError("--endpoint: this translator needs --endpoint URL and --model NAME")
    client = llm_client.Client(args.endpoint, llm_client.Cache(cache / "endpoint"), endpoint.limits(args))
    return Endpoint(client, args.model, SAMPLING)


def _apertium(args: argparse.Namespace, cache: pathlib.Path) -> Any:
    from m3it_jax.dataset_building.translation.engines.apertium import Apertium

    del cache
    return Apertium(processes=args.processes)
