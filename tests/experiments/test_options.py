"""Options: what is said of them, what they may be, and what each experiment refuses before it writes."""

import importlib
import shlex
from typing import Literal

import pytest

from experiments import _cli, _run
from experiments._options import AllOptions, OptionError, group, library, option, require_different

REFUSED = {
    "poisson_balls": [
        ("--num-sequences 1", "--num-sequences must be an integer of at least 2, got 1"),
        ("--num-steps 0", "--num-steps must be an integer of at least 1, got 0"),
        ("--hidden 3 0", "--hidden must be an integer of at least 1, got 0"),
        ("--data-seed -1", "--data-seed must be an integer of at least 0, got -1"),
        ("--model-seed 99999999999", "--model-seed must be an integer of at least 0"),
        ("--learning-rate nan", "--learning-rate must be a positive number, got nan"),
        ("--bandwidth -2", "--bandwidth must be a positive number, got -2.0"),
        ("--width 0", "--width must be positive and finite, got 0.0"),
        ("--frequency inf", "--frequency must be positive and finite, got inf"),
        ("--batch-size 21", "--batch-size must be at most --num-sequences 20 without --replacement, got 21"),
        ("--epochs 2 --num-steps 2", "--epochs does not go together with --num-steps"),
        ("--auxiliary-amortized", "--auxiliary-amortized does not go together with --auxiliary posterior"),
        ("--kernel matern12 --bandwidth 3", "--bandwidth does not go together with --kernel matern12"),
        ("--lengthscale 3", "--lengthscale does not go together with --kernel rbf"),
        ("--static -K 2", "--num-latents does not go together with --static"),
        ("--static --pooled", "--pooled does not go together with --static"),
        ("--static --mean free", "--mean does not go together with --static"),
        ("--static -J 1", "--num-pixels must be at least 2"),
        ("--config nowhere.json", "--config: cannot read nowhere.json: No such file"),
    ],
    "bound_study": [
        ("--correlations", "--correlations must be one or more numbers for --cases gaussian, got none"),
        ("--num-samples", "--num-samples must be one or more numbers, got none"),
        ("-N 1", "--size must be an integer of at least 2, got 1"),
        ("--num-samples 0", "--num-samples must be an integer of at least 1, got 0"),
        ("--cases cubic", "--cases must be different ones of gaussian, tanh, bimodal, square, got cubic"),
        (
            "--variants free free",
            "--variants must be different ones of conjugate, shifted, free, amort",
        ),
        ("--correlations 1", "--correlations must be between -1 and 1, both excluded, got 1.0"),
        ("--importance-samples 3", "--importance-samples does not go together with --variants without imp"),
        (
            "--correlations 0.3 0.30000001",
            "--correlations must differ in their first six digits",
        ),
    ],
    "copula": [
        ("--marginals gaussian --locations inf 0", "--locations must be finite numbers, got inf 0"),
        ("--correlation 1", "--correlation must lie between -1 and 1, got 1.0"),
        ("--correlation 0.5 0.5", "--correlation must be at least one value, and none twice, got 0.5 0.5"),
        ("--variants discrete discrete", "--variants must be at least one value, and none twice"),
        ("--rates 1 0", "--rates must be a positive number, got 0.0"),
        ("--marginals gaussian --rates 1 1", "--rates does not go together with --marginals gaussian"),
        ("--marginals tanh --correlation 0.5", "--correlation does not go together with --marginals tanh"),
        ("--noise 0.2", "--noise does not go together with --marginals exponential"),
        ("--locations 0 0", "--locations does not go together with --marginals exponential"),
        ("--batch-size 13", "--batch-size must be at most --num-data 12, got 13"),
        ("--batch-size 7", "--batch-size must be at least 8 for the implicit model, got 7"),
        ("--num-held-out 7", "--num-held-out must be at least 8 for the implicit model, got 7"),
        ("-K 1", "--num-states must be an integer of at least 2, got 1"),
        ("-K 3 --variants gaussian", "--num-states does not go together with --variants gaussian"),
        (
            "--variants score discrete --activation relu",
            "--variants score does not go together with --activation relu",
        ),
    ],
    "digit_chain": [
        ("-T 1", "--sequence-length must be an integer of at least 2, got 1"),
        ("--width 0", "--width must be a positive number, got 0.0"),
        ("--held-out 1", "--held-out must lie between 0 and 1"),
        ("--batch-size 101", "--batch-size must be at most --num-sequences 100, got 101"),
        ("--perturbation 1", "--perturbation must be in [0, 1), got 1.0"),
        ("--download", "--download does not go together with no --data, give a folder"),
        ("--data /nowhere", "--data: "),
    ],
    "graph": [
        ("-T 3", "--num-nodes must be an integer of at least 4, got 3"),
        ("-J 1", "--num-views must be an integer of at least 2, got 1"),
        ("--rounds 0", "--rounds must be an integer of at least 1, got 0"),
        ("--batch-size 5", "--batch-size must be at most --num-graphs 4, got 5"),
        ("--width 0", "--width must be positive and finite, got 0.0"),
        ("--peak 0.01", "--peak and background must be probabilities, background at most peak, got 0.01"),
        ("--learning-rate 0", "--learning-rate must be a positive number, got 0.0"),
    ],
    "lorenz": [
        ("-T 1", "--sequence-length must be an integer of at least 2, got 1"),
        ("-J 10 --num-neurons 9", "--num-groups must be at most --num-neurons 9, got 10"),
        ("--batch-size 31", "--batch-size must be at most --num-sequences 30, got 31"),
        ("--kernel matern52", "--kernel does not go together with --prior chain, give --prior process"),
        ("--step 0", "--step must be a positive number, got 0.0"),
    ],
    "linear_system": [
        ("-T 2", "--sequence-length must be an integer of at least 3, got 2"),
        ("--batch-size 257", "--batch-size must be at most --num-sequences 256, got 257"),
        ("--num-inputs 0 --inputs on", "--inputs on does not go together with --num-inputs 0"),
        ("--radius 0.9 0.5", "--radius must be two numbers, the smaller first, got 0.9 0.5"),
        ("--radius 0.9 1", "--radius must be two finite numbers in [0, 1), the smaller first"),
        ("--input-share 2", "--input-share must lie between 0 and 1, got 2.0"),
        ("--noise -1", "--noise must be finite and at least 0, got -1.0"),
    ],
    "modalities": [
        ("-T 3", "--sequence-length must be an integer of at least 4, got 3"),
        ("--dropped 1", "--dropped must be in [0, 1), got 1.0"),
        ("--drop smells", "--drop must be images, distances or none, got smells"),
        ("--image-noise -1", "--image-noise must be finite and at least 0, got -1.0"),
        ("--batch-size 201", "--batch-size must be at most --num-sequences 200, got 201"),
        ("--data WALLS", "--data: cannot read WALLS as an npz file"),
        ("--data WALLS --num-agents 3", "--num-agents does not go together with --data, which has its own"),
    ],
    "pendulum": [
        ("--num-frames 5", "--num-frames must be a multiple of --frames 2, at least twice it, got 5"),
        ("--frames 30", "--num-frames must be a multiple of --frames 30, at least twice it, got 30"),
        ("--torque -1", "--torque must be finite and at least 0, got -1.0"),
        ("--batch-size 1201", "--batch-size must be at most --num-sequences 1200, got 1201"),
        ("--learning-rate 0", "--learning-rate must be a positive number, got 0.0"),
        ("--others 1185", "--others must be at most --num-sequences 1200 less the minibatch, got 1185"),
    ],
    "texture_lda": [
        ("-T 1", "--num-patches must be an integer of at least 2, got 1"),
        ("-K 1", "--num-topics must be an integer of at least 2, got 1"),
        ("-S 11", "--num-textures must be at most 10, got 11"),
        ("--patch-size 3", "--patch-size must be finite and at least 4, got 3"),
        ("--noise -1", "--noise must be finite and at least 0, got -1.0"),
        ("--batch-size 7", "--batch-size must be at most --num-sets 6, got 7"),
        ("--concentration 1 2 3", "--concentration must be one number or one for each of 2 textures, got"),
        ("--concentration 0", "--concentration must be a positive number, got 0.0"),
        ("--initial-concentration -1", "--initial-concentration must be a positive number, got -1.0"),
        ("--prior-learning-rate 0", "--prior-learning-rate must be a positive number, got 0.0"),
        ("--kernel-size 7", "--patch-size, --channels or --kernel-size: CNN: images of 6 × 6 pixels are too"),
        ("--network mlp", "--kernel-size does not go together with --network mlp, which has no convolutions"),
        ("--symmetric --no-learn-concentration", "--symmetric does not go together with --no-learn-concen"),
    ],
    "maze_hmm": [
        ("--trajectories 1 -N 2", "--trajectories does not go together with --num-sequences, give one"),
        ("--trajectories 1 --no-pooled", "--trajectories 1 does not go together with --no-pooled"),
        ("--trajectories 2 --batch-size 3", "--batch-size must be at most --num-sequences 2, got 3"),
        ("--flips 2", "--flips must lie between 0 and 1, got 2.0"),
        ("--reach 0", "--reach must be a positive number, got 0.0"),
        ("--stickiness inf", "--stickiness must be a finite number, got inf"),
        ("--baseline-components 50", "--baseline-components must be at most 25, which is the smaller"),
        ("-K 1", "--num-states must be an integer of at least 2, got 1"),
        (
            "--transition gradient --pseudo-count 1",
            "--pseudo-count does not go together with --transition gradient",
        ),
        ("-T 1", "--sequence-length must be an integer of at least 2, got 1"),
        ("--batch-size 1000", "--batch-size must be at most --num-sequences 50"),
        ("--perturbation 1.5", "--perturbation must be in [0, 1)"),
        ("--walls /nowhere", "--walls: cannot read /nowhere"),
        ("--visual-field 4", "--visual-field must be"),
        ("--num-states 1000 -N 2 -T 3", "--num-states must be at most"),
        ("--walls WALLS", "--walls: WALLS must hold lines of # and . only, all of one length"),
    ],
    "peer_supervision": [
        ("-K 1", "--num-states must be an integer of at least 2, got 1"),
        ("--latent gaussian -K 0", "--num-states must be an integer of at least 1, got 0"),
        ("-J 1", "--num-views must be an integer of at least 2, got 1"),
        ("--held-out 1.5", "--held-out must lie between 0 and 1"),
        ("--download", "--download does not go together with no --data"),
        ("--data /nowhere", "--data: "),
        ("--joint --local-states 2", "--joint does not go together with --local-states"),
        ("--joint --latent gaussian", "--joint does not go together with --latent gaussian"),
        ("--local-states 1 2 3", "--local-states must be one number or one for each of 2 views"),
        ("--queue 8 --components data", "--queue does not go together with --components"),
        ("--epochs 1 --num-steps 1", "--epochs does not go together with --num-steps"),
        ("--networks shared --views rotated-coloured", "--networks shared does not go together with --views"),
        ("--combinations 5", "--combinations does not go together with no --joint"),
        ("--batch-size 100000", "--batch-size must be at most the number of sets"),
        ("--shares -1 2", "--shares"),
        ("--num-images 99999", "--num-images must be at most the 1258 images to fit, got 99999"),
    ],
}
SMALL = {
    "bound_study": "-N 6 --variants conjugate",
    "copula": "-N 12 --num-held-out 9",
    "graph": "-N 4 --num-held-out 3 -T 8",
    "texture_lda": "-N 6 --num-held-out 6 -T 4 -S 2 -K 3 --patch-size 6 --channels 2 --kernel-size 3",
}


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [(name, *row) for name, rows in REFUSED.items() for row in rows],
    ids=lambda value: value if " " not in value else value.split(": ")[0][:40],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(name, arguments, message, tmp_path, capsys):
    walls = tmp_path / "walls.txt"
    walls.write_text("#####\n#. .#\n#####\n")
    output = tmp_path / "new"
    words = shlex.split(f"{SMALL.get(name, '')} {arguments}".replace("WALLS", str(walls)))
    experiment = importlib.import_module(f"experiments.{name}").EXPERIMENT
    experiment = experiment._replace(run=lambda *_: pytest.fail("it was run"))
    assert _run.main(experiment, None, [*words, "--quiet", "--output", str(output)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith(f"python -m experiments.{name}: error: --")
    assert message.replace("WALLS", str(walls)) in printed.err
    assert not output.exists()


# A group of options of its own.


@group
class Data:
    """What is counted."""

    sizes: tuple[int, ...] = option((2, 3), "How many.", least=2)
    scale: float | None = option(None, "Factor.", shown="that of the data", positive=True, alias="-s")


@group
class Model:
    """How."""

    rate: float | None = library(0.25, "How fast.", positive=True)
    units: tuple[int, ...] | None = library((4, 5), "How many units.", metavar="UNITS ...", least=1)
    kind: Literal["plain", "other"] | None = library("plain", "Which one.")


@group
class Training:
    """When."""


@group
class More:
    """And."""

    words: tuple[str, ...] = option(("a",), "Which.")


@group
class Options(AllOptions[Data, Model, Training]):
    """All."""

    more: More = More()


def parsed(*arguments):
    return _cli.parse(Options, "counting", None, arguments)


def test_groups_are_in_order_and_have_their_defaults():
    assert list(Options().groups()) == ["data", "model", "training", "more", "run"]
    assert parsed() == Options()
    assert Options().flat() | {"figures": None} == {
        "sizes": (2, 3),
        "scale": None,
        "rate": None,
        "units": None,
        "kind": None,
        "words": ("a",),
        "output": None,
        "config": None,
        "figures": None,
        "quiet": False,
    }


def test_help_says_what_happens_by_default(capsys):
    with pytest.raises(SystemExit):
        parsed("--help")
    text = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for words in (
        "--sizes [INT [INT ...]] How many. (default: 2 3)",
        "-s FLOAT, --scale FLOAT Factor. (default: that of the data)",
        "--rate FLOAT How fast. (default: the library's, 0.25)",
        "--units UNITS ... How many units. (default: the library's, 4 5)",
        "--kind {plain,other} Which one. (default: the library's, plain)",
    ):
        assert words in text


def test_the_library_decides_what_is_not_given():
    options = parsed("-s", "2", "--rate", "3", "--units", "7")
    assert (options.data.scale, options.model.rate, options.model.units) == (2.0, 3.0, (7,))
    assert options.library_defaults() == {"kind": "plain"}
    assert Options().library_defaults() == {"rate": 0.25, "units": (4, 5), "kind": "plain"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--sizes 2 1", "--sizes must be an integer of at least 2, got 1"),
        ("--sizes 2 2147483648", "--sizes must be an integer of at least 2, got 2147483648"),
        ("--units 0", "--units must be an integer of at least 1, got 0"),
        ("--scale -1", "--scale must be a positive number, got -1.0"),
        ("--rate nan", "--rate must be a positive number, got nan"),
        ("--rate inf", "--rate must be a positive number, got inf"),
    ],
)
def test_limits(arguments, message):
    with pytest.raises(OptionError, match=message):
        parsed(*arguments.split())


@pytest.mark.parametrize(("values", "got"), [((), "none"), ((1, 2, 1), "1 2 1")])
def test_different_values(values, got):
    require_different("some_values", None)
    require_different("some_values", (1, 2))
    with pytest.raises(OptionError, match=f"--some-values must be at least one value, .* got {got}"):
        require_different("some_values", values)


def test_names_stay_apart_in_a_subclass():
    @group
    class Other(Data):
        """More of it."""

        last: int = option(1, "One.", least=1)

    @group
    class OtherOptions(Options):
        """All."""

        data: Other = Other()

    assert list(OtherOptions().groups()) == ["data", "model", "training", "more", "run"]
    assert OtherOptions().data.last == 1
    assert Options().data == Data()
