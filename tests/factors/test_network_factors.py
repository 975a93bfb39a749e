"""Recognition factors: networks per view, shared, unnormalised, of one's own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import rpm_jax as rpm
from rpm_jax.expfam import DiagonalGaussian, Gaussian
from rpm_jax.factors import Recognition, per_view, shared, stack_views
from rpm_jax.networks import CNN, MLP, PointwiseMLP, standardised

KEY = jax.random.key(0)
RNG = np.random.default_rng(0)
SIZE = 5
ONE = DiagonalGaussian(np.zeros((1, 2)), -0.5 * np.ones((1, 2)))
SEQUENCE = DiagonalGaussian(np.zeros((3, 1)), -0.5 * np.ones((3, 1)))


def normal(*shape, dtype=float):
    return jnp.asarray(RNG.normal(size=(SIZE, *shape)), dtype)


def run(factors, views, sites=ONE):
    @jax.jit
    def both(views):
        params = factors.init(KEY, views, sites)
        return params, factors.apply(params, views, sites)

    return both(tuple(views))


def rows_close(got, expected):
    for a, b in zip(got.natural_parameters, expected.natural_parameters, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("sites", [ONE, SEQUENCE])
def test_equal_views_in_one_batch_are_a_loop(sites):
    """One stacked set of parameters; the same numbers as each view by itself."""
    network = MLP((4,)) if sites is ONE else PointwiseMLP((4,))
    views = [normal(3) for _ in range(3)]
    params, recognition = run(per_view(network), views, sites)
    assert len(params) == 1
    assert {leaf.shape[0] for leaf in jax.tree.leaves(params)} == {3}
    assert recognition.potentials.batch_shape == (SIZE, 3, sites.batch_shape[0])
    assert recognition.log_scale is None
    number = sites.num_unconstrained
    single = standardised(network.with_outputs(number))
    for j, view in enumerate(views):
        own = jax.tree.map(lambda leaf, j=j: leaf[j], params[0])
        raw = single.apply(own, view if sites is ONE else view[..., None]).reshape(SIZE, -1, number)
        rows_close(recognition.potentials[:, j], sites.potential(raw))


def test_views_have_parameters_of_their_own():
    view = normal(3)
    _, recognition = run(per_view(MLP((4,))), [view, view])
    assert np.all(recognition.potentials.eta1[:, 0] != recognition.potentials.eta1[:, 1])


def test_views_of_different_shapes_and_networks():
    """Vectors, images and scalars in one model; as if each were evaluated alone."""
    vectors, more, images, scalars = normal(3), normal(3), normal(14, 14), normal()
    networks = (MLP((4,)), MLP((4,)), CNN((2,), (3,), kernel_size=3), MLP((2,)))
    factors = per_view(networks, num_views=4)
    params, recognition = run(factors, (vectors, more, images, scalars))
    assert len(params) == 3  # the two alike are one group
    assert recognition.potentials.batch_shape == (SIZE, 4, 1)
    image = jax.tree.map(lambda leaf: leaf[0], params[1])
    network = standardised(networks[2].with_outputs(4), num_feature_axes=0)
    rows_close(recognition.potentials[:, 2], ONE.potential(network.apply(image, images)[:, None]))


def test_shared_network():
    """The same parameters and statistics for all views."""
    views = [normal(3), normal(3) + 2.0]
    params, recognition = run(shared(MLP((4,))), views)
    network = standardised(MLP((4,)).with_outputs(4))
    np.testing.assert_allclose(params[0]["statistics"]["mean"], jnp.concatenate(views).mean(0), rtol=1e-10)
    for j in range(2):
        rows_close(recognition.potentials[:, j], ONE.potential(network.apply(params[0], views[j])[:, None]))


def test_not_standardised():
    view = normal(3)
    params, recognition = run(per_view(MLP((4,)), standardise=False), [view, view])
    raw = MLP((4,), 4).apply(jax.tree.map(lambda leaf: leaf[1], params[0]), view)
    rows_close(recognition.potentials[:, 1], ONE.potential(raw[:, None]))


@pytest.mark.parametrize("sites", [ONE, SEQUENCE])
def test_unnormalised(sites):
    """One output more, which is h and leaves the potentials alone."""
    views = [normal(3), normal(3)]
    network = MLP((4,)) if sites is ONE else PointwiseMLP((4,))
    _, recognition = run(per_view(network, kind="unnormalised"), views, sites)
    assert (
        recognition.log_scale.shape == recognition.potentials.batch_shape == (SIZE, 2, sites.batch_shape[0])
    )
    assert np.std(recognition.log_scale) > 0
    assert recognition.potentials.eta1.shape[-1] == sites.eta1.shape[-1]


def test_unnormalised_model_is_fitted():
    prior = rpm.priors.static(ONE[0])
    model = rpm.RPM(prior, per_view(MLP((4,)), kind="unnormalised"))
    views = (normal(3), normal(3))
    fit = rpm.fit(model, views, key=KEY, num_steps=30)
    assert fit.bound > fit.history.train[0]


class Linear:
    """An init/apply pair that knows nothing of flax, cannot be hashed, and gives one number of outputs."""

    __hash__ = None

    def init(self, key, inputs):
        return 0.3 * jax.random.normal(key, (inputs.shape[-1], 4))

    def apply(self, params, inputs):
        return inputs @ params


def test_any_network():
    views = [normal(3), normal(3)]
    params, recognition = run(per_view(Linear(), standardise=False), views)
    rows_close(recognition.potentials[:, 1], ONE.potential((views[1] @ params[0][1])[:, None]))
    _, both = run(per_view([Linear(), MLP((3,))]), views)
    assert both.potentials.batch_shape == (SIZE, 2, 1)


def test_pointwise_network_sees_one_time():
    """A change at one time changes the factor at that time alone."""
    view = normal(3)
    factors = per_view(PointwiseMLP((4,)))
    params, _ = run(factors, [view, view], SEQUENCE)
    apply = jax.jit(lambda views: factors.apply(params, views, SEQUENCE))
    before, after = apply((view, view)), apply((view.at[:, 1].add(1.0), view))
    changed = np.any(np.asarray(before.potentials.eta1 != after.potentials.eta1), axis=(0, 3))
    np.testing.assert_array_equal(changed, [[False, True, False], [False, False, False]])


def test_flat_network_sees_all_times():
    view = normal(3)
    _, recognition = run(per_view(MLP((4,))), [view, view], SEQUENCE)
    assert recognition.potentials.batch_shape == (SIZE, 2, 3)


def test_diagonal_precision_of_a_joint_site():
    """A whole trajectory as one Gaussian site: a potential with diagonal precision from each time."""
    prior = rpm.priors.joint_gaussian_process(np.arange(3.0))
    sites = prior.apply(prior.init(KEY)).sites()
    output = rpm.outputs.DiagonalPrecision()
    factors = per_view(PointwiseMLP((4,)), output=output, kind="unnormalised")
    _, recognition = run(factors, [normal(3), normal(3)], sites)
    potentials = recognition.potentials
    assert isinstance(potentials, Gaussian)
    assert potentials.batch_shape == (SIZE, 2, 1)
    off_diagonal = potentials.eta2 * (1 - np.eye(3))
    np.testing.assert_array_equal(off_diagonal, 0.0)
    assert np.all(np.diagonal(potentials.eta2, axis1=-2, axis2=-1) < 0)
    assert np.all((sites + potentials).is_valid())
    assert recognition.log_scale.shape == (SIZE, 2, 1)
    raw = output.raw(potentials)
    rows_close(output.potentials(raw, sites), potentials)
    with pytest.raises(TypeError, match="DiagonalPrecision is for a prior with one Gaussian site, got Diag"):
        output.shape(ONE)


def test_factors_that_are_not_networks():
    """A FactorSpec of one's own, made of single views."""

    class Direct:
        def init(self, key, views, sites):
            return {"scale": jnp.ones(len(views))}

        def apply(self, params, views, sites):
            singles = [
                Recognition(sites.potential(jnp.stack([view * s, view * 0, view * 0, view * 0], -1)))
                for view, s in zip(views, params["scale"], strict=True)
            ]
            return stack_views(singles)

    model = rpm.RPM(rpm.priors.Static(ONE[0]), Direct())
    views = (normal(1), normal(1))
    params = model.init(KEY, views)
    np.testing.assert_array_equal(
        model.recognise(params, rpm.as_data(views).all()).natural.eta1[:, 1, 0, 0], views[1][:, 0]
    )
    with pytest.raises(ValueError, match="either all factors have a log_scale or none"):
        stack_views([Recognition(ONE[None]), Recognition(ONE[None], np.zeros((1, 1)))])


