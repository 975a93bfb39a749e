"""Factors whose natural parameters are the outputs of networks."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax.errors import ScopeParamShapeError
from jax import Array

from rpm_jax._equality import is_array
from rpm_jax._record import record
from rpm_jax._structure import freeze
from rpm_jax.factors._base import Recognition, natural_parameters
from rpm_jax.incomplete import Incomplete, View, as_taken_by, join_views
from rpm_jax.networks import Network, Standardised, standardised, with_outputs
from rpm_jax.outputs import OutputMap, SiteOutputs, to_positions


class _Group(NamedTuple):
    """Views that one batched computation serves: same network, same shape and type."""

    network: Any
    indices: tuple[int, ...]

    def inputs(self, views: tuple[View, ...]) -> View:
        """The views stacked, as far as the network takes what is missing of them."""
        return as_taken_by(self.network, (join_views(jnp.stack, [views[j] for j in self.indices], 0),))[0]


@record
class NetworkFactors:
    """Factors given by networks; build them with `per_view` or `shared`.

    Attributes:
        networks: One for all views, or J of them.
        num_views: J, or None to take it from the data.
        share: Whether all views have the same parameters.
        kind: "normalised", "scaled" or "unnormalised".
        standardise: Whether inputs are shifted and scaled.
        output: From real outputs to potentials.
    """

    networks: tuple[Any, ...]
    num_views: int | None = None
    share: bool = False
    kind: str = "normalised"
    standardise: bool | str = True
    output: OutputMap = SiteOutputs()
    takes_missing = True

    def init(self, key: Array, views: tuple[View, ...], sites: Any) -> tuple:
        """Parameters: for each group of alike views a stack over its views, or one set if shared."""
        views, groups = self._prepare(views, sites)
        keys = jax.random.split(key, len(groups))
        params = []
        for group, group_key in zip(groups, keys, strict=True):
            inputs = group.inputs(views)
            if self.share:
                params.append(group.network.init(group_key, inputs.reshape(-1, *inputs.shape[2:])))
            else:
                params.append(jax.vmap(group.network.init)(jax.random.split(group_key, len(inputs)), inputs))
        return tuple(params)

    def apply(self, params: Any, views: tuple[View, ...], sites: Any) -> Recognition:
        """Evaluate the networks, alike views in one batched computation."""
        views, groups = self._prepare(views, sites)
        positions, number = self._output_shape(sites)
        self._check_params(params, views, groups)
        raw: list[Any] = [None] * len(views)
        for group, group_params in zip(groups, params, strict=True):
            inputs = group.inputs(views)
            try:
                if self.share:
                    outputs = group.network.apply(group_params, inputs.reshape(-1, *inputs.shape[2:]))
                    outputs = outputs.reshape(*inputs.shape[:2], *outputs.shape[1:])
                else:
                    outputs = jax.vmap(group.network.apply)(group_params, inputs)
            except ScopeParamShapeError as error:
                raise ValueError(
                    f"views {list(group.indices)} must have the shape of those that the parameters were made "
                    f"for, got {inputs.shape[1:]}: {str(error).splitlines()[0]}"
                ) from None
            for j, output in zip(group.indices, outputs, strict=True):
                raw[j] = to_positions(output, positions, number, f"factors of view {j}")
        stacked = jnp.stack(raw, axis=1)
        if self.kind == "normalised":
            return Recognition(self.output.potentials(stacked, sites))
        stacked, scale = stacked[..., :-1], stacked[..., -1]
        # A static output map with several positions per site sums their contributions to h.
        log_scale = scale.reshape(*scale.shape[:2], sites.batch_shape[-1], -1).sum(-1)
        potentials = self.output.potentials(stacked, sites)
        if self.kind == "scaled":
            log_scale = log_scale - natural_parameters(potentials, sites).log_partition()
        return Recognition(potentials, log_scale)

    def at_site(self, params: Any, views: tuple[View, ...], sites: Any, site: Array) -> Recognition:
        """The factors of one site, where they are sitewise: the same at all sites."""
        del site
        return self.apply(params, views, sites)

    def is_sitewise(self, views: tuple[View, ...], sites: Any) -> bool:
        """Whether every factor f_jt depends on what is observed at its own site alone.

        Args:
            views: J arrays, or their shapes.
            sites: The prior's sites, T > 1 of them.
        """
        positions, _ = self._output_shape(sites)
        return getattr(self.output, "is_sitewise", False) and all(
            (getattr(network, "pointwise", False) or view.ndim > 3)
            and view.ndim > 1
            and view.shape[1] == positions
            for network, view in zip(self.networks * (len(views) // len(self.networks)), views, strict=True)
        )

    def _check_params(self, params: Any, views: tuple[View, ...], groups: list[_Group]) -> None:
        """Raise `ValueError` where parameters were made for other views than these."""
        sizes = [jax.tree.leaves(group)[0].shape[:1] for group in params if jax.tree.leaves(group)]
        expected = [(len(group.indices),) for group in groups]
        if len(params) != len(groups) or (not self.share and len(sizes) == len(groups) and sizes != expected):
            raise ValueError(
                "views must be as many and of the same shapes and dtypes as those that the parameters were "
                f"made for, got J = {len(views)} views of shapes {[view.shape for view in views]}"
            )
        for group, own in zip(groups, params, strict=True):
            if not isinstance(group.network, Standardised) or group.network.num_feature_axes == 0:
                continue
            number = own["statistics"]["mean"].shape[-1]
            for j in group.indices:
                if views[j].shape[-1] != number:
                    raise ValueError(
                        f"views[{j}] must have the {number} features on its last axis that the parameters "
                        f"were made for, got shape {views[j].shape}"
                    )

    def _output_shape(self, sites: Any) -> tuple[int, int]:
        positions, number = self.output.shape(sites)
        return positions, number + (0 if self.kind == "normalised" else 1)

    def _prepare(self, views: tuple[View, ...], sites: Any) -> tuple[tuple[View, ...], list[_Group]]:
        """Views with a feature axis, and their groups."""
        if self.num_views is not None and len(views) != self.num_views:
            raise ValueError(
                f"the factors were made for num_views = {self.num_views} views, got {len(views)}"
            )
        if len(self.networks) not in (1, len(views)):
            raise ValueError(
                f"the factors hold {len(self.networks)} networks, but there are {len(views)} views"
            )
        positions, number = self._output_shape(sites)
        networks = self.networks * (len(views) // len(self.networks))
        views = tuple(_as_input(view, n, positions) for view, n in zip(views, networks, strict=True))
        members: dict[Any, list[int]] = {}
        identities = [_identity(network, j) for j, network in enumerate(self.networks)]
        identities *= len(views) // len(identities)
        for j, (identity, view) in enumerate(zip(identities, views, strict=True)):
            members.setdefault((identity, view.shape[1:], view.dtype), []).append(j)
        if self.share and len(members) > 1:
            shapes = [view.shape[1:] for view in views]
            raise ValueError(f"a shared network needs views of one shape and dtype, got {shapes}")
        return views, [
            _Group(self._complete(networks[indices[0]], views[indices[0]], positions, number), tuple(indices))
            for indices in members.values()
        ]

    def _complete(self, network: Any, view: View, positions: int, number: int) -> Network:
        """The network with its number of outputs and standardised inputs."""
        at_positions = positions > 1 and view.ndim > 2 and view.shape[1] == positions
        pointwise = getattr(network, "pointwise", False)
        if pointwise and positions > 1 and not at_positions:
            raise ValueError(
                f"views must have the prior's {positions} sites on axis 1, (N, {positions}) or "
                f"(N, {positions}, D), for a network that acts on every site alone; got shape {view.shape}"
            )
        # Images at every site: the network sees each alone.
        image_sites = at_positions and not pointwise and view.ndim > 3
        network = with_outputs(network, number if pointwise or image_sites else positions * number)
        if image_sites:
            network = _AtSites(network)
        if not self.standardise:
            return network
        by_feature = view.ndim == 2 or (at_positions and not image_sites)
        return standardised(network, 1 if by_feature else 0, robust=self.standardise == "robust")


@record
class _AtSites:
    """A network of (n, ...) applied to (n, T, ...) at every site."""

    network: Any
    num_site_axes = 1

    @property
    def takes_indicators(self) -> bool:
        """As the network."""
        return getattr(self.network, "takes_indicators", True)

    def init(self, key: Array, inputs: Array, /) -> Any:
        return self.network.init(key, inputs.reshape(-1, *inputs.shape[2:]))

    def apply(self, params: Any, inputs: Array, /) -> Array:
        outputs = self.network.apply(params, inputs.reshape(-1, *inputs.shape[2:]))
        return outputs.reshape(*inputs.shape[:2], -1)


def with_features(view: View, positions: int) -> View:
    """Sequences of scalars (n, T) as (n, T, 1), scalars (n,) as (n, 1); other views as they are."""
    is_scalar_sequence = positions > 1 and view.ndim == 2 and view.shape[1] == positions
    return view[..., None] if view.ndim == 1 or is_scalar_sequence else view


def _identity(network: Any, index: int) -> Any:
    """What networks have in common that are evaluated together: type and fields.

    Those that hold arrays are told apart by their place, since arrays cannot be compared under `jit`.
    """
    holds_arrays = any(map(is_array, jax.tree.leaves(network)))
    return index if holds_arrays else freeze(network)


def _as_input(view: View, network: Any, positions: int) -> View:
    """A view with a feature axis.

    A network that sees a scalar at every site alone is not told that it is missing, since its output is left
    out there.
    """
    view = with_features(view, positions)
    is_scalar = positions > 1 and view.ndim == 3 and view.shape[1:] == (positions, 1)
    if isinstance(view, Incomplete) and is_scalar and getattr(network, "pointwise", False):
        return view.without_indicators()
    return view
