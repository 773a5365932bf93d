"""Picks one held-out example for the quick start: prints the arguments of `m3it generate`, or question and answer."""

import argparse
import json
import pathlib
import sys
from typing import Any


def pick(folder: pathlib.Path, kind: str) -> dict[str, Any]:
    """Returns the first example of a kind: `video` has several pictures, `zh` and `en` have one."""
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    for example in examples:
        if kind == ("video" if len(example["files"]) > 2 else example["language"]):
            return example
    sys.exit(f"example.py: {folder}/examples.json has no example of kind {kind}; run m3it eval again")


def main() -> None:
    """Parses the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("kind", choices=("en", "zh", "video"))
    parser.add_argument("--show", type=pathlib.Path, help="the answer that m3it generate wrote")
    parser.add_argument("--label", default="")
    args = parser.parse_args()
    example = pick(args.folder, args.kind)
    if args.show is None:
        words = [f"--instruction={example['instruction']}", f"--inputs={example['inputs']}"]
        for file in example["files"]:
            words += ["--image", str(args.folder / file)]
        sys.stdout.write("".join(word + "\0" for word in words))
        return
    answer = json.loads(args.show.read_text(encoding="utf-8"))
    asked = " ".join(f"{example['instruction']} {example['inputs']}".split())
    first = args.folder / example["files"][0]
    more = f" and {len(example['files']) - 1} more" if len(example["files"]) > 1 else ""
    print(f"{args.label}: {first}{more}")
    print(f"  asked      {asked}\n  answered   {answer['answer']}\n  reference  {example['reference']}")


if __name__ == "__main__":
    main()
