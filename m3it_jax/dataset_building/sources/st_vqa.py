"""ST-VQA (scene text), task 3: questions whose answer is text in the picture, without a given dictionary."""

from collections.abc import Iterator
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw, vqa_files
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

# Our split -> file of questions, and the folder that the archive of its pictures unpacks to.
_SPLITS = {"train": ("train_task_3.json", ""), "test": ("test_task_3.json", "test_task3_imgs/")}
_question_id = adapters.publisher_id("question_id")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question of a split."""
    if split not in _SPLITS:
        return
    folder = raw.RawFolder(SPEC, assets)
    name, pictures = _SPLITS[split]
    if split == "test" and not folder.exists(name):
        return

    def draft(row: Any) -> Draft:
        answers = vqa_files.given_answers(row, split)
        path = raw.field(row, "file_path")
        return Draft(
            skill="st-vqa",
            inputs=raw.field(row, "question").strip(),
            outputs=vqa_files.most_common(answers),
            images=(folder.picture(pictures + path),),
            group=path.rsplit("/", 1)[-1],
            references=answers,
            origin=str(raw.field(row, "question_id", (int, str))),
            origin_split=split,
        )

    rows = adapters.drawn(folder.json_elements(name, "data"), SPEC, split, seed=seed, key=_question_id)
    yield from adapters.converted(rows, draft)


SPEC = SourceSpec(
    name="st-vqa",
    task="vqa",
    language="en",
    pool="vqa/st-vqa",
    drafts=drafts,
    rows={},
    licence="Unknown (pictures: six collections, each with its own terms)",
    citation="Biten et al., Scene Text Visual Question Answering, ICCV 2019",
    url="https://rrc.cvc.uab.es/?ch=11",
    known_problems="The publisher ships the pictures of COCO-Text scaled to 256 x 256 pixels.",
    published=Published(
        held_out=False,
        counts={"train": 26_074, "validation": 0, "test": 4_070},
        raw=(
            RawFile(
                "train_task_3.json", "26,074 questions: {data: [{question_id, question, file_path, answers, dataset}]}"
            ),
            RawFile("test_task_3.json", "4,070 questions without answers", optional=True),
            RawFile(
                "coco-text/", "from ST-VQA.tar.gz; the folders of the other five collections lie beside it, as unpacked"
            ),
            RawFile("test_task3_imgs/", "from test_task3_imgs.tar.gz", optional=True),
        ),
        selection="All questions of task 3's train file, and its test file. The publisher keeps the answers of its "
        "test: a test row without answers is set aside as `answer-withheld`, which counts as no fault. The first "
        "answer, or the most common, is the answer, all are references.",
        known_from=(
            "google-research/big_vision, datasets/stvqa/stvqa.py (files, keys, 26,074 and 4,070 questions, no test "
            "answers, small pictures of COCO-Text)",
            "public download notes that quote rrc.cvc.uab.es (ST-VQA.tar.gz, test_task3_imgs.tar.gz; needs a login)",
        ),
        unverified=(
            "That ST-VQA.tar.gz unpacks to coco-text/ and the other collections without a folder above them.",
            "Into which folder the archive of test pictures unpacks; we look in test_task3_imgs/.",
            "Which answers the paper's 4,070 test rows have, since the publisher gives none.",
            "Whether the paper paraphrased these answers; the publisher ships no OCR texts that could help.",
        ),
        paraphrase="ocr",
        withheld=("test",),
    ),
)
