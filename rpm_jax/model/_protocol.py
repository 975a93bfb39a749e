"""What training, inference and diagnostics ask of a model."""

from typing import Any, NamedTuple, Protocol, runtime_checkable

from jax import Array

from rpm_jax.data import Batch
from rpm_jax.feeds import Source


class Terms(NamedTuple):
    """The bound of each datum of a batch, and the part of it that a weight β is put on.

    Attributes:
        bound: The log-likelihood of each datum or a bound on it, in nats, shape (B,).
        divergence: KL(q‖p), which is subtracted in it, shape (B,).
    """

    bound: Array
    divergence: Array

    def weighted(self, beta: Array | float) -> Array:
        """The bound with β KL(q‖p) in the place of KL(q‖p)."""
        return self.bound + (1.0 - beta) * self.divergence


@runtime_checkable
class Model(Protocol):
    """A model: pure functions of parameters.

    The way of the data is `recognise` (factors of some rows), `mixture` (what F_j averages over), `infer`
    (the posterior) and `terms` (the bound). What the first three return is the model's own business: nobody
    else looks into it, except that rows are taken, joined and stored along the first axis of what it
    recognises, and that what it infers has an attribute `posterior`.

    A model may have more of the following; where it has not, the default in brackets holds.

    - `is_exact` [False]: its bounds cost no more than its factors, so that means are over all data.
    - `needs_mixture` [True]: `infer` looks at the mixture.
    - `strategies` [{}]: parts of the parameters with a strategy of their own, "posterior" and "auxiliary",
      to how they are learned: "none", "networks" or "rows". `infer` then returns `conjugate`, `potentials`
      and `auxiliary` too, and warm starts match them.
    - `prepare(data) -> Data` [as they are]: data as the model likes them best.
    - `check_data(data)` [all]: raises where known data have inputs that are not for this model.
    - `default_batch_size(data) -> int` [32], `default_feed(data, batch_size) -> Feed` [`feeds.full()`].
    - `accepts(feed, data)` [all]: raises with the reason where a feed is not for this model.
    - `hold(params, rows, inferred)` [no EM]: what was inferred, without its gradient, for an M-step.
    - `with_new_rows(params, data)` [no rows]: parameters whose rows are those of other data.
    - `require_sitewise(question, views)`, `potentials_at(params, rows, site, reference, mixture)` [no
      filter]: whether the potential of a site comes from what is observed there alone, and that of one site.
    - `weights_among_all(data)` [no spreading]: log-weights that stay right where data are divided among
      devices.
    """

    def init(self, key: Array, data: Any) -> Any:
        """Initial parameters for these data, a dictionary of parts."""
        ...

    def groups(self, params: Any) -> Any:
        """How each parameter is learned: a pytree like `params` of "prior", "networks", "rows" or "none"."""
        ...

    def recognise(self, params: Any, rows: Batch) -> Any:
        """What the factors say about some rows of data, their first axis first."""
        ...

    def mixture(self, params: Any, source: Source, key: Array | None = None) -> Any:
        """The mixtures F_j with these components.

        Args:
            params: The parameters.
            source: Where the components come from.
            key: A random key for models that draw; None in evaluations, which use the same draws every time.
        """
        ...

    def infer(self, params: Any, rows: Batch, own: Any, mixture: Any) -> Any:
        """The posterior of some rows, with an attribute `posterior`.

        Args:
            params: The parameters.
            rows: B data.
            own: What the model recognised in them.
            mixture: From `mixture`, or None where the model does not need it.
        """
        ...

    def terms(self, params: Any, rows: Batch, own: Any, mixture: Any, inferred: Any) -> Terms:
        """The bound of some rows."""
        ...


def is_model(value: Any) -> bool:
    """Whether a value is a model: an instance with the methods of `Model`, and not a class."""
    return isinstance(value, Model) and not isinstance(value, type)


def ability(model: Model, name: str, default: Any) -> Any:
    """An optional member of a model, or its default."""
    return getattr(model, name, default)


def require_ability(model: Any, name: str, question: str) -> Any:
    """An optional member of a model that a question cannot do without.

    Raises:
        TypeError: Where the model does not have it.
    """
    if not hasattr(model, name):
        raise TypeError(f"{question} is not defined for {type(model).__name__}, which has no {name}")
    return getattr(model, name)
