"""Multi30k: a picture's caption translated between English and German, French or Czech."""

from collections.abc import Iterator, Mapping

from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import Assets, Draft, Published, RawFile, Rejected, SourceSpec

_LANGUAGES = {"en": "English", "de": "German", "fr": "French", "cs": "Czech"}
_DIRECTIONS = tuple(pair for other in ("de", "fr", "cs") for pair in (("en", other), (other, "en")))
# Of the publisher's test sets the two that all four languages have.
_FILES = {"train": ("train",), "validation": ("val",), "test": ("test_2016_flickr", "test_2018_flickr")}
_PICTURES = {"test_2018_flickr": "test_2018_flickr"}  # the others are of Flickr30k
_FLICKR30K = "flickr30k-images"
_URL = "https://github.com/multi30k/dataset/raw/master"


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields the drawn captions of each direction, German, French and Czech in turn."""
    folder = raw.RawFolder(SPEC, assets)
    assert SPEC.published is not None
    number = SPEC.published.counts[split] // len(_DIRECTIONS)
    texts = {
        (file, language): _numbered(folder, f"data/task1/raw/{file}.{language}")
        for file in _FILES[split]
        for language in _LANGUAGES
    }
    pictures = {file: _numbered(folder, f"data/task1/image_splits/{file}.txt") for file in _FILES[split]}
    places = [(file, line) for file in _FILES[split] for line in pictures[file]]
    for source, target in _DIRECTIONS:
        key = f"{SPEC.name}/{source}-{target}/{split}"
        for file, line in adapters.sample(places, number, seed=seed, name=key, key=str):
            sentences = [texts[file, language].get(line, "") for language in (source, target)]
            origin = f"{file}:{line}/{source}-{target}"
            if not all(sentences):
                yield Rejected(origin, "missing-translation", f"line {line} is empty in {source} or {target}")
                continue
            name = pictures[file][line]
            yield Draft(
                skill="multi30k",
                inputs=sentences[0],
                outputs=sentences[1],
                images=(folder.picture(f"{_PICTURES.get(file, _FLICKR30K)}/{name}"),),
                group=name,
                language=target,
                slots={"SOURCE": _LANGUAGES[source], "TARGET": _LANGUAGES[target]},
                origin=origin,
                origin_split=file,
            )


def _numbered(folder: raw.RawFolder, name: str) -> Mapping[int, str]:
    """Returns a file's lines by their number: lines of the same number belong together."""
    return {int(place.rsplit(":", 1)[1]): line.strip() for place, line in folder.lines(name)}


def _raw_files() -> Iterator[RawFile]:
    for file in (file for files in _FILES.values() for file in files):
        yield RawFile(
            f"data/task1/image_splits/{file}.txt",
            "a picture's file name on each line",
            url=f"{_URL}/data/task1/image_splits/{file}.txt",
        )
        for code, language in _LANGUAGES.items():
            path = f"data/task1/raw/{file}.{code}"
            yield RawFile(path, f"a sentence on each line, {language}; unpacked", url=f"{_URL}/{path}.gz")
    yield RawFile(f"{_FLICKR30K}/", "JPEGs of Flickr30k, on request (shannon.cs.illinois.edu/DenotationGraph)")
    for folder in _PICTURES.values():
        yield RawFile(f"{folder}/", "JPEGs, by the address in the publisher's README.md")


SPEC = SourceSpec(
    name="multi30k",
    task="generation",
    language="mul",
    pool="generation/multi30k",
    drafts=drafts,
    rows={},
    licence="Non-commercial (pictures: Flickr terms, for research and education)",
    citation=(
        "Elliott et al., Multi30K, VL 2016; Elliott et al., Findings of the Second Shared Task, WMT 2017; "
        "Barrault et al., Findings of the Third Shared Task, WMT 2018"
    ),
    url="https://github.com/multi30k/dataset",
    published=Published(
        held_out=False,
        counts={"train": 90_000, "validation": 6_000, "test": 12_000},
        raw=tuple(_raw_files()),
        borrows=("snli-ve",),
        selection=(
            "Task 1 (translation) in six directions, between English and each of German, French and Czech: 15,000 of "
            "29,000 lines for training, 1,000 of 1,014 for validation, 2,000 of 2,071 (test sets of 2016 and 2018) "
            "drawn for each direction."
        ),
        known_from=("multi30k/dataset, folder data/task1: read and counted",),
        unverified=(
            "The directions, which no source lists: from English alone three languages give at most 87,000 rows for "
            "training and 3,042 for validation, fewer than Table 7, while six directions can give its counts exactly.",
            "Which of the publisher's four test sets the paper took.",
            f"The name of the folder with the pictures of 2018 ({_PICTURES['test_2018_flickr']}/); the publisher hands "
            "them out apart from the texts.",
        ),
    ),
)
