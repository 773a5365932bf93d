"""The launch scripts of clusters: what they would run, what they refuse, and what they do when the cluster fails.

`gcloud`, `kubectl`, `srun` and `scontrol` are programs of the test, first on PATH, that answer as the real ones do.
"""

import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys

import pytest

LAUNCH = pathlib.Path(__file__).resolve().parents[2] / "launch"
SCRIPTS = ("local.sh", "slurm.sbatch", "tpu_vm.sh", "gke/run.sh")

TPU = ("ying", "--zone", "us-central2-b", "--type", "v4-32", "--repo", "https://example.org/m3it_jax.git")
TRAINED = ("configs/stage1_align.py:paper", "--run-dir", "/mnt/m3it/a b")
GKE = ("ying", "--image", "example.org/m3it:1", "--accelerator", "tpu-v5-lite-podslice", "--topology", "4x4")
GKE += ("--hosts", "4", "--claim", "shared")

# Writes down its words; says and ends as the next line of FOLDER/NAME.answers has it: exit code, blank, text.
FAKE = """#!{python}
import json, pathlib, sys
folder, name = pathlib.Path({folder!r}), pathlib.Path(sys.argv[0]).name
with (folder / "calls.jsonl").open("a") as file:
    file.write(json.dumps([name, *sys.argv[1:]]) + "\\n")
if name == "kubectl":
    (folder / "applied.yaml").write_text(sys.stdin.read())
rules = json.loads((folder / "answers.json").read_text())
for rule in rules.get(name, []):
    if all(word in " ".join(sys.argv[1:]) for word in rule["words"]) and rule["answers"]:
        code, text = rule["answers"].pop(0)
        (folder / "answers.json").write_text(json.dumps(rules))
        print(text)
        sys.exit(code)
"""


