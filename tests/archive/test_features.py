"""Feature sets and fitted steps in an archive: defined once, bound, named by predictions, told by `why`, audited."""

from __future__ import annotations

import functools
import sys
import types
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, PolynomialFeatures, StandardScaler
from sklearn.random_projection import GaussianRandomProjection
from tests.support.accesses import accesses
from tests.support.archives import ORIGIN, files_of, loans

import backstory
from backstory.capture.prediction import Predictions
from backstory.debug.stages import Stages
from backstory.errors import ForbiddenError, InputError, ModelError, NotFoundError, QueryError
from backstory.lineage.feature_set import FeatureSet
from backstory.lineage.refs import LineageWarning

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ["amount", "years", "kind"]


class Leaky(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """Says that columns stay columns, and adds the last to the first."""

    def fit(self, table, _target=None):
        """Learn nothing."""
        self.n_features_in_ = table.shape[1]
        return self

    def transform(self, table):
        """Return the columns, the first with the last in it."""
        return table.assign(**{table.columns[0]: table.iloc[:, 0] + table.iloc[:, -1]})


LEAKY = f"{Leaky.__module__}.Leaky"


def values_of(stages: Stages, at: int) -> dict[str, Any]:
    """Return the values of one stage as JSON has them."""
    found: dict[str, Any] = stages.to_dict()["stages"][at]["values"]
    return found


def amount(rows):
    """Return how much."""
    return rows.amount


def table() -> pd.DataFrame:
    """Return made-up loans with a category whose name stands nowhere else."""
    made = loans()
    return made.assign(kind=["confidential", "plain"] * (len(made) // 2))


def fitted(features: pd.DataFrame, target: Any, scaler: Any = None) -> Any:
    """Return a model behind a scaler and a one-hot encoder."""
    columns = ColumnTransformer(
        [("n", scaler or StandardScaler(), ["amount", "years"]), ("k", OneHotEncoder(), ["kind"])]
    )
    return make_pipeline(columns, LogisticRegression()).fit(features, target)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """An archive with a bound model, a model of another set, a leaky one, and one about people."""

    archive: Any
    features: pd.DataFrame
    rows: Any
    bound: FeatureSet
    next: FeatureSet
    predictions: Predictions
    other: Predictions
    leaky: Predictions
    personal: Predictions
    warned: list[str]


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    """One archive for all facts; tests that record more come last."""
    path = tmp_path_factory.mktemp("features") / "archive"
    made = table()
    with backstory.init(path, origin=ORIGIN) as archive:
        features, rows = archive.split(archive.source(made, "loans", key="loan"), COLUMNS)
        described = archive.features.feature(amount, inputs="loans.amount", owner="lending", justification="policy 4.2")
        years = archive.features.feature("select years from loans", name="years", inputs=["loans.years"])
        bound = archive.features.define("credit", [years, described], owner="risk", justification="the board agreed")
        following = archive.features.define("credit", {"amount": described}, owner="risk")
        model = fitted(features, made.paid)
        version = archive.register(model, name="credit", rows=rows, target=made.paid, feature_set=bound)
        assert archive.register(model, name="credit", rows=rows, target=made.paid, feature_set="credit:1") is not None
        predictions = archive.predict(version, features, rows=rows, method="predict_proba")
        with pytest.warns(LineageWarning, match="bound to the feature set credit:1 and predicts with credit:2"):
            other = archive.predict(version, features.head(3), rows=rows[:3], feature_set="credit")
        with pytest.warns(LineageWarning) as warned:
            leaky = archive.register(
                fitted(features, made.paid, Leaky()), name="leaky", rows=rows, trusted=LEAKY, alias="now"
            )
        leaky_predictions = archive.predict(leaky, features.head(2), rows=rows[:2])
        people, people_rows = archive.split(archive.source(made, "people", key="loan", subject="loan"), COLUMNS)
        about = archive.register(fitted(people, made.paid), name="about-people", rows=people_rows)
        personal = archive.predict(about, people, rows=people_rows, subject=made.loan)
        archive.flush()
        yield Scene(
            archive=archive, features=features, rows=rows, bound=bound, next=following, predictions=predictions,
            other=other, leaky=leaky_predictions, personal=personal, warned=[str(one.message) for one in warned],
        )  # fmt: skip


def test_same_definitions_are_the_same_version(scene):
    """Defining the same again gives the version there is, in any order; another definition the next number."""
    assert (scene.bound.version, scene.next.version) == (1, 2)
    versions = scene.archive.features.versions("credit")
    assert [(one.version, one.digest) for one in versions] == [(1, scene.bound.digest), (2, scene.next.digest)]


def test_registering_twice_is_one_version(scene):
    """What the fitted steps say is content: the same model with the same set is the version there is."""
    assert scene.archive.model("credit").version == 1


def test_set_is_shown_by_name_number_and_digest(scene):
    """A name means the latest version; a number and a beginning of the digest mean one."""
    show = scene.archive.features.show
    assert show("credit").version == 2
    assert show("credit:1") == show(scene.bound.digest[:8]) == scene.bound
    assert "policy 4.2" in str(scene.bound)


@pytest.mark.parametrize("spec", ["cradit", "credit:9", "abcdef"])
def test_unknown_set_is_refused(scene, spec):
    """What names no feature set is an error."""
    with pytest.raises(NotFoundError):
        scene.archive.features.show(spec)


@pytest.mark.parametrize(
    ("name", "features"),
    [("two words", {"a": "1"}), ("s", {}), ("s", "select 1"), ("s", {"a": 7}), ("s", [amount, amount])],
)
def test_what_cannot_be_defined_is_refused(scene, name, features):
    """A bad name, no features, none that is a definition, and a name that stands twice are errors."""
    with pytest.raises(InputError):
        scene.archive.features.define(name, features)


def test_spec_must_be_text(scene):
    """A number names no feature set."""
    with pytest.raises(QueryError):
        scene.archive.features.show(7)


def test_why_tells_definition_owner_and_justification(scene):
    """Each feature has its definition and what it is made from; what it does not say itself the set says."""
    lineage = scene.archive.why(scene.predictions.ids[0]).lineage
    told = {one.name: one for one in lineage.features}
    assert lineage.feature_set.version == 1
    assert (told["amount"].owner, told["amount"].justification) == ("lending", "policy 4.2")
    assert (told["years"].owner, told["years"].justification) == ("risk", "the board agreed")
    assert told["amount"].made_from == {"loans.amount": "declared"}
    assert told["kind"].definition is None


def test_why_tells_what_the_model_makes_of_a_feature(scene):
    """Each column has the features of the model it became, with grades."""
    story = scene.archive.why(scene.predictions.ids[0])
    became = {one.name: one.became for one in story.lineage.features}
    assert became["amount"] == {"n__amount": "exact"}
    assert became["kind"] == {"k__kind_confidential": "exact", "k__kind_plain": "exact"}
    assert "Inside the model" in str(story)
    assert "policy 4.2" in str(story)


def test_prediction_names_the_set_it_was_given(scene):
    """A set given to `predict` is the one the prediction names, whatever the model is bound to."""
    assert scene.archive.why(scene.other.ids[0]).lineage.feature_set.version == 2
    context = scene.archive.why(scene.predictions.ids[0]).context
    assert context["features"] == {"digest": scene.bound.digest, "name": "credit", "version": "1"}


def test_use_is_counted_by_version(scene):
    """Models bound to a version and predictions that name it are counted, in the log and not yet."""
    used_by = scene.archive.features.used_by
    assert (used_by("credit:1").models, used_by(scene.bound).count) == (("credit:1",), len(scene.predictions))
    assert (used_by("credit").models, used_by("credit").predictions) == ((), {"credit:1": len(scene.other)})


def test_leak_is_warned_of_recorded_and_told(scene):
    """What the probe contradicts is a warning at registration, and an alarm and a weaker grade in the story."""
    assert any("'n__amount' moves with 'years'" in text for text in scene.warned)
    story = scene.archive.why(scene.leaky.ids[0])
    became = {one.name: one.became for one in story.lineage.features}
    assert became["years"] == {"n__amount": "probed", "n__years": "declared"}
    assert became["amount"] == {"n__amount": "coarse"}
    assert "n__amount with years" in str(story)


def test_stages_end_in_the_recorded_output(scene):
    """Each fitted step's values are told for one prediction; the last ones are what was recorded."""
    found = scene.archive.stages(scene.predictions.ids[3])
    names = ["columntransformer__n", "columntransformer__k", "columntransformer", "logisticregression"]
    assert [stage.name for stage in found.stages] == names
    assert found.verdict in {"exact", "equivalent"}
    assert values_of(found, 1) == {"kind_confidential": 0.0, "kind_plain": 1.0}
    assert values_of(found, -1) == found.to_dict()["output"]
    assert "columntransformer__k" in str(found)


def test_stages_of_people_are_sealed(scene):
    """Nobody without actor and purpose sees the values of somebody's features on their way."""
    with pytest.raises(ForbiddenError, match="need an actor and a purpose"):
        scene.archive.stages(scene.personal.ids[0])


def test_stages_of_people_open_for_a_purpose(scene):
    """With an actor and a purpose they are shown, and the log says so."""
    with backstory.open(scene.archive.path, actor="auditor", purpose="complaint") as archive:
        assert values_of(archive.stages(scene.personal.ids[0]), 1)["kind_confidential"] == 1.0
        entry = accesses(archive._ledger)[-1]
        assert (entry["question"], entry["records"]) == ("stages", 1)


def test_no_category_of_people_is_in_a_document(scene):
    """Of a model trained on people names of features hold no values, and states are keyed."""
    document = scene.archive.model("about-people").document
    told = scene.archive._ledger.document(document["fitted"])
    assert [one["name"] for one in told["predictors"][0]["features"]] == [
        "n__amount",
        "n__years",
        "k__kind[0]",
        "k__kind[1]",
    ]
    plain = scene.archive._ledger.document(scene.archive.model("credit").document["fitted"])
    assert [step["state"] for step in told["steps"]] != [step["state"] for step in plain["steps"]]


def test_stages_of_a_model_of_people_name_no_category(scene):
    """A prediction about nobody, of a model trained on people, is told without names that are values of theirs."""
    alone = scene.archive.predict("about-people", scene.features.head(1))
    found = scene.archive.stages(alone.ids[0])
    assert values_of(found, 1) == {"kind[0]": 1.0, "kind[1]": 0.0}


def test_every_way_in_names_the_set(scene, tmp_path):
    """Predictions made part by part name the set; of those of workers it is the one their model is bound to."""
    archive, row = scene.archive, scene.features.iloc[0].to_dict()
    with archive.prediction("credit:1") as made:
        made.features(row)
        made.output(1)
    assert archive.why(made.id).context["features"]["version"] == "1"
    archive.spool(tmp_path / "spool", "credit:1")
    with backstory.recorder(tmp_path / "spool", model="credit:1") as recorder:
        recorded = recorder.record(row, 1)
    archive.collect(tmp_path / "spool")
    story = archive.why(str(recorded))
    assert "features" not in story.context
    assert story.lineage.feature_set.version == 1


def test_function_has_no_stages(scene):
    """A prediction of no model has no fitted steps."""

    @scene.archive.traced
    def score(x: float) -> float:
        return x

    score(1.0)
    scene.archive.flush()
    name = scene.archive.search("model is null").id[0]
    with pytest.raises(ModelError, match="no registered model"):
        scene.archive.stages(name)
    assert scene.archive.why(name).lineage.features == ()


def test_audit_reaches_definitions_and_fitted_steps(scene, tmp_path):
    """Each document a set or a model names is missed when it is gone."""
    archive = scene.archive
    assert not archive.verify(workers=1).findings
    (entry, *_), model = archive._ledger.find_entries("features.defined"), archive.model("credit").document
    (registered,) = archive._ledger.find_entries("model.registered", "leaky")
    for digest in (entry["features"], entry["about"], model["fitted"], registered["about"]):
        (path,) = [path for path in files_of(archive.path) if path.parent.name + path.name == digest]
        kept = path.rename(tmp_path / "kept")
        found = archive.verify(check=False, workers=1)
        kept.rename(path)
        assert [one.severity for one in found.findings] == ["failed"]


@pytest.fixture
def module(monkeypatch, tmp_path):
    """A module whose code can be changed; it is loaded."""

    def load(text):
        path = tmp_path / f"mod{len(list(tmp_path.iterdir()))}.py"
        path.write_text(text)
        loaded = types.ModuleType("feature_module_of_a_test")
        exec(compile(text, str(path), "exec"), loaded.__dict__)
        monkeypatch.setitem(sys.modules, loaded.__name__, loaded)
        return loaded

    return load


def test_changed_code_is_noticed(scene, module):
    """A function whose code is another now: `register` refuses the set, `predict` warns and records it."""
    archive = scene.archive
    first = module("def amount(rows):\n    return rows.amount\n")
    changing = archive.features.define("changing", [first.amount])
    model = archive.register(LogisticRegression().fit(scene.features[["amount"]], scene.features.years > 3), name="c",
                             feature_set=changing)  # fmt: skip
    archive.predict(model, scene.features[["amount"]].head(1))
    module("def amount(rows):\n    return rows.amount + 1\n")
    with pytest.warns(LineageWarning, match="code of amount"):
        warned = archive.predict(model, scene.features[["amount"]].head(1))
    story = archive.why(warned.ids[0])
    assert [one.is_changed for one in story.lineage.features] == [True]
    assert "CHANGED" in str(story)
    with pytest.raises(InputError, match="define the set again"):
        archive.register(LogisticRegression().fit([[1], [2]], [0, 1]), name="d", feature_set=changing)


def test_set_of_other_features_is_not_bound(scene):
    """A set that defines none of the model's features is a mistake."""
    other = scene.archive.features.define("other", {"nothing": "select 1"})
    with pytest.raises(InputError, match="none of them"):
        scene.archive.register(
            fitted(scene.features, scene.features.years > 3), name="x", rows=scene.rows, feature_set=other
        )


def test_what_is_newly_said_makes_no_version(scene):
    """Another owner of the same definitions is said in an entry of its own; the latest counts."""
    define = scene.archive.features.define
    first = define("said", {"a": "select 1"}, owner="one")
    second = define("said", {"a": "select 1"}, owner="two")
    assert (second.version, second.digest, second.owner) == (1, first.digest, "two")
    assert second.defined == first.defined
    assert len(scene.archive._ledger.find_entries("features.defined", "said")) == 2
    define("said", {"a": "select 1"}, owner="two")
    assert len(scene.archive._ledger.find_entries("features.defined", "said")) == 2


def test_decorated_function_stays_a_function(scene):
    """The decorator says what there is to say and leaves the function as it is to be called."""

    @scene.archive.features.feature(name="doubled", inputs=["t.x"])
    def twice(x: int) -> int:
        """Return it twice."""
        return 2 * x

    assert (twice(4), twice.name, twice.inputs) == (8, "doubled", ("t.x",))


def test_lineage_of_too_many_columns_is_not_kept(scene):
    """A step of more columns than a document should hold is warned of; the model is registered all the same."""
    wide = np.ones((2, 200))
    with pytest.warns(LineageWarning, match="at most 20,000 columns"):
        model = scene.archive.register(make_pipeline(PolynomialFeatures(2), Ridge()).fit(wide, [1, 2]), name="wide")
    assert "fitted" not in model.document


def test_lineage_of_too_many_edges_is_not_kept(scene):
    """Nor of few components of many columns, each of which comes from all."""
    wide = np.ones((2, 600))
    model = make_pipeline(GaussianRandomProjection(500), Ridge()).fit(wide, [1, 2])
    with pytest.warns(LineageWarning, match="at most 250,000 edges"):
        version = scene.archive.register(model, name="projected")
    assert "fitted" not in version.document


def test_rows_with_views_of_text_are_sampled(scene):
    """Arrow cannot take rows of views; the model is registered with what was probed of it."""
    made = pa.Table.from_pandas(table(), preserve_index=False)
    made = made.set_column(made.column_names.index("kind"), "kind", made["kind"].cast(pa.string_view()))
    features, rows = scene.archive.split(scene.archive.source(made, "views", key="loan"), COLUMNS)
    version = scene.archive.register(fitted(table()[COLUMNS], table().paid), name="views", rows=rows)
    assert features.num_rows == made.num_rows
    assert "fitted" in version.document


def test_what_a_partial_was_given_is_its_definition(scene, module):
    """Another value is another version; its function is compared with the code it is of."""
    load = module("def amount(rows, cap):\n    return rows.amount.clip(upper=cap)\n")
    define = scene.archive.features.define
    first = define("capped", {"amount": functools.partial(load.amount, cap=5)})
    second = define("capped", {"amount": functools.partial(load.amount, cap=6)})
    assert (first.version, second.version) == (1, 2)
    assert scene.archive.features.diff(first, second).changed == {"amount": ("params",)}
    estimator = LogisticRegression().fit(scene.features[["amount"]], scene.features.years > 3)
    assert scene.archive.register(estimator, name="capped", feature_set=second).document["features"] == second.digest


@pytest.mark.parametrize("wrap", [FunctionTransformer, lambda f: make_pipeline(FunctionTransformer(f))])
def test_code_of_a_function_in_a_transformer_is_its_definition(scene, module, wrap):
    """A function of the same name and other code makes another version."""
    define = scene.archive.features.define
    first = define("wrapped", {"a": wrap(module("def twice(rows):\n    return rows * 2\n").twice)})
    second = define("wrapped", {"a": wrap(module("def twice(rows):\n    return rows * 3\n").twice)})
    assert first.digest != second.digest


def test_reader_cannot_define(scene):
    """An archive that is open for reading takes no definitions."""
    with backstory.open(scene.archive.path, mode="r") as archive, pytest.raises(ForbiddenError):
        archive.features.define("s", {"a": "select 1"})
