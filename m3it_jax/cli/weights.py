"""`m3it weights`: the Hugging Face layout in and out, as files, and the proof that both compute the same."""

import argparse
import pathlib
import signal
import sys
from typing import Any

from m3it_jax import errors, progress
from m3it_jax.cli import options

EXAMPLE = """m3it weights import blip2-opt-2.7b weights/blip2
  m3it weights import configs/weights/ying_vlm_13b.json weights/ying_vlm
  m3it weights export runs/stage2 ying-vlm-hf
  m3it weights export runs/lora adapter --adapter --base llava-hf/llava-1.5-7b-hf
  m3it weights verify blip2-opt-2.7b weights/blip2"""

_DTYPES = ("float32", "bfloat16")
_CERTIFICATE = "certificate.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="import|export|verify", required=True)
    taken = actions.add_parser("import", help="import a Hugging Face folder, or a JSON file of parts")
    taken.add_argument("source", metavar="HF_DIR", type=pathlib.Path, help="folder with config.json, or file of parts")
    taken.add_argument("out", metavar="OUT", type=pathlib.Path, help="folder to create")
    given = actions.add_parser("export", help="export a checkpoint in the layout that `transformers` loads")
    given.add_argument("source", metavar="CHECKPOINT", type=pathlib.Path, help="run folder or imported folder")
    given.add_argument("out", metavar="HF_DIR", type=pathlib.Path, help="folder to create")
    given.add_argument(
        "--shard-size", metavar="BYTES", type=_size, default="5GB", help="maximum size of a file, such as 5GB or 500MB"
    )
    given.add_argument(
        "--adapter", action="store_true", help="write the adapters of a run with lora.rank alone, as `peft` reads them"
    )
    given.add_argument("--base", metavar="MODEL", help="with --adapter: name or folder of the model that it belongs to")
    given.add_argument("--no-certificate", action="store_true", help="skip the comparison of both models at the end")
    for action in (taken, given):
        action.add_argument("--dtype", choices=_DTYPES, help="convert all parameters to this type (default: as stored)")
        options.add_dry_run(action)
        options.add_json(action)
    proved = actions.add_parser("verify", help="compare what both models compute and write CHECKPOINT/certificate.json")
    proved.add_argument("source", metavar="HF_DIR", type=pathlib.Path, help="folder in Hugging Face layout")
    proved.add_argument("checkpoint", metavar="CHECKPOINT", type=pathlib.Path, help="imported folder or run folder")
    options.add_json(proved)


def _size(text: str) -> int:
    """Returns bytes, for `type=` of an option: a whole number, or one with KB, MB or GB."""
    units = {"KB": 10**3, "MB": 10**6, "GB": 10**9}
    number, unit = (text[:-2], units[text[-2:].upper()]) if text[-2:].upper() in units else (text, 1)
    return options.positive(number) * unit


def run(args: argparse.Namespace) -> int:
    """Imports, exports or verifies.

    Raises:
      UserError: the weights cannot be read, or the folder cannot be made.
      ConfigError: the folders of `verify` are given in the wrong order.
    """
    if getattr(args, "json", None):
        options.check_file(args.json, option="--json")
    # A scheduler's signal ends the work as Ctrl-C does, so that nothing half-made stays.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return {"import": _import, "export": _export, "verify": _verify}[args.action](args)
    finally:
        signal.signal(signal.SIGTERM, before)


def _import(args: argparse.Namespace) -> int:
    from m3it_jax.checkpoint_conversion.folders import importing

    dtype = _dtype(args.dtype)
    if args.dry_run:
        found = importing.describe(args.source, dtype=dtype)
    else:
        with _Shown("MB", per=1_000_000) as shown:
            found = importing.convert(args.source, args.out, dtype=dtype, finished=shown)
    told = importing.told(found)
    if args.json:
        options.write_json(args.json, told)
    for part, row in told["parts"].items():
        print(f"{part:<12}{row['parameters']:>16,}  {', '.join(row['dtypes']):<10} {row['origin']}")
    for key, reason in told["unused"].items():
        print(f"unused: {key} ({reason})")
    for note in told["notes"]:
        print(f"note: {note}", file=sys.stderr)
    if args.dry_run:
        print(f"{told['variant']}: nothing was written to {args.out}", file=sys.stderr)
    else:
        print(f"{told['variant']}: written to {args.out}; see {args.out / 'README.md'}", file=sys.stderr)
    return 0


