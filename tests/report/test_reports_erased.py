"""Reports and what they say before and after the person they are about was erased."""

import pytest
from tests.support.governed import govern

import backstory
from backstory.errors import NotFoundError


@pytest.fixture(scope="module")
def erased(tmp_path_factory):
    """An archive, the id of a decision, and what erasing ann said after three reports were asked for."""
    folder = tmp_path_factory.mktemp("erased")
    governed = govern(folder / "audit")
    with backstory.open(governed.path, actor="Dora Officer", purpose="request 7", sealer="none") as archive:
        archive.reports.make("subject-access", folder / "ann.zip", subject="ann")
        archive.reports.make("subject-access", folder / "bob.zip", subject="bob")
        archive.reports.make("model-history", folder / "model.zip", model="credit")
        archive.why(archive.privacy.find("ann").ids[0])
        done = archive.privacy.erase("ann", ground="request")
        yield archive, folder, governed.decision, done


def test_a_read_is_no_export(erased):
    """An erasure lists a report with the person's values once, as certain; no read, and no report without records."""
    _, _, _, done = erased
    given = [(one.what, one.is_sure) for one in done.recipients if one.what != "reasons"]
    assert given == [("report", True), ("report", False)]
    assert [one.who for one in done.recipients if one.what == "report"] == ["Dora Officer", None]


def test_a_decision_of_an_erased_person_is_not_called_sealed(erased):
    """Its reasons are erased, as is what leads to its prediction: no purpose opens them."""
    archive, folder, decision, _ = erased
    page = str(archive.decisions.show(decision))
    assert ", erased\n" in page
    assert "sealed" not in page
    with pytest.raises(NotFoundError, match="was erased"):
        archive.reports.make("individual-explanation", folder / "none.zip", decision=decision)


def test_reads_of_unknown_records_are_not_counted_as_reads_of_a_person(erased):
    """After an erasure it is not known which records an access read, and the report about a person says so."""
    archive, folder, _, _ = erased
    summary = archive.reports.make("access-log", folder / "who.zip", subject="ann").document["summary"]
    assert summary[0] == "0 reads of what is about this person are recorded."
    assert "it is not known what was read" in summary[1]
