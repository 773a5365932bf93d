"""Visual Dialog: the next answer in a conversation about a picture."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.publishers.coco_files import PICTURES
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, RowError, SourceSpec

_FILES = {
    "train": "visdial_1.0_train.json",
    "validation": "visdial_1.0_val.json",
    "test": "visdial_1.0_test.json",
}
# Folder and name of a picture by its number; training pictures lie in one of two folders, which the file does not tell.
_PICTURES = {
    "train": ("train2014/COCO_train2014_{:012d}.jpg", "val2014/COCO_val2014_{:012d}.jpg"),
    "validation": ("VisualDialog_val2018/VisualDialog_val2018_{:012d}.jpg",),
    "test": ("VisualDialog_test2018/VisualDialog_test2018_{:012d}.jpg",),
}


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one turn of each drawn dialogue, with the turns before it."""
    folder = raw.RawFolder(SPEC, assets)
    questions, answers = (
        [text for _, text in folder.json_elements(_FILES[split], key)] for key in ("questions", "answers")
    )
    dialogues = ((place, _slim(row)) for place, row in folder.json_elements(_FILES[split], "dialogs"))
    drawn = adapters.drawn(dialogues, SPEC, split, seed=seed, key=adapters.publisher_id("image_id"))

    def draft(row: Any) -> Draft:
        number = raw.field(row, "image_id", int)
        answered = [turn for turn in raw.field(row, "dialog", list) if isinstance(turn, Mapping) and "answer" in turn]
        if not answered:
            raise RowError("answer-withheld", f"no turn of picture {number} has an answer")
        turns = [(_text(questions, turn, "question"), _text(answers, turn, "answer")) for turn in answered]
        asked = adapters.choice_place(len(turns), seed=seed, name=f"{SPEC.name}/{split}", key=str(number))
        paths = [path.format(number) for path in _PICTURES[split]]
        path = next((path for path in paths if folder.exists(path)), paths[0])
        lines = [line for question, answer in turns[:asked] for line in (f"Q: {_asked(question)}", f"A: {answer}")]
        return Draft(
            skill="visual-dialog",
            inputs="\n".join((*lines, f"Q: {_asked(turns[asked][0])}")),
            outputs=turns[asked][1],
            images=(folder.picture(path),),
            group=path.rsplit("/", 1)[-1],
            origin=f"{number}/{asked}",
            origin_split=split.replace("validation", "val"),
            extra={"caption": raw.field(row, "caption")},
        )

    yield from adapters.converted(drawn, draft)


def _slim(row: Any) -> Any:
    """Returns a dialogue without the hundred answers to choose from of each turn: they are nine tenths of the file."""
    if not isinstance(row, Mapping) or not isinstance(row.get("dialog"), list):
        return row
    turns = [
        {key: turn[key] for key in ("question", "answer") if key in turn} if isinstance(turn, Mapping) else turn
        for turn in row["dialog"]
    ]
    return {**row, "dialog": turns}


def _text(texts: Sequence[Any], turn: Any, key: str) -> str:
    place = raw.field(turn, key, int)
    if not 0 <= place < len(texts) or not isinstance(texts[place], str):
        raise RowError("unknown-id", f"there is no {key} {place}")
    return texts[place].strip()


def _asked(question: str) -> str:
    """Returns a question with its mark, which the publisher's questions mostly lack."""
    return question if question.endswith("?") else f"{question}?"


SPEC = SourceSpec(
    name="visual-dialog",
    task="generation",
    language="en",
    pool="generation/visual-dialog",
    drafts=drafts,
    rows={},
    licence="CC BY 4.0 (dialogues; pictures: Flickr terms)",
    citation="Das et al., Visual Dialog, CVPR 2017",
    url="https://visualdialog.org/data",
    published=Published(
        held_out=False,
        counts={"train": 50_000, "validation": 1_000, "test": 1_000},
        raw=(
            *(
                RawFile(
                    path,
                    "version 1.0: {data: {questions: [text], answers: [text], "
                    "dialogs: [{image_id, caption, dialog: [{question, answer}]}]}}",
                    split=split,
                )
                for split, path in _FILES.items()
            ),
            *PICTURES,
            RawFile("VisualDialog_val2018/", "2,064 JPEGs", split="validation"),
            RawFile("VisualDialog_test2018/", "8,000 JPEGs", split="test"),
        ),
        borrows=("coco",),
        selection=(
            "50,000 of 123,287 dialogues for training, 1,000 of 2,064 for validation and 1,000 of 8,000 for test, "
            "drawn; of each dialogue one turn, drawn among those whose answer is public (of a test dialogue the last "
            "turn's is not)."
        ),
        known_from=(
            "visualdialog.org/data; programs that read version 1.0, such as VT-NLP/MultiInstruct, "
            "data_preprocessor/visdial.py",
            "jxu124/visdial on the Hugging Face hub: dialogues and pictures of each split",
        ),
        unverified=(
            "Which turns the paper took: 50,000 rows are fewer than the dialogues, so one of each is likely.",
            "That its test rows are of the publisher's test split.",
            "How the turns are written (here `Q: ` and `A: ` lines), and that the caption is left out.",
        ),
    ),
)
