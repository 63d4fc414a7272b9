"""Size and cost of every model of the table, kept in a file so that listing them takes no time.

`python -m praxino.model_facts` measures all of them and writes the file, `python -m
praxino.model_facts x3d_s x3d_m` these only; a test compares it with each model.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from praxino.atomic import write_text

FILE = Path(__file__).parent / "models" / "facts.json"


@dataclass(frozen=True)
class ModelFacts:
    """What a model is fed by default, and what it costs.

    Args:
        frames: T of its `clip_spec`.
        size: H and W of its `clip_spec`, in pixels.
        parameters: with the builder's default number of classes.
        multiply_adds: for one such clip.
    """

    frames: int
    size: int
    parameters: int
    multiply_adds: int


def facts_of(name: str) -> ModelFacts:
    """From the file; of a model that it does not know yet, measured.

    Args:
        name: in the table of models.
    """
    stored = _stored()
    return ModelFacts(**stored[name]) if name in stored else measure(name)


@functools.cache
def _stored() -> dict[str, dict[str, int]]:
    facts: dict[str, dict[str, int]] = json.loads(FILE.read_text(encoding="utf-8"))
    return facts


def measure(name: str) -> ModelFacts:
    """Build a model on the meta device and count.

    Args:
        name: in the table of models.
    """
    from praxino.layer_table import count_parameters, multiply_adds
    from praxino.models import create_model
    from praxino.video.clip_spec import ClipSpec
    from praxino.weights.shapes_only import ShapesOnly

    with ShapesOnly():
        model = create_model(name)
    spec: ClipSpec = model.clip_spec  # type: ignore[assignment]
    return ModelFacts(spec.frames, spec.size, count_parameters(model), multiply_adds(model))


def main(names: Sequence[str] = ()) -> None:
    """Measure models and write the file.

    Args:
        names: of models; none: all. What the file says of the others stays.
    """
    from praxino.models import list_models

    lines = []
    for name in list_models():
        asked = name in names or not names
        facts = dataclasses.asdict(measure(name) if asked else facts_of(name))
        lines.append(f"  {json.dumps(name)}: {json.dumps(facts)}")
    write_text(FILE, "{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
