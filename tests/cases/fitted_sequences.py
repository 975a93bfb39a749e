"""Models of short sequences with every kind of prior that has a future, and the joint law of its latents."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.priors import InputTable, kernels, solvers

SITES, HORIZON, SIZE, NEW = 4, 2, 6, 2
TIMES = np.array([0.0, 0.5, 1.2, 1.5])
FUTURE_TIMES = np.array([1.9, 2.6])
RNG = np.random.default_rng(0)
CODES = RNG.integers(0, 2, size=(SIZE, SITES - 1))
OWN_TIMES = np.cumsum(RNG.uniform(0.2, 1.0, size=(SIZE, SITES)), axis=1)
NEW_INPUTS = {"codes": CODES[:NEW, ::-1], "times": OWN_TIMES[:NEW] + 0.3}
FUTURE = {"codes": RNG.integers(0, 2, size=(NEW, HORIZON)), "times": OWN_TIMES[:NEW, -1:] + [0.9, 1.3]}
MASK = RNG.uniform(size=(NEW, 2, SITES)) > 0.3

PRIORS = {
    "hidden Markov": rpm.priors.hidden_markov(3, SITES),
    "driven hidden Markov": rpm.priors.hidden_markov(3, SITES, inputs=InputTable(2)),
    "linear Gaussian": rpm.priors.linear_gaussian(2, SITES, stationary=False),
    "driven linear Gaussian": rpm.priors.driven_linear_gaussian(
        rpm.priors.linear_gaussian(2, SITES), InputTable(2), matrix="multiplicative"
    ),
    "Matern": rpm.priors.gaussian_process(
        TIMES, kernels.Matern(1.5, 0.8), num_latents=2, mean="constant", solver=solvers.markov()
    ),
    "own times": rpm.priors.gaussian_process(
        num_sites=SITES, kernel=kernels.Matern(0.5, 0.8), solver=solvers.markov()
    ),
    "mixed": rpm.priors.mixed_gaussian_process(
        TIMES,
        [kernels.Matern(1.5, 0.8), kernels.Matern(0.5, 2.0)],
        mixing=[[1.0, 0.4], [-0.3, 1.0]],
        mean="constant",
    ),
    "dense": rpm.priors.gaussian_process(TIMES, "rbf", num_latents=2),
}
STEPPED = [name for name in PRIORS if name != "dense"]


def inputs_of(name, values):
    """Those of the kind that this prior takes, or None."""
    if name == "own times":
        return values["times"]
    return values["codes"] if "driven" in name else None


def future_of(name):
    """What `forecast` is told of the sites to come."""
    if name == "own times":
        return {"times": FUTURE["times"]}
    if "driven" in name:
        return {"inputs": FUTURE["codes"]}
    return {"times": FUTURE_TIMES} if name in ("Matern", "mixed", "dense") else {}


@functools.cache
def fitted(name):
    """A model with random parameters, and its data."""
    model = rpm.RPM(PRIORS[name], rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))))
    inputs = {"codes": CODES, "times": OWN_TIMES}
    data = rpm.as_data(two_views(0, size=SIZE, sites=SITES), inputs=inputs_of(name, inputs))
    params = init(model, jax.random.key(0), data)

    def moved(path, leaf):
        names = [getattr(part, "key", "") for part in path]
        shift = 0.3 * np.random.default_rng(len(names) + leaf.size).normal(size=leaf.shape)
        return leaf if "statistics" in names else leaf + shift

    params["prior"] = jax.tree_util.tree_map_with_path(moved, params["prior"])
    return rpm.Fitted(model, params, data)


def new_data(name, mask=MASK):
    """Other data, some of which are missing."""
    return rpm.as_data(two_views(1, size=NEW, sites=SITES), mask, inputs=inputs_of(name, NEW_INPUTS))


@functools.cache
def potentials(name):
    """λ of the new data."""
    return rpm.inference.infer_all(fitted(name), new_data(name)).potentials


def is_discrete(name):
    """Whether latents are states."""
    return "Markov" in name


def joint_of(name, n):
    """The mean (S, K) and covariance (S, K, S, K) of the latents of datum n at all S = T + h sites."""
    prior, params = fitted(name).model.prior, fitted(name).params["prior"]
    if "linear" in name:
        return _chain_moments(prior, params, name, n)
    times = np.concatenate([TIMES, FUTURE_TIMES])
    if name == "own times":
        times = np.concatenate([NEW_INPUTS["times"][n], FUTURE["times"][n]])
    times = jnp.asarray(times - times[0])
    if name == "mixed":
        each = [k.covariance(p, times) for k, p in zip(prior.kernels, params["kernels"], strict=True)]
        covariance = np.einsum("ir,rst,jr->sitj", params["mixing"], each, params["mixing"])
        return np.broadcast_to(params["mean"], (len(times), 2)), covariance
    each = jax.vmap(lambda own: prior.kernel.covariance(own, times))(params["kernel"])
    mean = np.asarray(params.get("mean", jnp.zeros((each.shape[0], 1))))
    covariance = np.einsum("kst,kl->sktl", each, np.eye(len(each)))
    return np.broadcast_to(mean.T, (len(times), len(each))), covariance


def _chain_moments(prior, params, name, n):
    driven = "driven" in name
    moments = (prior.base if driven else prior).moments(params["base"] if driven else params)
    mean, covariance, transition, bias, noise = (np.asarray(value) for value in moments.values())
    size, steps = mean.shape[0], SITES + HORIZON - 1
    matrices, biases = [transition] * steps, [bias] * steps
    if driven:
        codes = np.concatenate([NEW_INPUTS["codes"][n], FUTURE["codes"][n]])
        rows = np.asarray(params["map"])[codes]
        matrices = [transition @ (np.eye(size) + row[: size**2].reshape(size, size)) for row in rows]
        biases = [bias + row[size**2 :] for row in rows]
    means, covariances = [mean], [covariance]
    for A, b in zip(matrices, biases, strict=True):
        means.append(A @ means[-1] + b)
        covariances.append(A @ covariances[-1] @ A.T + noise)
    joint = np.zeros((steps + 1, size, steps + 1, size))
    for s in range(steps + 1):
        block = covariances[s]
        joint[s, :, s] = block
        for t in range(s + 1, steps + 1):
            block = matrices[t - 1] @ block
            joint[t, :, s], joint[s, :, t] = block, block.T
    return np.stack(means), joint


def conditioned(name, n, number):
    """The moments of all S sites given the potentials of the first `number`, by one dense inverse."""
    mean, covariance = joint_of(name, n)
    sites, size = mean.shape
    lam = potentials(name)[n]
    linear, precision = np.zeros((sites, size)), np.zeros((sites, size, sites, size))
    for t in range(min(number, SITES)):
        linear[t] = lam.eta1[t]
        own = -2.0 * np.asarray(lam.eta2[t])
        precision[t, :, t] = own if own.ndim == 2 else np.diag(own)
    flat = (sites * size, sites * size)
    prior = covariance.reshape(flat)
    W = precision.reshape(flat)
    gain = np.linalg.solve(np.eye(len(W)) + prior @ W, prior)
    shift = gain @ (linear.ravel() - W @ mean.ravel())
    return mean + shift.reshape(sites, size), gain.reshape(sites, size, sites, size)


def paths_of(name, n, number):
    """All paths over S sites, and their probabilities given the potentials of the first `number`."""
    params = fitted(name).params["prior"]
    logits = np.broadcast_to(params["transition"], (SITES + HORIZON - 1, 3, 3))
    if "driven" in name:
        codes = np.concatenate([NEW_INPUTS["codes"][n], FUTURE["codes"][n]])
        logits = logits + np.asarray(params["map"])[codes].reshape(-1, 3, 3)
    steps = np.asarray(jax.nn.log_softmax(logits, axis=-1))
    paths = np.array(list(itertools.product(range(3), repeat=SITES + HORIZON)))
    value = np.asarray(jax.nn.log_softmax(params["initial"]))[paths[:, 0]]
    value = value + sum(steps[t, paths[:, t], paths[:, t + 1]] for t in range(len(steps)))
    lam = np.asarray(potentials(name).logits[n])
    value = value + sum(lam[t, paths[:, t]] for t in range(min(number, SITES)))
    return paths, np.exp(value - np.logaddexp.reduce(value))


def marginals(name, n, number):
    """The probabilities of states, shape (S, 3), as `paths_of`."""
    paths, weights = paths_of(name, n, number)
    return np.einsum("p,ptk->tk", weights, np.eye(3)[paths])
