"""How many small faults the tests notice: one is put in at a time, in a copy of the tree, and the folder's tests run.

  python benchmarks/mutation.py [FOLDER ...] [--again] [--mirrored] [--number N] [--copy DIR]
  python benchmarks/mutation_table.py

Takes hours, may be stopped at any time, and goes on where it stopped: results/mutation.json holds what is known, and
the second program puts its table into docs/testing.md. A mutant is run again when its module has changed;
with `--again`, those that survived are, because the tests may have changed. With `--mirrored`, a mutant meets only the
test file of its module's name: quick, and fewer are caught. The worktree is only read.

Importing JAX and TensorFlow takes longer than most tests, so one process imports them once and is forked for each
mutant; nothing of the package is imported before the fork. Slow tests are left out, as in a bare `pytest`.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import functools
import hashlib
import importlib
import json
import os
import pathlib
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import mutants as mutation
import mutation_plan as plan
import mutation_reach as reach

RESULTS = plan.ROOT / "benchmarks" / "results" / "mutation.json"
COPIED = ("m3it_jax", "configs", "tests", "benchmarks", "launch", "docs", "pyproject.toml", "requirements.txt")
HEAVY = (
    "numpy", "PIL.Image", "jax", "jax.numpy", "flax.linen", "optax", "orbax.checkpoint", "tensorflow", "beartype",
    "jaxtyping", "sentencepiece", "tokenizers", "hypothesis", "clu.metric_writers", "tensorflow_datasets",
    "ml_collections", "absl.flags", "sklearn.datasets", "rapidfuzz", "pytest", "xdist",
)  # fmt: skip
QUICK = "not slow and not device and not network and not torch"
_GREEN = (0, 5)  # exit codes of pytest; 5: all of the tests are slow
_SLACK_S, _TIMES = 120.0, 6.0  # CHOICE: longest run of a stage: so many times that of the sound code, and this


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one run of tests: exit code of pytest (None: it was ended), first test that failed, seconds."""

    code: int | None
    failed: str
    seconds: float


