"""One way of reading pictures, as a process of its own: benchmarks/input.py starts it and says when it is its turn.

    python tests/reference/serve_pictures.py NAME FOLDER CORES

FOLDER holds `files/` (the pictures), `shard.tar` (the same for WebDataset) and room for what a library prepares. For
each line on stdin all pictures are read once into batches of 32, uint8 of 224 pixels a side, and a line with the
seconds, the processor's seconds and the pictures comes back; for `check`, a checksum of all pixels too. Needs none of
m3it_jax.
"""

import io
import json
import os
import pathlib
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from PIL import Image

SIDE, ROWS = 224, 32
Run = Callable[[], Iterable[np.ndarray]]


def squared(source: Any) -> np.ndarray:
    """Returns a picture as uint8 [224, 224, 3], by Pillow."""
    with Image.open(source) as image:
        return np.asarray(image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC))


def groups(items: list[Any]) -> Iterator[list[Any]]:
    """Yields items in batches."""
    for first in range(0, len(items), ROWS):
        yield items[first : first + ROWS]


def pillow(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """Decoding and resizing alone, in a plain loop, from bytes in memory."""
    held = [pathlib.Path(file).read_bytes() for file in files]
    return lambda: (np.stack([squared(io.BytesIO(each)) for each in some]) for some in groups(held))


def dataloader(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """The DataLoader of torch with Pillow: in the process itself on one core, else a worker for each core."""
    import torch

    torch.set_num_threads(cores)

    class Files(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(files)

        def __getitem__(self, number: int) -> Any:
            return torch.from_numpy(squared(files[number]).copy())

    workers = 0 if cores == 1 else cores
    loader = torch.utils.data.DataLoader(Files(), ROWS, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (batch.numpy() for batch in loader)


def processor(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """The batched image processor of transformers, from files."""
    import torch
    import transformers

    torch.set_num_threads(cores)
    made = transformers.BlipImageProcessor(
        size={"height": SIDE, "width": SIDE}, do_rescale=False, do_normalize=False, do_convert_rgb=True
    )

    def batches() -> Iterator[np.ndarray]:
        for some in groups(files):
            opened = [Image.open(file).convert("RGB") for file in some]
            pixels = made(opened, return_tensors="pt")["pixel_values"]
            yield pixels.permute(0, 2, 3, 1).to(torch.uint8).numpy()

    return batches


def datasets(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """`datasets` with its feature Image and a transform."""
    import datasets as library

    table = library.Dataset.from_dict({"image": files}).cast_column("image", library.Image())

    def transform(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        made = [np.asarray(one.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for one in rows["image"]]
        return {"pixels": made}

    shown = table.with_transform(transform)
    return lambda: (np.stack(shown[first : first + ROWS]["pixels"]) for first in range(0, len(files), ROWS))


def webdataset(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """WebDataset from one tar, with Pillow; its loader has one worker, since there is one tar."""
    import webdataset as library

    ending = files[0].rsplit(".", 1)[1]
    made = library.WebDataset(str(folder / "shard.tar"), shardshuffle=False).to_tuple(ending)
    made = made.map(lambda row: squared(io.BytesIO(row[0]))).batched(ROWS, collation_fn=np.stack)
    return lambda: iter(made)


def grain(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """Grain with Pillow: a thread for each core and 500 pictures read ahead, its default."""
    import grain as library

    options = library.ReadOptions(num_threads=cores, prefetch_buffer_size=500)
    made = library.MapDataset.source(files).map(squared).to_iter_dataset(options).batch(ROWS)
    return lambda: iter(made)


def spdl(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """The pipeline of SPDL with Pillow, a thread for each core; its own decoder needs FFmpeg's libraries."""
    import spdl.pipeline

    def batches() -> Iterator[np.ndarray]:
        builder = spdl.pipeline.PipelineBuilder().add_source(files)
        builder = builder.pipe(squared, concurrency=cores, output_order="input").aggregate(ROWS).pipe(np.stack)
        made = builder.add_sink(3).build(num_threads=cores)
        with made.auto_stop():
            yield from made

    return batches


def litdata(folder: pathlib.Path, files: list[str], cores: int) -> Run:
    """LitData: chunks of encoded pictures, its streaming loader, Pillow."""
    import litdata as library

    chunks = folder / "litdata"
    if not (chunks / "index.json").exists():
        library.optimize(_bytes_of, files, str(chunks), num_workers=1, chunk_bytes="16MB", keep_data_ordered=True)

    class Pictures(library.StreamingDataset):
        def __getitem__(self, index: Any) -> Any:
            return squared(io.BytesIO(super().__getitem__(index)))

    workers = 0 if cores == 1 else cores
    made = Pictures(str(chunks), shuffle=False)
    loader = library.StreamingDataLoader(made, batch_size=ROWS, num_workers=workers, persistent_workers=workers > 0)
    return lambda: (np.asarray(batch) for batch in loader)


def _bytes_of(file: str) -> bytes:
    return pathlib.Path(file).read_bytes()


RIVALS: dict[str, Callable[[pathlib.Path, list[str], int], Run]] = {
    "Pillow alone": pillow,
    "torch DataLoader": dataloader,
    "transformers' processor": processor,
    "datasets": datasets,
    "WebDataset": webdataset,
    "grain": grain,
    "SPDL": spdl,
    "LitData": litdata,
}


def serve(run: Run) -> None:
    """Answers each line on stdin with one pass over all pictures."""
    tell({"ready": True})
    for line in sys.stdin:
        begin, used, count, check = time.perf_counter(), _processor_s(), 0, 0
        for batch in run():
            count += len(batch)
            if line.strip() == "check":  # a sum, since some read in an order of their own
                check += sum(zlib.crc32(np.ascontiguousarray(one)) for one in batch)
        tell({"seconds": time.perf_counter() - begin, "cpu": _processor_s() - used, "count": count, "check": check})


def tell(told: dict[str, Any]) -> None:
    """Writes a line for whoever asked."""
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def _processor_s() -> float:
    """Returns the processor's seconds of this process and of all that it started, as Linux tells them."""
    parents, ticks = {}, {}
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended
            continue
        parents[int(path.parent.name)], ticks[int(path.parent.name)] = int(fields[1]), sum(map(int, fields[11:15]))
    mine = {os.getpid()}
    while found := {number for number, parent in parents.items() if parent in mine} - mine:
        mine |= found
    return sum(ticks.get(number, 0) for number in mine) / os.sysconf("SC_CLK_TCK")


def keep_to(cores: int) -> None:
    """Has this process, and all that it starts, run on so many cores."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:cores])


def main() -> None:
    """Makes the reader on as many cores as asked for, and serves."""
    name, folder, cores = sys.argv[1], pathlib.Path(sys.argv[2]), int(sys.argv[3])
    keep_to(cores)
    try:
        run = RIVALS[name](folder, sorted(map(str, (folder / "files").iterdir())), cores)
        next(iter(run()))
    except Exception as error:  # whatever a library of somebody else raises is the reason that is told
        tell({"skipped": f"{type(error).__name__}: {str(error)[:200]}"})
        return
    serve(run)


if __name__ == "__main__":
    main()
