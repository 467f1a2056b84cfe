"""`perdure validate` over many manifests, against check-jsonschema with our schema on the same files."""

from __future__ import annotations

from collections.abc import Iterator

from tests.bench import commands, figures, manifests
from tests.bench.options import Options

REQUIRES = ("git",)
ROUNDS = 3


def measure(options: Options) -> Iterator[figures.Figure]:
    """Validate a generated repository, in turns with the peer."""
    folder = options.folder / "manifests"
    folder.mkdir()
    manifests.write(folder, options.count, options.seed)
    files = sorted((folder / "jobs").iterdir())
    ours: commands.Words = [commands.SCRIPTS / "perdure", "validate", folder]
    peer: commands.Words = [
        commands.SCRIPTS / "check-jsonschema",
        "--schemafile",
        commands.ROOT / "schemas" / "job.json",
        *files,
    ]
    pairs = [(commands.run(ours), commands.run(peer)) for _ in range(options.times(ROUNDS))]
    speed, peer_speed = ([options.count / one.seconds for one in side] for side in zip(*pairs, strict=True))
    family = commands.family_peak(ours)
    yield figures.Figure(
        work=f"validate {options.count:,} manifests of {manifests.LINES} lines",
        series=(
            figures.Series(
                what="perdure validate", unit="s", values=[one.seconds for one, _ in pairs], bound=figures.at_most(5)
            ),
            figures.Series(
                what="its memory",
                unit="MB",
                values=[max(one.peak, family) / 1e6 for one, _ in pairs],
                bound=figures.at_most(250),
            ),
            figures.Series(what="check-jsonschema", unit="s", values=[other.seconds for _, other in pairs]),
            figures.ratios("documents a second, against check-jsonschema", speed, peer_speed, figures.at_least(5)),
        ),
        note="memory: of all its processes together, shared pages counted once (sampled), or the most of one if that is more",
    )
