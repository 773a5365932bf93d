"""How many processes train: one. More are refused before they all write to the same run folder."""

from collections.abc import Mapping

from m3it_jax import errors

# Who starts several processes says so in one of these: Slurm's srun, Open MPI, MPICH, JAX' and PyTorch's launchers.
_COUNTS = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JAX_NUM_PROCESSES", "WORLD_SIZE")
_HOSTS = "TPU_WORKER_HOSTNAMES"  # of a TPU slice, its hosts with commas between them


def check(environ: Mapping[str, str], num_processes: int = 1) -> None:
    """Refuses a run of several processes.

    Args:
      environ: The environment of the process.
      num_processes: How many JAX knows of.

    Raises:
      UserError: there are several.
    """
    found = {name: int(environ[name]) for name in _COUNTS if environ.get(name, "").isdigit()}
    found[_HOSTS] = len([host for host in environ.get(_HOSTS, "").split(",") if host])
    found["jax.process_count()"] = num_processes
    for name, count in found.items():
        if count > 1:
            raise errors.UserError(
                f"{name} says {count} processes: m3it train runs in one process, on all devices of one machine; start "
                "it once, on a machine or slice with one host"
            )