class FirstFailure:
    """A plugin of pytest that keeps the name of the first test that fails."""

    def __init__(self) -> None:
        self.name = ""

    def pytest_configure(self) -> None:
        """Keeps every compiled program, not the slow ones alone: most mutants leave most programs as they were."""
        import jax

        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Is told of each phase of each test."""
        if report.failed and not self.name:
            self.name = report.nodeid


def run_tests(copy: pathlib.Path, files: Sequence[str], timeout_s: float, *plugins: object) -> Outcome:
    """Runs test files of the copy in a fork of this process until the first failure."""
    read, write = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if not child:
        os.setsid()  # what the tests start ends with them
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        code = 70
        try:
            os.close(read)
            code, name = _in_child(copy, files, plugins)
            os.write(write, name.encode())
        finally:
            os._exit(code)
    os.close(write)
    try:
        code = _wait(child, begin + timeout_s)
    finally:  # if this process is told to stop, too
        _end_group(child)
    name = os.read(read, 4096).decode()
    os.close(read)
    return Outcome(code, name, time.monotonic() - begin)


def _in_child(copy: pathlib.Path, files: Sequence[str], plugins: Sequence[object]) -> tuple[int, str]:
    import pytest

    silence = os.open(copy / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    watch = FirstFailure()
    temporary = copy / "temporary"
    options = ["-q", "-x", "-p", "no:cacheprovider", "-m", QUICK, f"--basetemp={temporary}", f"--rootdir={copy}"]
    code = int(pytest.main([*options, *files], plugins=[watch, *plugins]))
    return code, watch.name


def _wait(child: int, deadline: float) -> int | None:
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    _end_group(child)
    os.waitpid(child, 0)
    return None


def _end_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)


def _copy_tree(root: pathlib.Path, copy: pathlib.Path) -> None:
    """Copies what tests need; compiled programs of an earlier copy are kept."""
    copy.mkdir(parents=True, exist_ok=True)
    for name in COPIED:
        shutil.rmtree(copy / name, ignore_errors=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(root / name, copy / name)


class Run:
    """A copy of the tree, what the sound code takes in it, and what is known of the mutants."""

    def __init__(self, copy: pathlib.Path, results: pathlib.Path = RESULTS):
        """Copies the tree as it is now."""
        self.copy, self._path = copy, results
        _copy_tree(plan.ROOT, copy)
        self.known = _read(results)
        self._recorded: dict[str, dict[str, list[Any]]] = {}
        modules = sorted((copy / "m3it_jax").rglob("*.py"))
        self._package = hashlib.sha256(b"".join(path.read_bytes() for path in modules)).hexdigest()

    def recorded(self, file: str) -> dict[str, list[Any]]:
        """Returns what the tests of a file reach in the sound code, with which they must be green."""
        if file not in self._recorded:
            digest = hashlib.sha256((self.copy / file).read_bytes()).hexdigest()
            out = self.copy / "reach" / f"{file.replace('/', '+')}.json"
            seen = out.with_suffix(".seen")  # of which package and test file it was written
            package, tests = seen.read_text("utf-8").split() if seen.exists() else ("", "")
            if package != self._package:
                out.unlink(missing_ok=True)
            if (package, tests) != (self._package, digest):
                out.parent.mkdir(exist_ok=True)
                outcome = run_tests(self._noting, [file], 3600.0, reach.Recorder(out))
                if outcome.code not in _GREEN:
                    told = self._noting / "output.txt"
                    raise SystemExit(f"{outcome.failed or file}: is red without any mutant, see {told}")
                seen.write_text(f"{self._package} {digest}", "utf-8")
                print(f"recorded {outcome.seconds:6.1f} s {file}", flush=True)
            self._recorded[file] = json.loads(out.read_text("utf-8"))
        return self._recorded[file]

    @functools.cached_property
    def _noting(self) -> pathlib.Path:
        """Returns a copy of the tree whose functions note that they are called."""
        noting = self.copy / "noting"
        _copy_tree(self.copy, noting)
        for path in (noting / "m3it_jax").rglob("*.py"):
            module = path.relative_to(noting).as_posix()
            path.write_text(reach.instrumented(module, path.read_text("utf-8")), "utf-8")
        if not (noting / ".pytest_cache").exists():  # compiled programs are the same
            (noting / ".pytest_cache").symlink_to(self.copy / ".pytest_cache")
        return noting

    def rounds(self, mutant: mutation.Mutant, stages: Sequence[Sequence[str]]) -> Iterator[dict[str, dict[str, float]]]:
        """Yields {file: {test: seconds}}, round after round: of each stage those that reach the mutant's function.

        What a cache kept from one test for the next goes unseen: in the end comes what is left of the first stage, too.
        Where the mutant is in no function, a stage is all of its tests.
        """
        name, met = f"{mutant.module} {mutant.scope}", set()
        for files in stages:
            found = {}
            for file in files:
                recorded = self.recorded(file)
                found[file] = reach.reaching(recorded, name) if mutant.in_function else reach.every(recorded)
                met |= found[file].keys()
            yield found
        first = {file: reach.every(self.recorded(file)) for file in stages[0]}
        yield {file: {test: s for test, s in tests.items() if test not in met} for file, tests in first.items()}

    def meet(self, folder: plan.Folder, mutant: mutation.Mutant, stages: Sequence[Sequence[str]]) -> dict[str, Any]:
        """Puts a mutant in, runs the tests of one round after another until one fails, and takes it out again."""
        outcome, spent = Outcome(0, "", 0.0), 0.0
        for found in self.rounds(mutant, stages):
            wanted = {test: seconds for tests in found.values() for test, seconds in tests.items()}
            if wanted:
                files = [file for file, tests in found.items() if tests]
                limit = _SLACK_S + _TIMES * sum(wanted.values())
                with self._put_in(mutant):
                    outcome = run_tests(self.copy, files, limit, reach.Chosen(wanted))
                spent += outcome.seconds
            if outcome.code not in _GREEN:
                break
        ended = "took too long" if outcome.code is None else "no test could run"
        return {
            "folder": folder.path,
            "module": mutant.module,
            "operator": mutant.operator,
            "line": mutant.line,
            "caught": outcome.code not in _GREEN,
            "by": outcome.failed or (ended if outcome.code not in _GREEN else ""),
            "seconds": round(spent, 1),
            "source": mutant.part,
        }

    @contextlib.contextmanager
    def _put_in(self, mutant: mutation.Mutant) -> Iterator[None]:
        path = self.copy / mutant.module
        source, times = path.read_bytes(), path.stat()
        path.write_bytes(mutant.apply(source))
        # A time of its own, or Python would take the compiled form of another mutant of the same second and length.
        stamp = int(mutation.rank(mutant, 0)[:7], 16)
        os.utime(path, (stamp, stamp))
        try:
            yield
        finally:
            path.write_bytes(source)
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    def keep(self, key: str, found: dict[str, Any]) -> None:
        """Writes what is known of a mutant, whole and at once; other runs may be writing of other folders."""
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.known = _read(self._path) | {key: found}
            self._write()

    def forget(self, folder: plan.Folder) -> None:
        """Drops what is known of a folder's mutants that are no longer made, or whose function has changed."""
        made = {mutant.key: mutant.part for mutant in candidates(folder, self.copy)}
        with self._path.with_suffix(".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = _read(self._path)
            self.known = {
                key: row for key, row in known.items() if row["folder"] != folder.path or made.get(key) == row["source"]
            }
            self._write()

    def _write(self) -> None:
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(json.dumps(self.known, indent=1, ensure_ascii=False, sort_keys=True) + "\n", "utf-8")
        os.replace(temporary, self._path)


def _read(results: pathlib.Path) -> dict[str, dict[str, Any]]:
    return json.loads(results.read_text("utf-8")) if results.exists() else {}


def candidates(folder: plan.Folder, root: pathlib.Path) -> list[mutation.Mutant]:
    """Returns every mutant of a folder in the tree at `root`."""
    found = []
    for module in plan.modules(folder, root):
        found += mutation.mutants(module, (root / module).read_bytes())
    return found


def all_mutants(folder: plan.Folder, number: int, root: pathlib.Path) -> list[mutation.Mutant]:
    """Returns the folder's mutants that are asked: chosen by chance that is the same in every run."""
    return mutation.chosen(candidates(folder, root), number, plan.SEED)


def main() -> None:
    """Meets the mutants of the folders asked for that are not known yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="*", help="paths of rows of mutation_plan.FOLDERS; none: all")
    parser.add_argument("--again", action="store_true", help="run those that survived once more")
    parser.add_argument("--mirrored", action="store_true", help="run the test file of the module's name alone")
    parser.add_argument("--number", type=int, help="mutants of each folder, in the place of the plan's")
    parser.add_argument("--copy", type=pathlib.Path, default=pathlib.Path("/tmp/m3it_mutation"), help="where to work")
    arguments = parser.parse_args()
    rows = {row.path: row for row in plan.FOLDERS}
    if unknown := set(arguments.folder) - rows.keys():
        raise SystemExit(f"FOLDER={', '.join(unknown)}: must be some of {', '.join(rows)}")
    folders = [rows[path] for path in arguments.folder or rows]
    os.environ |= {
        "JAX_PLATFORMS": "cpu",
        "TF_CPP_MIN_LOG_LEVEL": "2",
    }  # before they are imported, as tests/conftest.py
    sys.path[:] = [place for place in sys.path if pathlib.Path(place or ".").resolve() != plan.ROOT]
    for name in HEAVY:
        importlib.import_module(name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(arguments.copy)
    equivalent = plan.equivalent()
    for folder in folders:
        asked = all_mutants(folder, arguments.number or folder.number, run.copy)
        run.forget(folder)
        for mutant in asked:
            known = run.known.get(mutant.key)
            fresh = known is not None and known["source"] == mutant.part and (known["caught"] or not arguments.again)
            if fresh or mutant.key in equivalent:
                continue
            stages = plan.stages(folder, mutant.module, run.copy)
            found = run.meet(folder, mutant, stages[:1] if arguments.mirrored else stages)
            run.keep(mutant.key, found)
            print(f"{'caught  ' if found['caught'] else 'SURVIVED'} {found['seconds']:6.1f} s {mutant.key}", flush=True)


if __name__ == "__main__":
    main()
