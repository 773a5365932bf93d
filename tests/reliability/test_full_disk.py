"""A full disk, at any kilobyte: one line, nothing that looks whole and is not, and a rerun ends as undisturbed.

The disk is a real one of some kilobytes, mounted in a namespace of its own by the program at the end of this file.
"""

import base64
import contextlib
import io
import json
import os
import pathlib
import shutil
import subprocess
import sys

import in_process
import pytest

from m3it_jax.dataset_building import workers

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures" / "raw"
PLENTY = "64m"
NUM_SIZES = 16
IN_A_NAMESPACE = ("unshare", "--map-root-user", "--mount")

pytestmark = pytest.mark.slow


def allowed() -> bool:
    """Whether this machine lets a user mount something that only that user's processes see."""
    if shutil.which("unshare") is None:
        return False
    return (
        subprocess.run([*IN_A_NAMESPACE, "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True).returncode == 0
    )


@pytest.mark.parametrize("verb", ["build", "import", "parquet", "jsonl", "webdataset"])
def test_a_full_disk_leaves_nothing_that_looks_whole(tmp_path, verb):
    if not allowed():
        pytest.skip("needs unshare with user and mount namespaces")
    import built_folder  # pytest knows where it is; the program below does without

    rows = tmp_path / "okvqa_train.jsonl"
    with open(rows, "w") as file:
        for number in range(8):
            picture = base64.b64encode(built_folder.picture(number)).decode()
            row = {"question": f"what is {number}?", "answer": str(number), "image_str": picture}
            file.write(json.dumps(row) + "\n")
    disk = tmp_path / "disk"
    disk.mkdir()
    command = [*IN_A_NAMESPACE, sys.executable, __file__, verb, tmp_path, rows]
    found = {**os.environ, "PYTHONPATH": str(pathlib.Path(in_process.__file__).parent)}
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=found)
    assert done.returncode == 0, done.stderr[-3000:]
    full, whole = json.loads(done.stdout.splitlines()[-1])
    assert full >= NUM_SIZES / 4 and whole >= 1, "the sizes were all too small, or all large enough"


# -- what runs in the namespace


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".lock"
    }


def run(words: list[object]) -> tuple[int, str]:
    """Runs a verb in this process and returns its exit code and what it told."""
    from m3it_jax.cli import main

    told = io.StringIO()
    with contextlib.redirect_stderr(told), contextlib.redirect_stdout(told):
        code = main.main([str(word) for word in words])
    return code, told.getvalue()


def mount(disk: pathlib.Path, size: str, *more: str) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *more]), "none", str(disk)], check=True)


def command(verb: str, folder: pathlib.Path, rows: pathlib.Path, out: pathlib.Path) -> list[object]:
    if verb == "build":
        return ["build", "coco", "--raw", FIXTURES, "--out", out]
    if verb == "import":
        return ["import", "m3it", rows, "--source", "okvqa", "--out", out]
    return ["export", verb, folder / "data", "--out", out]


def check(verb: str, folder: pathlib.Path, rows: pathlib.Path) -> tuple[int, int]:
    """Fills disks of many sizes and returns how many were too small and how many were not."""

    workers.Workers, workers.count = in_process.Workers, in_process.count
    if verb not in ("build", "import"):
        assert run(command("build", folder, rows, folder / "data"))[0] == 0
    code, told = run(command(verb, folder, rows, folder / "wanted"))
    assert code == 0, told
    wanted, disk = contents(folder / "wanted"), folder / "disk"
    total = sum(map(len, wanted.values()))
    full = whole = 0
    for number in range(NUM_SIZES):
        kilobytes = 4 * (1 + round((2 * total / 4096 + 12) * number / (NUM_SIZES - 1)))
        mount(disk, f"{kilobytes}k")
        out = disk / "out"
        code, told = run(command(verb, folder, rows, out))
        lines = [line for line in told.splitlines() if line.startswith("m3it:")]
        if code == 0:
            whole += 1
        else:
            full += 1
            faults = [line for line in lines if ": train from " not in line]  # which files are read is told before
            assert code == 1 and len(faults) == 1 and "the disk is full" in faults[0], (kilobytes, told)
            for path in out.rglob("provenance.json"):
                if ".building" not in path.parts:  # a source that is there is whole
                    name = path.parent.relative_to(out)
                    assert contents(path.parent) == contents(folder / "wanted" / name), kilobytes
            for manifest in ("m3it.json", "export.json"):
                assert not (out / manifest).exists(), kilobytes
            mount(disk, PLENTY, "remount")
            code, told = run(command(verb, folder, rows, out))
        assert code == 0 and contents(out) == wanted, (kilobytes, told)
        # A failed build's files close with its process; in this one they stay open until they are collected.
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
    return full, whole


if __name__ == "__main__":
    found = check(sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3]))
    sys.stdout.write(json.dumps(found) + "\n")