def _export(args: argparse.Namespace) -> int:
    options.check_checkpoint(args.source)

    if args.base and not args.adapter:
        raise errors.UserError("--base: is for --adapter alone; leave it out")
    if args.adapter:
        return _export_adapter(args)
    from m3it_jax.checkpoint_conversion.folders import exporting

    found = exporting.plan(args.source, dtype=_dtype(args.dtype), shard_bytes=args.shard_size)
    if not args.dry_run:
        with _Shown("MB", per=1_000_000) as shown:
            exporting.convert(found, args.out, finished=shown)
    sizes = {name: sum(tensor.num_bytes for tensor in group) for name, group in found.shards.items()}
    if args.json:
        counts = {name: len(group) for name, group in found.shards.items()}
        files = [{"file": name, "tensors": counts[name], "bytes": size} for name, size in sizes.items()]
        options.write_json(args.json, {"family": found.family, "files": files})
    for name, group in found.shards.items():
        print(f"{name}: {len(group)} tensors, {sizes[name] / 1e6:,.1f} MB")
    verb = "nothing was written to" if args.dry_run else "written to"
    print(f"{found.family}: {verb} {args.out}", file=sys.stderr)
    if args.dry_run or args.no_certificate:
        return 0
    if args.dtype is not None:
        print(
            f"no certificate: the numbers were converted to {args.dtype}, the checkpoint's are others", file=sys.stderr
        )
        return 0
    return _certify(args.out, args.source, out=args.out / _CERTIFICATE)


def _export_adapter(args: argparse.Namespace) -> int:
    from m3it_jax.checkpoint_conversion.folders import adapter_export

    for option in ("dtype", "dry_run"):
        if getattr(args, option):
            raise errors.UserError(f"--{option.replace('_', '-')}: is not for --adapter; leave it out")
    config = adapter_export.convert(args.source, args.out, base=args.base)
    if args.json:
        options.write_json(args.json, config)
    count = len(config["target_modules"])
    print(f"adapters of rank {config['r']} on {count} modules: written to {args.out}", file=sys.stderr)
    return 0


def _verify(args: argparse.Namespace) -> int:
    options.check_checkpoint(args.checkpoint)
    options.check_file(args.checkpoint / _CERTIFICATE, option="CHECKPOINT")
    return _certify(args.source, args.checkpoint, out=args.checkpoint / _CERTIFICATE, also=args.json)


def _certify(hf_dir: pathlib.Path, checkpoint: pathlib.Path, *, out: pathlib.Path, also: Any = None) -> int:
    """Writes the certificate of both folders and returns 0 if everything holds, else 1."""
    from m3it_jax.checkpoint_conversion.certificate import certificate, findings

    with _Shown("comparisons") as shown:
        told = certificate.verify(hf_dir, checkpoint, finished=shown)
    for path in filter(None, (out, also)):
        options.write_json(path, told)
    print(findings.table(told))
    print(f"certificate written to {out}", file=sys.stderr)
    return 0 if told["ok"] else 1


def _dtype(name: str | None) -> Any:
    import jax.numpy as jnp

    return None if name is None else jnp.dtype(name)


class _Shown:
    """Progress, shown from the first sign of work on; called from several threads with (done, in all)."""

    def __init__(self, label: str, *, per: int = 1):
        """Takes what is counted and how many make one, as bytes a megabyte."""
        self._label, self._per = label, per
        self._shown: progress.Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """Shows how far the work is."""
        if self._shown is None:
            self._shown = progress.Progress(total // self._per, self._label).__enter__()
        self._shown.update_to(done // self._per)

    def __enter__(self) -> "_Shown":
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Reports for the last time."""
        if self._shown is not None:
            self._shown.__exit__()
