"""Linear-Gaussian chains that inputs drive."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax import priors
from rpm_jax.expfam import Gaussian

KEY = jax.random.key(0)
STEPS = 5
RNG = np.random.default_rng(0)
ACTIONS = RNG.integers(0, 3, size=(6, STEPS))
CONTINUOUS = RNG.normal(size=(6, STEPS, 2))
BASE = priors.linear_gaussian(
    2,
    STEPS,
    transition="full",
    noise="free",
    initial="free",
    learned=("transition", "mean", "noise", "initial"),
)
TABLE = priors.input_choices(3)
NETWORK = priors.input_network(rpm.networks.MLP((3,)))
KINDS = [
    ("additive", "driven", TABLE, ACTIONS),
    ("multiplicative", "constant", NETWORK, CONTINUOUS),
    ("constant", "driven", NETWORK, CONTINUOUS),
    ("multiplicative", "driven", TABLE, ACTIONS[..., None]),
]


def moved(spec, inputs):
    """Parameters away from their start, but for the examples."""
    params = spec.init(KEY, jnp.asarray(inputs))
    rng = np.random.default_rng(1)
    learned = {name: value for name, value in params.items() if name != "statistics"}
    return params | jax.tree.map(lambda x: x + 0.2 * rng.normal(size=x.shape), learned)


@pytest.mark.parametrize(("matrix", "bias", "mapping", "inputs"), KINDS)
def test_each_datum_has_the_chain_of_its_inputs(matrix, bias, mapping, inputs):
    """Marginals and log-normalisers by matrices of one datum at a time, and the mixture's moments."""
    spec = priors.driven_linear_gaussian(BASE, mapping, matrix=matrix, bias=bias)
    params = moved(spec, inputs)
    prior = spec.apply(params, jnp.asarray(inputs))
    moments = BASE.moments(params["base"])
    outputs = mapping.outputs(
        params["inputs"], jnp.asarray(inputs), 2 * (bias == "driven") + 4 * (matrix != "constant")
    )
    means, covariances = [], []
    rng = np.random.default_rng(2)
    linear, root = rng.normal(size=(6, STEPS, 2)), rng.normal(size=(6, STEPS, 2, 2))
    potentials = Gaussian(linear, -0.5 * root @ np.swapaxes(root, -1, -2))
    posterior = prior.condition(potentials)
    for n in range(6):
        steps = []
        for t in range(STEPS - 1):
            a, b = moments["transition"], moments["bias"]
            if matrix != "constant":
                change = outputs[n, t, :4].reshape(2, 2)
                a = a + change if matrix == "additive" else a @ (jnp.eye(2) + change)
            steps.append((a, b + outputs[n, t, -2:] if bias == "driven" else b))
        single = priors.LinearGaussian(
            moments["initial_mean"],
            moments["initial_covariance"],
            jnp.stack([a for a, _ in steps]),
            jnp.stack([b for _, b in steps]),
            moments["noise_covariance"],
            num_sites=STEPS,
        )
        alone = single.condition(potentials[n])
        np.testing.assert_allclose(posterior.log_normalizer[n], alone.log_normalizer, rtol=1e-10)
        np.testing.assert_allclose(posterior.covariance[n], alone.covariance, rtol=1e-9, atol=1e-12)
        means.append(single.sites().mean())
        covariances.append(single.sites().covariance())
    means, covariances = np.array(means), np.array(covariances)
    second = covariances + means[..., :, None] * means[..., None, :]
    expected = second.mean(0) - means.mean(0)[..., :, None] * means.mean(0)[..., None, :]
    reference = spec.reference(params)
    np.testing.assert_allclose(reference.mean(), means.mean(0), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(reference.covariance(), expected, rtol=1e-8, atol=1e-12)


def test_inputs_do_nothing_at_the_start():
    spec = priors.driven_linear_gaussian(BASE, TABLE, matrix="multiplicative")
    params = spec.init(KEY, ACTIONS)
    plain = BASE.apply(params["base"]).sites()
    np.testing.assert_allclose(spec.reference(params).eta2, plain.eta2, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(spec.reference(spec.init(KEY, None)).eta2, plain.eta2, rtol=1e-12)


def test_a_fit_learns_what_actions_do():
    """Views of z_t+1 = 0.6 z_t + 2 a_t − 1 + noise."""
    rng = np.random.default_rng(3)
    actions = rng.integers(0, 2, size=(24, STEPS))
    z = [rng.normal(size=24)]
    for t in range(STEPS - 1):
        z.append(0.6 * z[-1] + 2.0 * actions[:, t] - 1.0 + 0.3 * rng.normal(size=24))
    z = np.stack(z, axis=1)[..., None]
    views = tuple(np.concatenate([z, -z], -1) + 0.3 * rng.normal(size=(24, STEPS, 2)) for _ in range(2))
    base = priors.linear_gaussian(1, STEPS, transition="diagonal", noise="free", initial="free")
    prior = priors.driven_linear_gaussian(base, priors.input_choices(2), name="action")
    model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP((4,))))
    mask = rng.random((24, 2, STEPS)) < 0.9
    options = {"mask": mask, "num_steps": 200, "steps_per_call": 200}
    fit = rpm.fit(model, views, key=KEY, inputs={"action": actions}, **options)
    assert fit.history.skipped == 0
    table = np.asarray(fit.params["prior"]["inputs"])[:, 0]
    assert np.abs(table[1] - table[0]) > 0.2
    np.testing.assert_array_equal(fit.params["prior"]["statistics"]["examples"], actions)
    new = rpm.as_data(tuple(v[:3] for v in views), inputs={"action": actions[:3]})
    swapped = rpm.as_data(new.views, inputs={"action": 1 - actions[:3]})
    assert fit.evaluate(new).sum() > fit.evaluate(swapped).sum()


@pytest.mark.parametrize(
    ("inputs", "mapping", "name", "error", "message"),
    [
        (ACTIONS[:, :3], TABLE, None, ValueError, r"inputs must have shape .* T = 5 sites.*got \(6, 3\)"),
        (ACTIONS + 1, TABLE, None, ValueError, "inputs of choices must be integers from 0 to 2.* 1 to 3"),
        (CONTINUOUS, TABLE, None, ValueError, r"inputs of choices must have shape \(N, T\)"),
        ({"a": ACTIONS}, TABLE, "action", ValueError, r"an entry 'action', got the entries \['a'\]"),
        ({"a": ACTIONS}, TABLE, None, TypeError, "inputs must be one array .*say which entry by name="),
    ],
)
def test_inputs_that_do_not_fit(inputs, mapping, name, error, message):
    spec = priors.driven_linear_gaussian(BASE, mapping, name=name)
    with pytest.raises(error, match=message):
        spec.init(KEY, inputs)


def test_specification_errors():
    with pytest.raises(ValueError, match="inputs must drive something"):
        priors.driven_linear_gaussian(BASE, TABLE, bias="constant")
    with pytest.raises(ValueError, match="matrix must be one of"):
        priors.driven_linear_gaussian(BASE, TABLE, matrix="none")
    with pytest.raises(TypeError, match=r"base must be made by rpm_jax.priors.linear_gaussian, got str"):
        priors.driven_linear_gaussian("rotations", TABLE)
    with pytest.raises(TypeError, match="network must have init"):
        priors.input_network(3)
    with pytest.raises(ValueError, match="number must be a positive integer"):
        priors.input_choices(0)