# Errors.


class Narrow(Linear):
    def apply(self, params, inputs):
        return (inputs @ params)[:, :3]


@pytest.mark.parametrize(
    ("make", "views", "error", "message"),
    [
        (
            lambda: per_view(Narrow()),
            (normal(3),) * 2,
            ValueError,
            r"factors of view 0: .* the network must give outputs of shape \(batch, 1, 4\) .*got \(5, 3\)",
        ),
        (
            lambda: per_view(MLP(), num_views=3),
            (normal(3),) * 2,
            ValueError,
            "made for num_views = 3 views, got 2",
        ),
        (
            lambda: per_view([MLP()] * 3),
            (normal(3),) * 2,
            ValueError,
            "hold 3 networks, but there are 2 views",
        ),
        (
            lambda: shared(MLP()),
            (normal(3), normal(4)),
            ValueError,
            r"a shared network needs views of one shape and dtype, got \[\(3,\), \(4,\)\]",
        ),
        (lambda: per_view(MLP(), num_views=0), (), ValueError, "num_views must be a positive integer, got 0"),
        (
            lambda: per_view([MLP()] * 2, num_views=3),
            (),
            ValueError,
            "network must be one network or num_views = 3, got 2",
        ),
        (lambda: per_view(3), (), TypeError, "network must be a network.*got int"),
        (lambda: per_view([MLP(), "MLP"]), (), TypeError, "network must be a network.*got str"),
    ],
)
def test_errors(make, views, error, message):
    def build_and_apply():
        factors = make()
        factors.apply(factors.init(KEY, views, ONE), views, ONE)

    with pytest.raises(error, match=message):
        build_and_apply()


def test_parameters_made_for_other_views():
    factors = per_view(MLP((3,)))
    params = factors.init(KEY, (normal(3), normal(3)), ONE)
    for views in ((normal(3),), (normal(3), normal(4))):
        with pytest.raises(ValueError, match="views must be as many and of the same shapes and dtypes"):
            factors.apply(params, views, ONE)
