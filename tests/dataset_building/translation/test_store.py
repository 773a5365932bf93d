import os
import pathlib
import signal
import subprocess
import sys

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.translation.store import FILE, Key, Store

KEY = Key({"name": "toy"}, "eng_Latn", "deu_Latn")


def test_what_is_put_is_there_in_the_next_run(tmp_path):
    store = Store(tmp_path / "new" / "folder", writes=True)
    texts = {KEY(f"text {number}"): f"Text {number}" for number in range(3_000)}
    store.put(texts)
    assert store.get([*texts, KEY("never")]) == texts
    store.close()
    reader = Store(tmp_path / "new" / "folder", writes=False)
    assert reader.get([*texts, KEY("never")]) == texts == reader.get(list(texts))
    assert reader.get([]) == {}


def test_translator_and_direction_are_part_of_the_key():
    others = [
        Key({"name": "toy"}, "eng_Latn", "spa_Latn"),
        Key({"name": "b"}, "eng_Latn", "deu_Latn"),
        Key({"name": "toy"}, "deu_Latn", "eng_Latn"),
    ]
    assert len({key("dog") for key in [KEY, *others]}) == 4 and KEY("dog") == Key(
        {"name": "toy"}, "eng_Latn", "deu_Latn"
    )("dog")


def test_a_batch_is_there_as_a_whole_or_not_at_all(tmp_path):
    store = Store(tmp_path, writes=True)
    texts = {KEY("a"): "A", KEY("b"): object(), KEY("c"): "C"}
    with pytest.raises(OSError, match="cannot be written"):
        store.put(texts)
    assert store.get(list(texts)) == {}
    store.put({KEY("a"): "A"})
    assert store.get(list(texts)) == {KEY("a"): "A"}


def test_a_file_that_is_no_store_is_refused(tmp_path):
    (tmp_path / FILE).write_bytes(b"x" * 5_000)
    with pytest.raises(errors.UserError, match="holds no translations"):
        Store(tmp_path, writes=True)
    with pytest.raises(errors.UserError, match="holds no translations"):
        Store(tmp_path / "none", writes=False)


WRITER = """
import pathlib, sys
from m3it_jax.dataset_building.translation.store import Key, Store
key, store = Key({}, "a", "b"), Store(pathlib.Path(sys.argv[1]), writes=True)
for batch in range(10**6):
    store.put({key(f"{batch} {number}"): "said" for number in range(100)})
    print(batch, flush=True)
"""


def test_a_killed_writer_leaves_whole_batches(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if int(line) >= 20:
            break
    os.kill(process.pid, signal.SIGKILL)
    done = int((process.stdout.read().split() or ["20"])[-1])
    process.wait()
    key, store = Key({}, "a", "b"), Store(pathlib.Path(tmp_path), writes=True)
    sizes = [len(store.get([key(f"{batch} {number}") for number in range(100)])) for batch in range(done + 2)]
    assert set(sizes) <= {0, 100} and sizes[: done + 1] == [100] * (done + 1)
