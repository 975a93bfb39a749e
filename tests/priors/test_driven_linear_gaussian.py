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
TABLE = priors.InputTable(3)
NETWORK = rpm.networks.MLP((3,))
KINDS = [
    ("additive", "driven", TABLE, ACTIONS),
    ("multiplicative", "constant", NETWORK, CONTINUOUS),
    ("constant", "driven", NETWORK, CONTINUOUS),
    ("multiplicative", "driven", TABLE, ACTIONS[..., None]),
]


def moved(spec, inputs):
    """Parameters away from their start, but for the examples."""
    params = jax.jit(spec.init)(KEY, jnp.asarray(inputs))
    rng = np.random.default_rng(1)
    learned = {name: value for name, value in params.items() if name != "statistics"}
    return params | jax.tree.map(lambda x: x + 0.2 * rng.normal(size=x.shape), learned)


@jax.jit
def questions(spec, params, inputs, potentials):
    return spec.apply(params, inputs).condition(potentials), spec.reference(params)


@jax.jit
def of_one_chain(moments, transition, bias, potentials):
    """Its posterior and marginal moments."""
    chain = priors.LinearGaussian(
        moments["initial_mean"],
        moments["initial_covariance"],
        transition,
        bias,
        moments["noise_covariance"],
        num_sites=STEPS,
    )
    sites = chain.sites()
    return chain.condition(potentials), sites.mean(), sites.covariance()


@pytest.mark.parametrize(("matrix", "bias", "mapping", "inputs"), KINDS)
def test_each_datum_has_the_chain_of_its_inputs(matrix, bias, mapping, inputs):
    """Marginals and log-normalisers by matrices of one datum at a time, and the mixture's moments."""
    spec = priors.driven_linear_gaussian(BASE, mapping, matrix=matrix, bias=bias)
    params = moved(spec, inputs)
    moments = jax.jit(BASE.moments)(params["base"])
    if mapping is TABLE:
        outputs = np.asarray(params["map"])[inputs.reshape(6, STEPS)]
    else:
        steps = inputs[:, :-1].reshape(-1, 2)
        shown = (inputs - steps.mean(0)) / steps.std(0)
        number = 2 * (bias == "driven") + 4 * (matrix != "constant")
        outputs = jax.jit(mapping.with_outputs(number).apply)(params["map"], shown.reshape(-1, 2))
        outputs = np.asarray(outputs).reshape(6, STEPS, number)
    means, covariances = [], []
    rng = np.random.default_rng(2)
    linear, root = rng.normal(size=(6, STEPS, 2)), rng.normal(size=(6, STEPS, 2, 2))
    potentials = Gaussian(linear, -0.5 * root @ np.swapaxes(root, -1, -2))
    posterior, reference = questions(spec, params, jnp.asarray(inputs), potentials)
    for n in range(6):
        steps = []
        for t in range(STEPS - 1):
            a, b = np.asarray(moments["transition"]), np.asarray(moments["bias"])
            if matrix != "constant":
                change = outputs[n, t, :4].reshape(2, 2)
                a = a + change if matrix == "additive" else a @ (np.eye(2) + change)
            steps.append((a, b + outputs[n, t, -2:] if bias == "driven" else b))
        transition, biases = (np.stack(part) for part in zip(*steps, strict=True))
        own = Gaussian(potentials.eta1[n], potentials.eta2[n])
        alone, mean, covariance = of_one_chain(moments, transition, biases, own)
        np.testing.assert_allclose(posterior.log_normalizer[n], alone.log_normalizer, rtol=1e-10)
        np.testing.assert_allclose(posterior.covariance[n], alone.covariance, rtol=1e-9, atol=1e-12)
        means.append(mean)
        covariances.append(covariance)
    means, covariances = np.array(means), np.array(covariances)
    second = covariances + means[..., :, None] * means[..., None, :]
    expected = second.mean(0) - means.mean(0)[..., :, None] * means.mean(0)[..., None, :]
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
    prior = priors.driven_linear_gaussian(base, priors.InputTable(2), name="action")
    model = rpm.RPM(prior, rpm.factors.per_view(rpm.networks.PointwiseMLP((4,))))
    mask = rng.random((24, 2, STEPS)) < 0.9
    options = {"mask": mask, "num_steps": 200, "steps_per_call": 200}
    fit = rpm.fit(model, views, key=KEY, inputs={"action": actions}, **options)
    assert fit.history.skipped == 0
    table = np.asarray(fit.params["prior"]["map"])[:, 0]
    assert np.abs(table[1] - table[0]) > 0.2
    np.testing.assert_array_equal(fit.params["prior"]["statistics"]["examples"], actions[:, :-1])
    new = rpm.as_data(tuple(v[:3] for v in views), inputs={"action": actions[:3]})
    swapped = rpm.as_data(new.views, inputs={"action": 1 - actions[:3]})
    assert fit.evaluate(new).sum() > fit.evaluate(swapped).sum()


