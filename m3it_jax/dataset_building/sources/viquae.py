"""ViQuAE: questions about people and things of Wikipedia that the picture shows and the text does not name."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_id = adapters.publisher_id("id")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    folder = raw.RawFolder(SPEC, assets)
    rows = adapters.drawn(folder.json_lines(f"{split}.jsonl"), SPEC, split, seed=seed, key=_id)
    yield from adapters.converted(rows, lambda row: _draft(folder, row, split))


def _draft(folder: raw.RawFolder, row: Any, split: str) -> Draft:
    output = raw.field(row, "output", dict)
    answer = raw.field(output, "original_answer").strip()
    aliases = vqa_files.texts(output, "answer")
    picture = raw.field(row, "image")
    return Draft(
        skill="viquae",
        inputs=raw.field(row, "input").strip(),
        outputs=answer,
        images=(folder.picture(f"images/{picture}"),),
        group=picture,
        references=tuple(dict.fromkeys((answer, *aliases))),
        origin=raw.field(row, "id"),
        origin_split=split,
        extra={name: row[name] for name in ("kilt_id", "wikidata_id", "url") if isinstance(row.get(name), str)},
    )


SPEC = SourceSpec(
    name="viquae",
    task="knowledge_vqa",
    language="en",
    pool="knowledge_vqa/viquae",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (annotations; pictures: Wikimedia Commons, terms of each)",
    citation="Lerner et al., ViQuAE, SIGIR 2022",
    url="https://github.com/PaulLerner/ViQuAE",
    known_problems="Answers are of TriviaQA and may be out of date; the list of aliases is Wikipedia's and generous.",
    published=Published(
        held_out=True,
        counts={"train": 1_190, "validation": 1_250, "test": 1_236},
        raw=(
            RawFile(
                "train.jsonl",
                "from huggingface.co/datasets/PaulLerner/viquae_dataset, 1,190 lines: {id, kilt_id, wikidata_id, url, "
                "image, input, output: {original_answer, answer (all aliases)}}",
                split="train",
            ),
            RawFile("validation.jsonl", "1,250 lines", split="validation"),
            RawFile("test.jsonl", "1,257 lines", split="test"),
            RawFile(
                "images/",
                "pictures of 512 pixels width, from images.tar.gz",
                url="https://huggingface.co/datasets/PaulLerner/viquae_images/resolve/main/images.tar.gz",
            ),
        ),
        selection="All questions of train and validation, and 1,236 drawn from the test's 1,257. The original answer "
        "is the answer, it and its aliases are references.",
        known_from=(
            "PaulLerner/ViQuAE, README.rst (fields, image names, 1,190, 1,250 and 1,257 rows, where the files lie)",
            "M3IT paper, Figure 3 (an example with its kilt_id) and Table 7",
        ),
        unverified=(
            "Which 21 test rows the paper left out; we draw by seed and id.",
            "The names of the JSONL files.",
            "That output.answer is a list of all aliases.",
        ),
        paraphrase="question",
    ),
)