class Cluster:
    """A folder of fake programs; `answers` maps a program to its rules, the first that fits is used up."""

    def __init__(self, folder: pathlib.Path):
        self.folder = folder
        self.answers: dict[str, list[dict]] = {}
        for name in ("gcloud", "kubectl", "srun", "scontrol"):
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(FAKE.format(python=sys.executable, folder=str(folder)))
            path.chmod(path.stat().st_mode | stat.S_IXUSR)

    def on(self, program: str, *words: str, answers: list[tuple[int, str]]) -> None:
        self.answers.setdefault(program, []).append({"words": words, "answers": answers})

    def run(self, script: str, *words: str, **environ: str) -> subprocess.CompletedProcess:
        (self.folder / "answers.json").write_text(json.dumps(self.answers))
        path = f"{self.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            ["bash", str(LAUNCH / script), *words],
            env={**os.environ, "PATH": path, "M3IT_POLL_S": "0", **environ},
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def calls(self) -> list[list[str]]:
        log = self.folder / "calls.jsonl"
        return [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []

    def verbs(self) -> list[str]:
        """Returns what was asked of gcloud, in short."""
        return [" ".join(call[3:5]) for call in self.calls() if call[0] == "gcloud"]


@pytest.fixture
def cluster(tmp_path):
    return Cluster(tmp_path)


@pytest.mark.parametrize("script", SCRIPTS)
def test_shellcheck_finds_nothing(script):
    program = shutil.which("shellcheck", path=f"{pathlib.Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    done = subprocess.run([program, "--severity=warning", str(LAUNCH / script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", SCRIPTS)
def test_no_setting_of_the_training_stands_in_a_script(script):
    text = (LAUNCH / script).read_text()
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert "learning_rate" not in text and "batch" not in code.replace("sbatch", "") and "--mesh" not in code


# TPU VMs.


def test_a_dry_run_prints_every_command_and_runs_none(cluster):
    done = cluster.run("tpu_vm.sh", "--dry-run", *TPU, "--spot", "--mount", "bucket", "--", *TRAINED)
    assert done.returncode == 0 and not cluster.calls()
    create, setup, train, delete = done.stdout.splitlines()
    assert create.startswith("gcloud compute tpus queued-resources create ying") and create.endswith(
        "--zone us-central2-b "
    )
    assert "--accelerator-type v4-32" in create and "--spot" in create
    assert "git\\ clone" in setup and "gcsfuse" in setup and "--worker=all" in setup
    assert "m3it\\ train\\ configs/stage1_align.py:paper" in train and "delete ying --force" in delete


def test_a_run_that_is_finished_gives_the_slice_back(cluster):
    cluster.on("gcloud", "describe", answers=[(1, ""), (0, "PROVISIONING"), (0, "ACTIVE")])
    done = cluster.run("tpu_vm.sh", *TPU, "--", *TRAINED)
    assert done.returncode == 0, done.stderr
    asked = [verb for verb in cluster.verbs() if "describe" not in verb]
    assert asked == [
        "queued-resources create",
        "tpu-vm ssh",
        "tpu-vm ssh",
        "tpu-vm scp",
        "queued-resources delete",
    ]
    train = next(call for call in cluster.calls() if "m3it train" in " ".join(call))
    assert train[-3].endswith("m3it train configs/stage1_align.py:paper --run-dir /mnt/m3it/a\\ b ")


def test_a_slice_that_is_taken_away_is_asked_for_again(cluster):
    states = ["ACTIVE", "SUSPENDED", "SUSPENDED", "ACCEPTED", "ACTIVE"]
    cluster.on("gcloud", "describe", answers=[(0, state) for state in states])
    cluster.on("gcloud", "m3it train", answers=[(255, "ssh: connection closed"), (0, "finished")])
    done = cluster.run("tpu_vm.sh", *TPU, "--spot", "--", *TRAINED)
    assert done.returncode == 0, done.stderr
    assert "taken away" in done.stderr
    assert cluster.verbs().count("queued-resources create") == 1  # the first slice was there already
    assert cluster.verbs().count("queued-resources delete") == 2


@pytest.mark.parametrize("code", [75, 134, 143, 255])
def test_a_lost_host_or_a_signal_starts_the_run_again(cluster, code):
    cluster.on("gcloud", "describe", answers=[(0, "ACTIVE")] * 5)
    cluster.on("gcloud", "m3it train", answers=[(code, ""), (0, "")])
    done = cluster.run("tpu_vm.sh", *TPU, "--keep", "--", *TRAINED)
    assert done.returncode == 0 and f"exit code {code}" in done.stderr
    assert "queued-resources delete" not in cluster.verbs()  # --keep


def test_a_mistake_is_told_and_not_tried_again(cluster):
    cluster.on("gcloud", "describe", answers=[(0, "ACTIVE")] * 5)
    cluster.on("gcloud", "m3it train", answers=[(2, "mesh: does not divide")])
    done = cluster.run("tpu_vm.sh", *TPU, "--", *TRAINED)
    assert done.returncode == 2 and "queued-resources delete ying" in done.stderr
    assert sum("m3it train" in " ".join(call) for call in cluster.calls()) == 1
    assert "queued-resources delete" not in cluster.verbs()


def test_a_slice_that_never_comes_and_a_request_that_is_refused_end_in_a_line(cluster):
    cluster.on("gcloud", "describe", answers=[(0, "WAITING_FOR_RESOURCES")] * 10_000)
    done = cluster.run("tpu_vm.sh", *TPU, "--wait", "0", "--", *TRAINED, M3IT_POLL_S="1")
    assert done.returncode == 1 and "no slice within 0 minutes" in done.stderr
    cluster.answers = {}
    cluster.on("gcloud", "describe", answers=[(1, "")])
    cluster.on("gcloud", "create", answers=[(1, "RESOURCE_EXHAUSTED: quota")])
    assert cluster.run("tpu_vm.sh", *TPU, "--", *TRAINED).returncode == 1


def test_restarts_come_to_an_end(cluster):
    cluster.on("gcloud", "describe", answers=[(0, "ACTIVE")] * 20)
    cluster.on("gcloud", "m3it train", answers=[(75, "")] * 20)
    done = cluster.run("tpu_vm.sh", *TPU, "--restarts", "2", "--", *TRAINED)
    assert done.returncode == 75 and "given up after 2 restarts" in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a name"),
        (("Ying", *TPU[1:], "--", *TRAINED), "small letters"),
        ((*TPU[:1], "--type", "v4-32", "--", *TRAINED), "--zone is missing"),
        ((*TPU[:3], "--", *TRAINED), "--type is missing"),
        ((*TPU, "--", "configs/tiny.py"), "--run-dir is missing"),
        ((*TPU,), "nothing to train"),
        ((*TPU, "--sopt", "--", *TRAINED), "no option --sopt"),
        ((*TPU, "--wait", "long", "--", *TRAINED), "--wait long"),
        ((*TPU, "other", "--", *TRAINED), "has a name already"),
    ],
)
def test_a_wrong_command_is_one_line(cluster, words, message):
    done = cluster.run("tpu_vm.sh", *words)
    assert done.returncode == 2 and message in done.stderr and len(done.stderr.splitlines()) == 1
    assert not cluster.calls()


