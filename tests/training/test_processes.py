import pytest

from m3it_jax import errors
from m3it_jax.training import processes


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"SLURM_STEP_NUM_TASKS": "8"}, "SLURM_STEP_NUM_TASKS says 8 processes"),
        ({"OMPI_COMM_WORLD_SIZE": "2"}, "OMPI_COMM_WORLD_SIZE says 2"),
        ({"TPU_WORKER_HOSTNAMES": "10.0.0.1,10.0.0.2"}, "TPU_WORKER_HOSTNAMES says 2"),
    ],
)
def test_several_processes_are_refused_with_what_says_so(environ, told) -> None:
    with pytest.raises(errors.UserError, match=told):
        processes.check(environ)


def test_jax_may_know_of_several() -> None:
    with pytest.raises(errors.UserError, match=r"jax\.process_count\(\) says 4 processes: .* one process"):
        processes.check({}, 4)


def test_one_process_is_let_through_whoever_started_it() -> None:
    processes.check({})
    processes.check({"SLURM_STEP_NUM_TASKS": "1", "WORLD_SIZE": "1", "TPU_WORKER_HOSTNAMES": "localhost"}, 1)
    processes.check({"SLURM_NTASKS": "8", "PMI_SIZE": "many"})
