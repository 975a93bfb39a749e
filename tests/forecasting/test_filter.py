"""Filtering, all sites at once and a step at a time, against conditioning on every prefix."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases.fitted_sequences import (
    FUTURE,
    FUTURE_TIMES,
    HORIZON,
    MASK,
    NEW,
    NEW_INPUTS,
    PRIORS,
    SITES,
    STEPPED,
    TIMES,
    conditioned,
    fitted,
    is_discrete,
    marginals,
    new_data,
    potentials,
)
from support import init, two_views

import rpm_jax as rpm
from rpm_jax.forecasting import filter_init, filter_step
from rpm_jax.priors import filtered, kernels, solvers

KEY = jax.random.key(0)


def assert_same(sites, other, atol=1e-10):
    for got, expected in zip(sites.mean_parameters(), other.mean_parameters(), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-10, atol=atol)


@pytest.mark.parametrize("name", PRIORS)
def test_filter_by_brute_force(name):
    got = rpm.forecasting.filter(fitted(name), new_data(name))
    for n in range(NEW):
        for t in range(SITES):
            if is_discrete(name):
                np.testing.assert_allclose(got.mean[n, t], marginals(name, n, t + 1)[t], atol=1e-12)
                continue
            mean, covariance = conditioned(name, n, t + 1)
            np.testing.assert_allclose(got.mean[n, t], mean[t], atol=1e-10)
            np.testing.assert_allclose(got.covariance[n, t], covariance[t, :, t], atol=1e-10)
            deviation = np.sqrt(np.diag(covariance[t, :, t]))
            np.testing.assert_allclose(got.standard_deviation[n, t], deviation, atol=1e-10)


@pytest.mark.parametrize("name", ["driven hidden Markov", "linear Gaussian", "own times"])
def test_filter_is_the_posterior_of_each_prefix(name):
    """What comes later is masked; with the data of the fit where none are given."""
    own = fitted(name)
    got = rpm.forecasting.filter(own)
    for t in (0, SITES - 1):
        mask = np.broadcast_to(np.arange(SITES) <= t, (6, 2, SITES))
        prefix = rpm.inference.infer(own, own.data._replace(mask=jnp.asarray(mask)))
        assert_same(got.sites[:, t], prefix.sites[:, t])


def moments_of_steps(name, data):
    """Inputs and times of step t, as `filter_step` takes them."""

    def at(t):
        if name == "own times":
            return {"times": data.inputs[:, t]}
        if "driven" in name:
            return {"inputs": None if t == 0 else data.inputs[:, t - 1]}
        return {}

    return at


@pytest.mark.parametrize("name", STEPPED)
def test_steps_are_the_filter(name):
    """A carried state, missing views, and at its end a rollout that is the forecast."""
    own, data = fitted(name), new_data(name)
    expected = rpm.forecasting.filter(own, data).sites
    options = moments_of_steps(name, data)
    state = filter_init(own, NEW)
    for t in range(SITES):
        views = tuple(view[:, t] for view in data.views)
        state, site = filter_step(state, views, mask=MASK[:, :, t], **options(t))
        assert site.batch_shape == (NEW,)
        assert_same(site, expected[:, t])
    assert int(state.site) == SITES
    kind = "codes" if "driven" in name else "times"
    future = {"inputs" if kind == "codes" else "times": FUTURE[kind]}
    if name in ("Matern", "mixed"):
        future = {"times": FUTURE_TIMES}
    if name in ("hidden Markov", "linear Gaussian"):
        future = {}
    forecast = rpm.forecasting.forecast(own, HORIZON, data, **future)
    rolled = rpm.forecasting.rollout(own, state, HORIZON, **future)
    assert_same(rolled.sites, forecast.sites)
    np.testing.assert_allclose(rolled.covariance, forecast.covariance, atol=1e-10)
    np.testing.assert_allclose(rolled.standard_deviation, forecast.standard_deviation, atol=1e-10)


@pytest.mark.parametrize("name", ["linear Gaussian", "hidden Markov", "Matern", "own times"])
def test_a_state_is_carried_through_a_scan(name):
    own, data = fitted(name), new_data(name, None)
    expected = rpm.forecasting.filter(own, data).sites

    @jax.jit
    def scan(state, views, times):
        def step(state, given):
            views, time = given
            state, site = filter_step(state, views, times=time)
            return state, site.natural_parameters

        return jax.lax.scan(step, state, (views, times))

    times = data.inputs.T if name == "own times" else None
    ordered = tuple(jnp.moveaxis(view, 1, 0) for view in data.views)
    state, natural = scan(filter_init(own, NEW), ordered, times)
    assert int(state.site) == SITES
    assert_same(expected.replace(natural).moveaxis(0, 1), expected)


def test_steps_behind_the_last_site():
    """A chain filters for as long as data come: as a longer model with the same parameters."""
    own = fitted("linear Gaussian")
    longer = rpm.RPM(rpm.priors.linear_gaussian(2, 3 * SITES, stationary=False), own.model.factors)
    views = two_views(1, size=NEW, sites=3 * SITES)
    params = own.params
    expected = rpm.forecasting.filter(rpm.Fitted(longer, params, views)).sites
    state = filter_init(own, NEW)
    for t in range(3 * SITES):
        state, site = filter_step(state, tuple(view[:, t] for view in views))
    assert_same(site, expected[:, -1])


def test_times_of_steps():
    """Irregular times, and sites that nobody looks at; the default goes on with the last step."""
    own, data = fitted("Matern"), new_data("Matern", None)
    views = tuple(view[:, 0] for view in data.views)
    state, _ = filter_step(filter_init(own, NEW), views)
    one, site = filter_step(state, None, times=0.7)
    two, _ = filter_step(state, None, times=[0.3, 0.4])
    assert_same(filter_step(two, None, times=0.7)[1], site)
    for _ in range(5):
        state, _ = filter_step(state, None)
    np.testing.assert_allclose(state.time, TIMES[-1] + 2 * (TIMES[-1] - TIMES[-2]))
    with pytest.raises(ValueError, match="times must increase from step to step"):
        filter_step(one, None, times=0.7)
    with pytest.raises(TypeError, match="times must be an array of real numbers"):
        filter_step(one, None, times="noon")
    with pytest.raises(
        ValueError, match=r"times must be a number, or have shape \(n,\) = \(2,\), got shape \(3,\)"
    ):
        filter_step(one, None, times=[1.0, 1.0, 1.0])
    with pytest.raises(TypeError, match="state must be that of filter_init or filter_step, got tuple"):
        filter_step((one, site), None)


def test_exact_posterior_behind_the_last_site():
    """F_jt is of each site unless the model pools them."""
    views = two_views(0, size=6, sites=SITES)
    new = tuple(view[:, 0] for view in views)
    for pooled in (False, True):
        model = rpm.RPM(
            rpm.priors.hidden_markov(3, SITES),
            rpm.factors.per_view(rpm.networks.PointwiseMLP((3,))),
            pooled=pooled,
        )
        own = rpm.Fitted(model, init(model, KEY, rpm.as_data(views)), views)
        state = filter_init(own, 6)
        for t in range(SITES):
            state, site = filter_step(state, tuple(view[:, t] for view in views))
        assert_same(site, rpm.forecasting.filter(own).sites[:, -1])
        if pooled:
            assert np.all(np.isfinite(filter_step(state, new)[1].logits))
        else:
            with pytest.raises(ValueError, match="nothing to say of sites behind its T = 4"):
                filter_step(state, new)


def test_factors_of_images_and_precisions_by_site():
    """Networks that see images of every site alone; parameters that differ by site."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(5, SITES, 4, 4))
    series = rng.normal(size=(5, SITES, 2))
    chain = rpm.priors.linear_gaussian(1, SITES)
    cnn = rpm.networks.CNN((2,), (3,), kernel_size=3)
    factors = {
        "images": rpm.factors.per_view([cnn, rpm.networks.PointwiseMLP((3,))]),
        "by site": rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)), precision="by site"),
    }
    for name, views in (("images", (images, series)), ("by site", (series, series[..., ::-1]))):
        model = rpm.RPM(chain, factors[name])
        params = init(model, KEY, rpm.as_data(views))
        if name == "by site":
            precision = params["factors"]["precision"]
            shift = np.arange(precision.size).reshape(precision.shape) / 4
            params["factors"]["precision"] = precision + shift
        own = rpm.Fitted(model, params, views)
        expected = rpm.forecasting.filter(own).sites
        state = filter_init(own, 5)
        for t in range(SITES):
            state, site = filter_step(state, tuple(view[:, t] for view in views))
            assert_same(site, expected[:, t])
    with pytest.raises(ValueError, match="nothing to say of sites behind its T = 4"):
        filter_step(state, tuple(view[:, 0] for view in views))


