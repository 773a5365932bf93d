"""How the processes of a run find each other, by what their launcher has set; the real thing is in test_peers_live."""

import pytest

from m3it_jax import errors
from m3it_jax.training import processes

OWN = {"JAX_COORDINATOR_ADDRESS": "10.0.0.1:8476", "JAX_NUM_PROCESSES": "4", "JAX_PROCESS_ID": "3"}


@pytest.mark.parametrize(
    ("environ", "how"),
    [
        ({}, ""),
        (OWN, "own"),
        ({"SLURM_STEP_NUM_TASKS": "8"}, "slurm"),
        ({"SLURM_STEP_NUM_TASKS": "8", "PMI_SIZE": "8"}, "slurm"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "ompi"),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, "tpu"),
        ({"SLURM_STEP_NUM_TASKS": "1", "WORLD_SIZE": "1", "TPU_WORKER_HOSTNAMES": "localhost"}, ""),
        ({"JAX_NUM_PROCESSES": "1"}, ""),
        ({"JAX_NUM_PROCESSES": ""}, ""),
    ],
)
def test_the_launcher_is_known_by_its_variables(environ, how) -> None:
    assert processes.found(environ) == how


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2: m3it train does not know"),
        ({"PMI_SIZE": "3"}, "PMI_SIZE=3"),
        ({"SLURM_STEP_NUM_TASKS": "8", "JAX_NUM_PROCESSES": "2"}, "contradict each other"),
        ({"SLURM_STEP_NUM_TASKS": "8", "TPU_WORKER_HOSTNAMES": "a,b"}, "contradict each other"),
        (OWN | {"JAX_COORDINATOR_ADDRESS": "10.0.0.1"}, "JAX_COORDINATOR_ADDRESS='10.0.0.1': must be HOST:PORT"),
        (OWN | {"JAX_COORDINATOR_ADDRESS": "a:70000"}, "HOST:PORT"),
        ({"JAX_NUM_PROCESSES": "2"}, "JAX_COORDINATOR_ADDRESS=''"),
        (OWN | {"JAX_PROCESS_ID": "4"}, "JAX_PROCESS_ID='4': must be a number from 0 to 3"),
        (OWN | {"JAX_PROCESS_ID": ""}, "JAX_PROCESS_ID=''"),
        ({"SLURM_STEP_NUM_TASKS": "many"}, "SLURM_STEP_NUM_TASKS='many': must be a number"),
        ({"JAX_NUM_PROCESSES": "0"}, "JAX_NUM_PROCESSES='0'"),
    ],
)
def test_what_does_not_fit_together_is_one_line(environ, told) -> None:
    with pytest.raises(errors.UserError, match=told) as found:
        processes.found(environ)
    assert "\n" not in str(found.value)


def test_processes_that_do_not_meet_are_told_where(monkeypatch) -> None:
    def fail(**_):
        raise RuntimeError("DEADLINE_EXCEEDED: Barrier timed out\nmore")

    monkeypatch.setattr(processes.jax.distributed, "initialize", fail)
    monkeypatch.setattr(processes.jax.config, "update", lambda *_: None)
    with pytest.raises(
        errors.UserError, match=r"did not meet at 10\.0\.0\.1:8476 .*DEADLINE_EXCEEDED: Barrier timed out\)"
    ):
        processes.join(OWN)


def test_one_process_is_the_first_waits_for_nobody_and_stops_when_it_is_asked() -> None:
    processes.join({})
    processes.meet("anywhere")
    assert processes.is_first()
    assert [processes.should_stop(3, is_asked=asked) for asked in (False, True)] == [False, True]
