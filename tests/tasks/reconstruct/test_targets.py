"""Pre-training takes nothing from a record but its clips."""

from vidjax.data.records import Record
from vidjax.data.views import whole
from vidjax.tasks.reconstruct.targets import NoTargets


def test_there_are_no_targets():
    targets = NoTargets()
    assert targets.kinds == frozenset() and targets.mirrors and not NoTargets(mirrors=False).mirrors
    assert targets.fields() == targets.of(Record("v"), whole(2)) == {}