def test_priors_of_ones_own_and_many_sites():
    """Without a filter of their own priors are conditioned on every prefix; square roots keep digits."""
    prior = fitted("dense").model.prior_of(fitted("dense").params)

    class Wrapped:
        def sites(self):
            return prior.sites()

        def condition(self, potentials):
            return prior.condition(potentials)

    assert_same(filtered(Wrapped(), potentials("dense")), prior.filter(potentials("dense")))
    topics = rpm.priors.DirichletCategorical(np.ones(3), SITES)
    with pytest.raises(TypeError, match="posterior of DirichletCategorical is itself an approximation"):
        filtered(topics, rpm.expfam.Categorical(np.zeros((SITES, 3))))
    times = np.arange(60) / 20
    lam = rpm.expfam.DiagonalGaussian(np.sin(times)[:, None] * 50, np.full((60, 1), -25.0))
    spec = rpm.priors.gaussian_process(times, kernels.Matern(1.5, 2.0), solver=solvers.dense())
    fast = rpm.priors.gaussian_process(times, kernels.Matern(1.5, 2.0), solver=solvers.markov())
    params = spec.init(KEY)
    assert_same(spec.apply(params).filter(lam), fast.apply(params).filter(lam), atol=1e-9)
    matrices = rpm.priors.gaussian_process(
        times, kernels.Matern(1.5, 2.0), solver=solvers.markov(parallel=True)
    )
    assert_same(matrices.apply(params).filter(lam), fast.apply(params).filter(lam), atol=1e-9)


