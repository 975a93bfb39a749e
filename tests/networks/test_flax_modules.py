"""Modules of flax.linen as networks: pure functions of learned parameters, whatever else they hold."""

import flax.linen as nn
import jax
import numpy as np
import optax
import pytest
from flax import nnx
from support import two_views

import rpm_jax as rpm
from rpm_jax import networks
from rpm_jax.networks._flax import FlaxModule

KEY = jax.random.key(0)
VIEWS = two_views(0, size=12)
PRIOR = rpm.priors.static(rpm.expfam.Categorical(np.zeros(2)))


class Normalised(nn.Module):
    """With running statistics."""

    use_running_average: bool = True

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(
            nn.BatchNorm(use_running_average=self.use_running_average, momentum=0.9)(nn.Dense(4)(x))
        )


class Dropped(nn.Module):
    deterministic: bool | None = True

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=self.deterministic)(nn.Dense(4)(x)))


class Trained(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(2)(nn.Dropout(0.5, deterministic=not train)(x))


class Evaluated(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(x))


def statistics(params):
    flat = jax.tree_util.tree_leaves_with_path(params)
    return {
        jax.tree_util.keystr(path): leaf for path, leaf in flat if "batch_stats" in jax.tree_util.keystr(path)
    }


@pytest.mark.parametrize("network", [Normalised(), Evaluated()], ids=lambda n: type(n).__name__)
@pytest.mark.parametrize(
    "optimizer", [None, optax.adamw(0.1, weight_decay=0.1)], ids=["default", "weight decay"]
)
def test_running_statistics_are_constants(network, optimizer):
    """No optimiser moves them, nor does weight decay; everything else is learned."""
    model = rpm.RPM(PRIOR, rpm.factors.per_view(network))
    data = rpm.as_data(VIEWS)
    start = jax.jit(model.init)(KEY, data)
    kept = statistics(start)
    assert len(kept) == 2
    groups = statistics(model.groups(start))
    assert set(groups.values()) == {"none"}
    fit = rpm.fit(model, VIEWS, key=KEY, num_steps=20, optimizer=optimizer, params=start)
    for name, value in statistics(fit.params).items():
        np.testing.assert_array_equal(value, kept[name])
    kernels = [
        params["factors"][0]["network"]["params"]["Dense_0"]["kernel"] for params in (start, fit.params)
    ]
    assert np.all(kernels[0] != kernels[1])


def test_posteriors_have_constants_too():
    network = networks.concatenated(Normalised())
    gaussian = rpm.priors.static(rpm.expfam.DiagonalGaussian(np.zeros(1), -0.5 * np.ones(1)))
    model = rpm.RPM(gaussian, rpm.factors.per_view(networks.MLP((3,))), rpm.posteriors.amortized(network))
    params = jax.jit(model.init)(KEY, rpm.as_data(VIEWS))
    assert set(statistics(model.groups(params)).values()) == {"none"}


def test_evaluation_is_that_of_flax():
    """With the variables where flax has them."""
    network, module = networks.as_network("network", Normalised()), Normalised()
    params = network.init(KEY, VIEWS[0])
    variables = {"params": params["params"], **params["statistics"]}
    jax.tree.map(np.testing.assert_array_equal, variables, module.init(KEY, VIEWS[0]))
    np.testing.assert_array_equal(network.apply(params, VIEWS[0]), module.apply(variables, VIEWS[0]))
    deterministic = networks.as_network("network", Dropped())
    assert set(deterministic.init(KEY, VIEWS[0])) == {"params"}


def test_what_a_module_offers_is_passed_on():
    class Open(nn.Module):
        number: int = 1
        pointwise = True

        def with_outputs(self, number):
            return self.clone(number=number)

        @nn.compact
        def __call__(self, x):
            return nn.Dense(self.number)(x)

    network = networks.as_network("network", Open())
    assert network.pointwise
    assert networks.with_outputs(network, 3) == FlaxModule(Open(3))
    assert networks.with_outputs(networks.as_network("network", Dropped()), 3).module == Dropped()
    assert networks.starting_at_zero(network) == network
    assert hash(network) == hash(networks.as_network("network", Open()))
    assert networks.as_network("network", networks.MLP()) == networks.MLP()


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (
            Normalised(use_running_average=False),
            r"Normalised updates variables when it is applied, as BatchNorm.*LayerN",
        ),
        (
            Dropped(deterministic=False),
            r"Dropped draws random numbers when it is applied.*deterministic=True",
        ),
        (Dropped(deterministic=None), r"Dropped does not say whether it is in evaluation mode"),
        (Trained(), r"Trained is called with its inputs alone, but also takes train; give these a default"),
        (networks.MLP, r"network must be an instance, got the class MLP; call it: MLP\(...\)"),
        (nnx.Linear(2, 2, rngs=nnx.Rngs(0)), r"got a module of flax.nnx, which holds its own.*nnx.split"),
        (type("Linear", (), {"__module__": "equinox.nn"})(), r"a module of equinox.*equinox.partition"),
        (3, r"network must be a network: a flax.linen module or any object .* got int"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_refusals(module, message):
    with pytest.raises(TypeError, match=message):
        rpm.RPM(PRIOR, rpm.factors.per_view(module)).init(KEY, VIEWS)
    with pytest.raises(TypeError, match=message):
        networks.concatenated(module).init(KEY, VIEWS)
