"""What a fit returns, and what it can be asked."""

from typing import Any

import jax
import numpy as np
from jax import Array

from rpm_jax import diagnostics, forecasting, generation, inference
from rpm_jax._record import record
from rpm_jax.data import Data
from rpm_jax.inference import Against
from rpm_jax.priors import Posterior
from rpm_jax.train._history import History


@record
class Fit:
    """A fitted model. Its questions are those of `inference`, `forecasting`, `diagnostics` and `generation`.

    Attributes:
        model: The model.
        params: The parameters: the last, or with early stopping the best by the bound it watches. Where their
            bound is not finite, the last for which it is.
        data: The data of the fit, as they were given.
        history: The course of the run.
        bound: The mean bound over all data (1000 evenly spread ones of more), F_j over all data, in nats.
        held_out_bound: The mean bound over the held-out data, or None.
    """

    model: Any
    params: Any
    data: Data
    history: History
    bound: Any
    held_out_bound: Any = None

    def __repr__(self) -> str:
        """What happened, in a few lines."""
        history = self.history
        held_out = "" if self.held_out_bound is None else f", held-out {_nats(self.held_out_bound)}"
        skipped = f", {int(history.skipped)} left out" if history.skipped else ""
        return "\n  ".join(
            (
                f"Fit(bound {_nats(self.bound)}{held_out}; {history.train.shape[-1]} steps{skipped}, "
                f"{history.ending})",
                *(f"warning: {text}" for text in history.warnings),
            )
        )

    @property
    def prior(self) -> Any:
        """The prior with the fitted parameters; with inputs, of each datum of the fit."""
        return self.model.prior_of(self.params, self.data.inputs)

    def posterior(self) -> Posterior:
        """q(Z|X) of the data of the fit; `rpm_jax.inference.posterior`."""
        return inference.posterior(self)

    def inferred(self) -> Any:
        """All that the model infers for the data of the fit; `rpm_jax.inference.inferred`."""
        return inference.inferred(self)

    def infer(self, views: Any, *, against: str | Against = "train") -> Posterior:
        """q(Z|X) of other data; `rpm_jax.inference.infer`."""
        return inference.infer(self, views, against=against)

    def evaluate(self, views: Any, *, against: str | Against = "train") -> Array:
        """The bound of each of other data; `rpm_jax.inference.evaluate`."""
        return inference.evaluate(self, views, against=against)

    def filter(self, data: Any = None, *, against: str | Against = "train") -> Any:
        """p(z_t | x_1..t) of every site; `rpm_jax.forecasting.filter`."""
        return forecasting.filter(self, data, against=against)

    def filter_init(self, num_data: int = 1) -> Any:
        """The state for `rpm_jax.forecasting.filter_step`; `rpm_jax.forecasting.filter_init`."""
        return forecasting.filter_init(self, num_data)

    def forecast(self, horizon: int, data: Any = None, **options: Any) -> Any:
        """Latents behind the last site; `rpm_jax.forecasting.forecast`."""
        return forecasting.forecast(self, horizon, data, **options)

    def rollout(self, state: Any, horizon: int, **options: Any) -> Any:
        """Latents behind a state; `rpm_jax.forecasting.rollout`."""
        return forecasting.rollout(self, state, horizon, **options)

    def most_likely_path(self, data: Any = None, *, against: str | Against = "train") -> Any:
        """Of a hidden Markov chain (Viterbi); `rpm_jax.forecasting.most_likely_path`."""
        return forecasting.most_likely_path(self, data, against=against)

    def log_ratios(self, views: Any, *, against: str | Against = "train") -> Any:
        """Log f_jt − log F_jt of categorical latents; `rpm_jax.inference.log_ratios`."""
        return inference.log_ratios(self, views, against=against)

    def log_likelihood_estimate(self, views: Any, key: Array, **options: Any) -> Any:
        """By importance sampling; `rpm_jax.diagnostics.log_likelihood_estimate`."""
        return diagnostics.log_likelihood_estimate(self, views, key, **options)

    def log_likelihood_quadrature(self, views: Any, **options: Any) -> Any:
        """By integration; `rpm_jax.diagnostics.log_likelihood_quadrature`."""
        return diagnostics.log_likelihood_quadrature(self, views, **options)

    def bound_gap(self, views: Any, key: Array | None = None, **options: Any) -> Any:
        """How far the bound is below the likelihood, and why; `rpm_jax.diagnostics.bound_gap`."""
        return diagnostics.bound_gap(self, views, key, **options)

    def mixture_divergence(self, key: Array, **options: Any) -> Any:
        """KL(F_j‖prior); `rpm_jax.diagnostics.mixture_divergence`."""
        return diagnostics.mixture_divergence(self, key, **options)

    def log_partition_error(self, views: Any = None) -> Any:
        """How far factors are from normalised; `rpm_jax.diagnostics.log_partition_error`."""
        return diagnostics.log_partition_error(self, views)

    def integral(self, key: Array, **options: Any) -> Any:
        """∫ p(X) dX of an implicit model; `rpm_jax.diagnostics.integral`."""
        return diagnostics.integral(self, key, **options)

    def log_density_ratio(self, views: Any, **options: Any) -> Array:
        """Log p(X) − Σ_j log p0(x_j); `rpm_jax.diagnostics.log_density_ratio`."""
        return diagnostics.log_density_ratio(self, views, **options)

    def total_correlation(self, views: Any, **options: Any) -> Any:
        """The dependence of the views; `rpm_jax.diagnostics.total_correlation`."""
        return diagnostics.total_correlation(self, views, **options)

    def sample(self, key: Array, shape: tuple[int, ...] = ()) -> Any:
        """Latents and data from the model; `rpm_jax.generation.sample`."""
        return generation.sample(self, key, shape)

    def component_log_weights(self, latents: Array) -> Array:
        """Log p(x_j = x_j^n|z); `rpm_jax.generation.component_log_weights`."""
        return generation.component_log_weights(self, latents)

    def mixture_log_density(self, latents: Array) -> Array:
        """Log F_j(z); `rpm_jax.generation.mixture_log_density`."""
        return generation.mixture_log_density(self, latents)

    def predictive_log_weights(self, views: Any, view: int, **options: Any) -> Array:
        """One view from others; `rpm_jax.generation.predictive_log_weights`."""
        return generation.predictive_log_weights(self, views, view, **options)

    def impute(self, data: Any, view: int, **options: Any) -> Any:
        """Missing values of a view; `rpm_jax.generation.impute`."""
        return generation.impute(self, data, view, **options)

    def predict(
        self, views: Any, view: int, key: Array, shape: tuple[int, ...] = (), **options: Any
    ) -> Array:
        """Draws of one view from others; `rpm_jax.generation.predict`."""
        return generation.predict(self, views, view, key, shape, **options)


