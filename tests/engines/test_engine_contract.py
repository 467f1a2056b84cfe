"""What every engine promises, on the shipped fake and on the real one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from reconciler import errors
from reconciler.contracts import engine
from reconciler.core import spec
from reconciler.engines import application, fake
from reconciler.seams import clock
from tests.engines import program


@dataclass(frozen=True, kw_only=True)
class Case:
    """An engine, an attempt, and how its program saves without being asked."""

    made: engine.Engine
    site: engine.Site
    save: Callable[[], None]


@pytest.fixture(params=["application", "fake"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    where = program.site(tmp_path)
    if request.param == "application":
        return Case(
            made=application.ApplicationEngine(clock.System()),
            site=where,
            save=lambda: program.save(where.checkpoints, {"state": "saved"}),
        )
    faked = fake.FakeEngine(state={program.REF: b"saved"})
    return Case(made=faked, site=where, save=lambda: faked.unasked.add(program.REF))


def test_nothing_is_saved_at_first(case: Case) -> None:
    assert isinstance(case.made.preflight(case.site), engine.Can)
    assert not case.made.saved(case.site)


def test_what_was_saved_is_taken_once(case: Case) -> None:
    case.save()
    assert case.made.saved(case.site)
    sink = program.Memory()
    found = case.made.take(case.site, sink.open, program.request(spec.Purpose.SAVED))
    assert isinstance(found, engine.Captured)
    assert bytes(sink.content["state"]) == b"saved"
    assert sink.commits == 1
    assert not case.made.saved(case.site)


def test_a_store_that_fails_leaves_it_to_be_taken_again(case: Case) -> None:
    case.save()
    found = case.made.take(case.site, program.Memory(broken="the store is full").open, program.request(spec.Purpose.SAVED))
    assert isinstance(found, engine.Failed)
    assert "the store is full" in found.reason
    assert case.made.saved(case.site)
    sink = program.Memory()
    assert isinstance(case.made.take(case.site, sink.open, program.request(spec.Purpose.SAVED)), engine.Captured)
    assert bytes(sink.content["state"]) == b"saved"


def test_a_sink_that_cannot_build_upon_its_parent_is_followed_by_one_that_is_given_everything(case: Case) -> None:
    case.save()
    sink = program.Memory(unfit=True)
    assert isinstance(case.made.take(case.site, sink.open, program.request(spec.Purpose.SAVED)), engine.Captured)
    assert [path for path, _, _ in sink.extents_] == ["state", "state"]
    assert sink.commits == 1
    assert not case.made.saved(case.site)


def test_an_image_is_laid_out_whole(case: Case) -> None:
    case.save()
    sink = program.Memory()
    case.made.take(case.site, sink.open, program.request(spec.Purpose.SAVED))
    case.made.prepare_restore(sink, case.site)  # type: ignore[arg-type]
    assert (case.site.restore / "state").read_bytes() == b"saved"
    assert case.site.restore.stat().st_mode & 0o777 == 0o700


def test_a_dead_program_gives_nothing(case: Case) -> None:
    where = program.site(case.site.aside.parent, alive=lambda: False)
    assert isinstance(case.made.take(where, program.Memory().open, program.request()), engine.Failed)


def test_a_damaged_image_leaves_nothing_behind(tmp_path: Path) -> None:
    where = program.site(tmp_path)
    with pytest.raises(errors.Damaged):
        application.ApplicationEngine(clock.System()).prepare_restore(program.Memory(broken="flipped"), where)  # type: ignore[arg-type]
    assert not where.restore.exists()