def test_refusals():
    data = rpm.as_data(two_views(0, size=6, sites=SITES))
    network = rpm.networks.PointwiseMLP((3,))
    chain = rpm.priors.linear_gaussian(1, SITES)

    def fitted_model(*parts):
        model = rpm.RPM(*parts)
        return rpm.Fitted(model, init(model, KEY, data), data)

    amortized = rpm.posteriors.amortized(rpm.networks.stacked(network))
    for question in (rpm.forecasting.filter, filter_init):
        with pytest.raises(
            TypeError, match=r"potentials that come from what is observed .* Amortized may look"
        ):
            question(fitted_model(chain, rpm.factors.per_view(network), amortized))
        with pytest.raises(TypeError, match="needs factors that look at one site alone"):
            question(fitted_model(chain, rpm.factors.per_view(rpm.networks.MLP((3,)))))
        with pytest.raises(TypeError, match=r"asks how the prior goes on .* got ImplicitRPM"):
            question(rpm.Fitted(rpm.ImplicitRPM(chain, rpm.factors.per_view(network)), {}, data))
    with pytest.raises(
        TypeError, match=r"solver=Dense\(\) has no states .* take solver=solvers.markov\(\), and"
    ):
        filter_init(fitted("dense"))
    with pytest.raises(TypeError, match=r"the prior Independent is no chain of states"):
        filter_init(
            fitted_model(
                rpm.priors.Independent(rpm.expfam.VonMises(np.ones((1, 2))), SITES),
                rpm.factors.per_view(network),
            )
        )
    own = fitted("driven linear Gaussian")
    state = filter_init(own, NEW)
    views = tuple(view[:NEW, 0] for view in data.views)
    with pytest.raises(ValueError, match="views must be those of one site of num_data = 2 sequences"):
        filter_step(state, tuple(view[:, 0] for view in data.views))
    with pytest.raises(ValueError, match="times: the prior's steps are all alike"):
        filter_step(state, views, times=0.5)
    state, _ = filter_step(state, views)
    with pytest.raises(ValueError, match="driven by inputs; pass those of this step"):
        filter_step(state, views)
    with pytest.raises(ValueError, match="num_data must be a positive integer"):
        filter_init(own, 0)
    with pytest.raises(ValueError, match="times: each datum has times of its own"):
        filter_step(filter_init(fitted("own times"), NEW), views)
    assert NEW_INPUTS["codes"].shape == (NEW, SITES - 1)