# Slurm.


def test_slurm_starts_one_process_a_node(cluster):
    done = cluster.run("slurm.sbatch", "--dry-run", *TRAINED)
    assert done.returncode == 0 and not cluster.calls()
    assert (
        done.stdout.split()
        == "srun --kill-on-bad-exit=0 .venv/bin/m3it train configs/stage1_align.py:paper".split()
        + [
            "--run-dir",
            "/mnt/m3it/a\\",
            "b",
        ]
    )


@pytest.mark.parametrize(
    ("code", "again"), [(0, False), (1, False), (2, False), (75, True), (134, True), (137, True), (143, True)]
)
def test_slurm_puts_a_lost_job_back_and_a_wrong_one_not(cluster, code, again):
    cluster.on("srun", answers=[(code, "")])
    done = cluster.run("slurm.sbatch", *TRAINED, M3IT="true", SLURM_JOB_ID="7", JAX_PROCESS_ID="3")
    assert done.returncode == code
    assert [call for call in cluster.calls() if call[0] == "scontrol"] == [["scontrol", "requeue", "7"]] * again


def test_slurm_refuses_a_command_without_a_run_folder_and_a_place_without_the_program(cluster):
    assert "usage" in cluster.run("slurm.sbatch", "configs/tiny.py").stderr
    done = cluster.run("slurm.sbatch", *TRAINED)
    assert done.returncode == 1 and ".venv/bin/m3it is not there" in done.stderr and not cluster.calls()


# GKE.


def test_the_jobset_says_what_was_asked(cluster):
    yaml = pytest.importorskip("yaml")
    done = cluster.run("gke/run.sh", *GKE, "--", *TRAINED, '--x="@NAME@"')
    assert done.returncode == 0, done.stderr
    assert cluster.calls() == [["kubectl", "apply", "-f", "-"]]
    job = yaml.safe_load((cluster.folder / "applied.yaml").read_text())
    template = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    (container,) = template["template"]["spec"]["containers"]
    assert (template["parallelism"], template["completions"], job["metadata"]["name"]) == (4, 4, "ying")
    assert container["command"] == ["m3it", "train"] and container["args"] == [*TRAINED, '--x="@NAME@"']
    assert "@" not in str({**job, "spec": {**job["spec"], "replicatedJobs": []}})
    assert "kubectl delete jobset ying" in done.stderr


def test_gke_dry_run_calls_nothing_and_a_refusal_of_the_cluster_is_passed_on(cluster):
    done = cluster.run("gke/run.sh", "--dry-run", *GKE, "--", *TRAINED)
    assert done.returncode == 0 and "kind: JobSet" in done.stdout and not cluster.calls()
    cluster.on("kubectl", answers=[(1, "no matches for kind JobSet")])
    assert cluster.run("gke/run.sh", *GKE, "--", *TRAINED).returncode == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (GKE[:-2], "--claim is missing"),
        ((*GKE, "--hosts", "four"), "--hosts four"),
        ((*GKE, "--image", "a\nb: c"), "character"),
        (GKE, "--run-dir is missing"),
    ],
)
def test_a_wrong_gke_command_is_refused(cluster, words, message):
    done = cluster.run("gke/run.sh", *words)
    assert done.returncode == 2 and message in done.stderr and not cluster.calls()


# Several processes on this machine.


def test_local_gives_every_process_its_number_and_the_same_address(cluster):
    done = cluster.run(
        "local.sh", "3", "bash", "-c", 'echo "$JAX_PROCESS_ID of $JAX_NUM_PROCESSES, $JAX_COORDINATOR_ADDRESS"'
    )
    lines = sorted(done.stdout.splitlines())
    assert done.returncode == 0 and [line[:10] for line in lines] == [f"[{n}] {n} of 3" for n in range(3)]
    assert len({line.split(", ")[1] for line in lines}) == 1


def test_local_ends_with_the_code_of_the_first_that_failed(cluster):
    done = cluster.run("local.sh", "2", "bash", "-c", '[ "$JAX_PROCESS_ID" = 0 ] || exit 7; sleep 1')
    assert done.returncode == 7 and "exit code 7" in done.stderr


@pytest.mark.parametrize("words", [(), ("0", "true"), ("two", "true"), ("2",)])
def test_local_refuses_what_is_no_number_or_no_command(cluster, words):
    done = cluster.run("local.sh", *words)
    assert done.returncode == 2 and len(done.stderr.splitlines()) == 1
