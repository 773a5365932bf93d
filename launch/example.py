"""Picks held-out examples for the quick start: arguments of `m3it generate`, an answer, or what to try next."""

import argparse
import json
import pathlib
import shlex
import sys
from typing import Any

# Where the shipped preset can be asked, besides the example that is suggested: what about which pictures.
_ASKED = """What you can ask this small model, about pictures of these kinds and no others:
  a handwritten digit      which digit is this?   is it even or odd?   Describe the picture.   图中写的是几？
  two digits side by side  what is the left digit?   what do the two digits add up to?   which digit is larger?
  a coloured shape         what color is the shape?   is there a red circle?   用一句话描述图片。
  a moving digit (video)   which digit is moving?   which way does the digit move?
  an emoji, a flag         which group does it belong to?   which country is this?   (often wrong)
A photo is none of them: it gets an answer in the same words, and a wrong one. Your own data: docs/finetune.md"""


def load(folder: pathlib.Path) -> list[dict[str, Any]]:
    """Returns the examples that `m3it eval` has kept."""
    return json.loads((folder / "examples.json").read_text(encoding="utf-8"))


def pick(folder: pathlib.Path, kind: str) -> dict[str, Any]:
    """Returns the first example of a kind: `video` has several pictures, `zh` and `en` have one."""
    for example in load(folder):
        if kind == ("video" if len(example["files"]) > 2 else example["language"]):
            return example
    sys.exit(f"example.py: {folder}/examples.json has no example of kind {kind}; run m3it eval again")


def suggest(folder: pathlib.Path, run: str, program: str) -> str:
    """Returns commands that work as they are printed, in any shell and folder, and what the model can be asked."""
    digits = [example for example in load(folder) if example.get("skill") == "digit"]
    example = digits[0] if digits else pick(folder, "en")
    picture = str(folder / example["files"][0])
    asked = ["--instruction", " ".join(example["instruction"].split())]
    if example["inputs"]:
        asked += ["--inputs", example["inputs"]]
    commands = [
        [program, "generate", run, "--image", picture, *asked],
        [program, "chat", run, "--image", picture],
    ]
    return "\n".join(["Try next:", *(f"  {shlex.join(command)}" for command in commands), _ASKED])


def main() -> None:
    """Parses the command line and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("kind", choices=("en", "zh", "video", "suggest"))
    parser.add_argument("--show", type=pathlib.Path, help="the answer that m3it generate wrote")
    parser.add_argument("--label", default="")
    parser.add_argument("--run", default="", help="with suggest: the quick start's folder")
    parser.add_argument("--program", default="m3it", help="with suggest: the path of m3it")
    args = parser.parse_args()
    if args.kind == "suggest":
        print(suggest(args.folder, args.run, args.program))
        return
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
