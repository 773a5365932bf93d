"""Options of the verbs that ask a text model elsewhere."""

import argparse
from typing import TYPE_CHECKING

from m3it_jax import errors
from m3it_jax.cli import options

if TYPE_CHECKING:
    from m3it_jax import llm_client


def add_address(parser: argparse.ArgumentParser) -> None:
    """Adds `--endpoint`."""
    parser.add_argument(
        "--endpoint",
        required=True,
        metavar="URL",
        help="address of an OpenAI-compatible endpoint, up to /v1; its key is read from M3IT_API_KEY",
    )


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Adds the options that say how fast and how much may be asked."""
    parser.add_argument(
        "--concurrency",
        type=options.positive,
        default=8,
        metavar="N",
        help="maximum number of requests in flight (default: 8)",
    )
    parser.add_argument(
        "--requests-per-minute", type=options.amount, metavar="N", help="maximum number of requests per minute"
    )
    parser.add_argument(
        "--max-tokens-total", type=options.positive, metavar="N", help="maximum number of tokens for this run"
    )
    parser.add_argument("--max-cost", type=options.amount, metavar="X", help="maximum cost of this run, given --prices")
    parser.add_argument(
        "--prices",
        type=options.amount,
        nargs=2,
        metavar=("PROMPT", "ANSWER"),
        help="price of a million tokens of prompts and of answers",
    )


def limits(args: argparse.Namespace) -> "llm_client.Limits":
    """Returns the limits that the options set.

    Raises:
      ConfigError: there is a greatest cost and no price.
    """
    from m3it_jax import llm_client

    if args.max_cost is not None and args.prices is None:
        raise errors.ConfigError("--max-cost: needs --prices PROMPT ANSWER, the endpoint's prices of a million tokens")
    return llm_client.Limits(
        concurrency=args.concurrency,
        requests_per_minute=args.requests_per_minute,
        max_tokens=args.max_tokens_total,
        max_cost=args.max_cost,
        prices=tuple(args.prices or (0.0, 0.0)),
    )