@rpm.record
class Linear:
    """Factors of one's own: g = (x, −½) z of scalar views, at every site by itself."""

    def init(self, key, views, sites):
        return {}

    def apply(self, params, views, sites):
        linear = jnp.stack(views, axis=1)[..., None]
        return rpm.factors.Recognition(rpm.expfam.DiagonalGaussian(linear, -0.5 * jnp.ones_like(linear)))


@rpm.record
class Sitewise:
    """The same, said to look at one site alone."""

    factors: Linear = Linear()

    def init(self, key, views, sites):
        return {}

    def apply(self, params, views, sites):
        return self.factors.apply(params, views, sites)

    def is_sitewise(self, views, sites):
        return True


@rpm.record
class OneSite:
    """The same, which can be asked for one site."""

    factors: Sitewise = Sitewise()

    def init(self, key, views, sites):
        return {}

    def apply(self, params, views, sites):
        return self.factors.apply(params, views, sites)

    def is_sitewise(self, views, sites):
        return True

    def at_site(self, params, views, sites, site):
        return self.apply(params, [view[:, None] for view in views], sites)


def test_factors_of_ones_own():
    """They say what they look at, or are refused: nothing is guessed."""
    prior = rpm.priors.gaussian_process(TIMES, kernels.Matern(0.5), solver=solvers.markov())
    views = two_views(0, size=3, sites=SITES)

    def own(factors):
        model = rpm.RPM(prior, factors)
        return rpm.Fitted(model, init(model, KEY, rpm.as_data(views)), views)

    with pytest.raises(TypeError, match=r"factors of your own with is_sitewise.*those of Linear may look"):
        rpm.forecasting.filter(own(Linear()))
    with pytest.raises(
        TypeError, match=r"filter_init needs factors of one site by itself.*Sitewise does not"
    ):
        filter_init(own(Sitewise()))
    expected = rpm.forecasting.filter(own(Sitewise())).sites
    state = filter_init(own(OneSite()), 3)
    for t in range(SITES):
        state, site = filter_step(state, tuple(view[:, t] for view in views))
        assert_same(site, expected[:, t])


def test_a_step_costs_the_same_whatever_came_before():
    """Arithmetic of a step does not grow with T, nor does its state's part that changes."""

    def cost(number):
        model = rpm.RPM(
            rpm.priors.linear_gaussian(2, number), rpm.factors.per_view(rpm.networks.PointwiseMLP((3,)))
        )
        views = two_views(0, size=3, sites=number)
        params = fitted("linear Gaussian").params | {"prior": model.prior.init(KEY)}
        state = filter_init(rpm.Fitted(model, params, views), 3)
        step = jax.jit(lambda state, views: filter_step(state, views))
        analysis = step.lower(state, tuple(view[:, 0] for view in views)).cost_analysis()
        return analysis["flops"]

    assert cost(SITES) == cost(100 * SITES) > 0
