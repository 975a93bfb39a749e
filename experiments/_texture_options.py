"""Options of the experiment on textures, and their checks."""

from typing import Literal

import rpm_jax as rpm
from experiments import _vocabulary as vocabulary
from experiments._options import AllOptions, OptionError, defaults_of, group, library, option, refuse

BATCH_SIZE = 25
"""Sets per step; small batches are much faster than all sets and reach the same bound."""

HIDDEN = (
    f"{' '.join(map(str, rpm.networks.CNN().hidden))} for the convolutional network, "
    f"{' '.join(map(str, rpm.networks.MLP().hidden))} for the perceptron"
)

TEXTURES = defaults_of(rpm.datasets.texture_sets)
PRIOR = defaults_of(rpm.priors.dirichlet_topics)


@group
class Data:
    """Sets of patches."""

    num_sets: int = option(TEXTURES["num_sets"], "N, sets to fit.", alias="-N", least=2)
    num_held_out: int = option(50, "Sets that are held out.", least=1)
    num_patches: int = option(TEXTURES["num_patches"], "T, patches of a set.", alias="-T", least=2)
    num_textures: int = option(
        TEXTURES["num_textures"], "S, textures in all sets together.", alias="-S", least=2
    )
    patch_size: int = option(TEXTURES["patch_size"], "Pixels along a patch.", least=1)
    concentration: tuple[float, ...] = option(
        (TEXTURES["concentration"],),
        "Concentration of the Dirichlet distribution that the proportions are drawn from, one number or one "
        "for each texture; the smaller, the fewer textures in a set.",
        positive=True,
    )
    noise: float = option(
        TEXTURES["noise"], "Standard deviation of the pixels' noise; that of the textures is about 1."
    )
    data_seed: int = vocabulary.data_seed("the patches")


@group
class Model:
    """The recognition-parametrised model."""

    num_topics: int | None = option(
        None, "K, topics that the model has.", shown="as many as textures", metavar="K", alias="-K", least=2
    )
    initial_concentration: float = option(
        10.0,
        "Concentration of the prior at first. Large ones that fall slowly keep topics from merging early on.",
        positive=True,
    )
    learn_concentration: bool = option(True, "Learn the concentrations, or leave them as they are.")
    symmetric: bool = option(PRIOR["symmetric"], "Keep one concentration for all topics.")
    max_iterations: int | None = library(
        PRIOR["max_iterations"], "Most updates of the coordinate ascent.", least=1
    )
    tolerance: float | None = library(
        "the precision of the numbers to the power 2/3",
        "Relative change at which the coordinate ascent stops.",
        positive=True,
    )
    network: Literal["cnn", "mlp"] = option(
        "cnn",
        "Convolutional network or perceptron. The latter has to learn every shift of a texture by itself.",
    )
    channels: tuple[int, ...] = option((16,), "Channels of each convolution.", least=1)
    kernel_size: int | None = library(
        rpm.networks.CNN().kernel_size, "Pixels along a convolution's kernel.", least=1
    )
    hidden: tuple[int, ...] | None = vocabulary.hidden(HIDDEN, "Units of each hidden layer.")
    kind: vocabulary.Kind = vocabulary.kind("topics")
    pooled: bool = option(
        True, "Average F over the patches of all sets, or over those at one place of every set."
    )


@group
class Training(vocabulary.Training):
    """How it is fitted."""

    num_steps: int = vocabulary.num_steps(500)
    batch_size: int | None = vocabulary.batch_size("Sets", f"{BATCH_SIZE}, or all of fewer", least=2)
    prior_learning_rate: float | None = vocabulary.prior_learning_rate("the concentrations' logarithms")
    components: vocabulary.Components = vocabulary.components(
        "What F averages over: all sets, or those of the minibatch."
    )
    em: bool = option(False, "Hold q fixed in the gradients of prior and factors, as EM does.")
    seeds: int = vocabulary.seeds(6, "bound on")


@group
class Comparison:
    """What it is compared with."""

    baselines: bool = option(
        False,
        "Also cluster all patches by k-means, regardless of their sets: by their power spectra, and by their "
        "principal components.",
    )


@group
class Options(AllOptions[Data, Model, Training]):
    """All options."""

    comparison: Comparison = Comparison()


def check(options: Options) -> None:
    """Raise `OptionError` for values that do not fit together."""
    data, model = options.data, options.model
    if len(data.concentration) not in (1, data.num_textures):
        raise OptionError(
            f"--concentration must be one number or one for each of {data.num_textures} textures, got "
            f"{' '.join(map(str, data.concentration))}"
        )
    vocabulary.check_batch_size(options, "num_sets")
    reason = "which has no convolutions; take --network cnn"
    refuse(model.network == "mlp" and model.kernel_size is not None, "--kernel-size", "--network mlp", reason)
    refuse(
        model.network == "mlp" and model.channels != Model().channels, "--channels", "--network mlp", reason
    )
    refuse(
        model.symmetric and not model.learn_concentration,
        "--symmetric",
        "--no-learn-concentration",
        "which keeps one concentration for all topics anyway",
    )