@pytest.mark.parametrize(
    ("inputs", "mapping", "name", "error", "message"),
    [
        (ACTIONS[:, :3], TABLE, None, ValueError, r"inputs must have shape .* T = 5 sites.*got \(6, 3\)"),
        (ACTIONS + 1, TABLE, None, ValueError, r"inputs must be integers from 0 to 2, .* got 3 at index"),
        (CONTINUOUS, TABLE, None, ValueError, r"inputs must have shape \(N, T\) with"),
        ({"a": ACTIONS}, TABLE, "action", ValueError, r"an entry 'action', got the entries \['a'\]"),
        ({"a": ACTIONS, "b": ACTIONS}, TABLE, None, ValueError, "one array .* got 2; .*by name="),
    ],
)
def test_inputs_that_do_not_fit(inputs, mapping, name, error, message):
    """Also in a fit, whose programs do not know the numbers, and for new data."""
    spec = priors.driven_linear_gaussian(BASE, mapping, name=name)
    with pytest.raises(error, match=message):
        spec.check_inputs(inputs)
    views = tuple(RNG.normal(size=(6, STEPS, 2)) for _ in range(2))
    model = rpm.RPM(spec, rpm.factors.per_view(rpm.networks.PointwiseMLP((2,))))
    with pytest.raises(error, match=message):
        rpm.fit(model, views, key=KEY, inputs=inputs, num_steps=1)


@pytest.mark.parametrize(("scale", "offset"), [(1e30, 0.0), (1e-30, 0.0), (1.0, 1e4)])
def test_scale_and_origin_of_inputs_change_nothing(scale, offset):
    """Bounds were −4·10⁶ at a scale of 10⁶."""
    spec = priors.driven_linear_gaussian(BASE, NETWORK, matrix="additive")

    @jax.jit
    def marginals(inputs):
        params = spec.init(KEY, inputs)
        params |= {"map": jax.tree.map(lambda x: x + 0.3, params["map"])}
        return spec.apply(params, inputs).sites().mean()

    inputs = jnp.asarray(CONTINUOUS, jnp.float32)
    got = marginals(scale * inputs + offset)
    np.testing.assert_allclose(got, marginals(inputs), rtol=0.01, atol=0.01)


def test_specification_errors():
    with pytest.raises(ValueError, match="inputs must drive something"):
        priors.driven_linear_gaussian(BASE, TABLE, bias="constant")
    with pytest.raises(ValueError, match="matrix must be one of"):
        priors.driven_linear_gaussian(BASE, TABLE, matrix="none")
    with pytest.raises(TypeError, match=r"base must be made by rpm_jax.priors.linear_gaussian, got str"):
        priors.driven_linear_gaussian("rotations", TABLE)
    with pytest.raises(
        TypeError, match=r"inputs must be a rpm_jax.priors.InputTable\(num_values\) or a network"
    ):
        priors.driven_linear_gaussian(BASE, 3)
    with pytest.raises(ValueError, match="num_values must be a positive integer"):
        priors.InputTable(0)
    with pytest.raises(ValueError, match="at least 2, got 1"):
        priors.driven_linear_gaussian(priors.linear_gaussian(2, 1), TABLE)
