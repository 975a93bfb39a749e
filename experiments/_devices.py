"""Options of an experiment on several devices or hosts."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments._options import AllOptions, OptionError, group, option, refuse


@group
class Devices:
    """Devices and hosts. Several processes are told of each other before anything is computed."""

    spread: bool = option(
        False,
        "Spread data and mixture components, or with --seeds the seeds, over all devices. Several processes "
        "always do.",
    )
    coordinator: str | None = option(
        None,
        "Address of process 0, the same for all processes.",
        shown="a single process",
        metavar="HOST:PORT",
    )
    num_processes: int | None = option(None, "How many processes there are.", shown="a single process")
    process_id: int | None = option(None, "Which of them this is, from 0.", shown="a single process")
    cluster: bool = option(
        False, "Find the other processes by the cluster's environment (Slurm, Open MPI, Cloud TPU, ...)."
    )


def check(devices: Devices) -> None:
    """Raise `OptionError` for values that do not fit together."""
    by_hand = {
        "--coordinator": devices.coordinator,
        "--num-processes": devices.num_processes,
        "--process-id": devices.process_id,
    }
    missing = [name for name, value in by_hand.items() if value is None]
    if missing and len(missing) < len(by_hand):
        raise OptionError(f"{', '.join(by_hand)} belong together; {', '.join(missing)} is missing")
    refuse(devices.cluster and not missing, "--cluster", "--coordinator", "which it finds by itself")
    if devices.num_processes is None or devices.process_id is None:
        return
    if devices.num_processes < 1:
        raise OptionError(f"--num-processes must be at least 1, got {devices.num_processes}")
    if not 0 <= devices.process_id < devices.num_processes:
        raise OptionError(
            f"--process-id must be from 0 to {devices.num_processes - 1}, got {devices.process_id}"
        )
    host, _, port = (devices.coordinator or "").rpartition(":")
    if not host or not port.isdigit():
        raise OptionError(f"--coordinator must be HOST:PORT, got {devices.coordinator!r}")


def several_processes(devices: Devices) -> bool:
    """Whether the options ask for several processes; a cluster may also have one."""
    return devices.cluster or (devices.num_processes or 1) > 1


def check_seeds(devices: Devices, seeds: int) -> None:
    """Raise `OptionError` where seeds cannot be spread evenly, once the devices are known."""
    if devices.spread and jax.process_count() == 1 and seeds % jax.device_count():
        raise OptionError(
            f"--seeds must be a multiple of the {jax.device_count()} devices with --spread, got {seeds}"
        )


def start(options: AllOptions) -> None:
    """Tell the processes of each other, if there are several."""
    devices = options.groups().get("devices")
    if devices is None or not (devices.cluster or devices.coordinator):
        return
    try:
        jax.distributed.initialize(devices.coordinator, devices.num_processes, devices.process_id)
    except (RuntimeError, ValueError) as error:
        option = "--cluster" if devices.cluster else "--coordinator"
        raise OptionError(f"{option}: the processes did not find each other: {error}") from error


def mesh(devices: Devices) -> Any:
    """All devices, or None where nothing is spread."""
    if not devices.spread and jax.process_count() == 1:
        return None
    return jax.make_mesh((jax.device_count(),), ("data",))


def total(size: int) -> int:
    """N, the sum over processes of what each has."""
    if jax.process_count() == 1:
        return size
    return int(multihost_utils.process_allgather(np.asarray(size)).sum())


def share(size: int) -> slice:
    """Which of N data are this process's, in equal shares where that goes."""
    processes, process = jax.process_count(), jax.process_index()
    return slice(size * process // processes, size * (process + 1) // processes)