@record
class Sweep:
    """Fits from several seeds; every array has a leading axis of them.

    Attributes:
        model: The model.
        params: The parameters.
        data: The data of the fits, as they were given.
        history: The course of the runs.
        bound: The mean bound over all data, shape (seeds,).
        held_out_bound: The mean bound over the held-out data, shape (seeds,), or None.
        stacked_data: Whether the arrays of the data have an axis of seeds too.
    """

    model: Any
    params: Any
    data: Data
    history: History
    bound: Any
    held_out_bound: Any = None
    stacked_data: bool = False

    def __repr__(self) -> str:
        """What happened, in a few lines."""
        finite = np.flatnonzero(np.isfinite(self.bound))
        lines = [f"Sweep({self.size} seeds"]
        if len(finite):
            best = self.best_index()
            bounds = np.asarray(self.bound)[finite]
            lines[0] += f"; bound {_nats(self.bound[best])} (seed {best}), median {_nats(np.median(bounds))}"
            if self.held_out_bound is not None:
                lines[0] += f", held-out {_nats(self.held_out_bound[best])}"
        if len(finite) < self.size:
            lines[0] += f"; {self.size - len(finite)} without a finite bound"
        lines[0] += f"; {self.history.train.shape[-1]} steps, {self.history.ending})"
        lines += [f"warning: {text}" for text in self.history.warnings]
        return "\n  ".join(lines)

    @property
    def size(self) -> int:
        """The number of seeds."""
        return len(self.bound)

    def run(self, seed: int) -> Fit:
        """The fit of one seed."""
        data = self.data
        return Fit(
            self.model,
            jax.tree.map(lambda leaf: leaf[seed], self.params),
            jax.tree.map(lambda leaf: leaf[seed], data) if self.stacked_data else data,
            self.history.of_seed(seed),
            self.bound[seed],
            None if self.held_out_bound is None else self.held_out_bound[seed],
        )

    def best_index(self) -> int:
        """The seed with the highest finite bound over the data it was fitted on; no labels needed.

        Raises:
            ValueError: If no seed has a finite bound.
        """
        finite = np.isfinite(self.bound)
        if not finite.any():
            raise ValueError(
                f"no seed of {self.size} has a finite bound, so there is no best one; the runs ended: "
                f"{self.history.stopped}. See history.warnings for why, and run(seed) for one of them"
            )
        return int(np.argmax(np.where(finite, self.bound, -np.inf)))

    def best(self) -> Fit:
        """The fit of the best seed."""
        return self.run(self.best_index())


def _nats(value: Any) -> str:
    return f"{float(value):.4g} nats" if np.isfinite(value) else f"{float(value)}"
