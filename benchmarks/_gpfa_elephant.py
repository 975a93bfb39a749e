"""elephant's GPFA in an interpreter of its own: `python _gpfa_elephant.py DATA.npz RESULT.npz`.

It imports nothing of this project, so that elephant may live in another virtual environment.
"""

import sys
import time
from typing import Any

import numpy as np

BIN_MS = 20.0


def spike_trains(counts: Any) -> list[list[Any]]:
    """Trials of neo spike trains, whose binned counts are these, shape (N, T, D)."""
    import neo
    import quantities

    rng = np.random.default_rng(0)
    num_bins, num_neurons = counts.shape[1:]
    edges = np.repeat(np.arange(num_bins)[:, None], num_neurons, axis=1)
    trials = []
    for trial in counts.astype(int):
        trains = []
        for neuron in range(num_neurons):
            bins = np.repeat(edges[:, neuron], trial[:, neuron])
            seconds = np.sort(bins + rng.uniform(0.01, 0.99, bins.size)) * BIN_MS
            trains.append(neo.SpikeTrain(seconds * quantities.ms, t_stop=num_bins * BIN_MS * quantities.ms))
        trials.append(trains)
    return trials


def main(data: str, result: str) -> None:
    """Fit and transform the counts of DATA; write latents and seconds, imports and conversion left out."""
    import quantities
    from elephant.gpfa import GPFA

    given = np.load(data)
    trials = spike_trains(given["counts"])
    model = GPFA(bin_size=BIN_MS * quantities.ms, x_dim=int(given["latents"]))
    started = time.perf_counter()
    found = model.fit_transform(trials)
    seconds = time.perf_counter() - started
    np.savez(result, latents=np.stack([np.asarray(each, float).T for each in found]), seconds=seconds)


if __name__ == "__main__":
    main(*sys.argv[1:])
