"""Which types a skops file may name, beyond those skops itself trusts: reviewed by hand, never read from a file.

skops builds objects by name. A name is listed here only if loading cannot do harm through it, whatever else the file
says: making the object runs no code the file chooses, opens no file and reaches no network. Each name is tied to the
skops loader that writes it, because some loaders *call* what they name: `xgboost.core.Booster` under its own loader
parses bytes of the file, under another one it would be called with arguments of the file's choosing.

The review is about code, not about memory: compiled tree code indexes without checks. `backstory.models.tree_bounds`
checks the indices of what was loaded.
"""

from __future__ import annotations

from backstory.errors import ModelError

_FAMILIES: tuple[tuple[str, str, str], ...] = (
    # A dtype is read from an empty .npy with allow_pickle=False.
    ("DTypeNode", "numpy", "dtype"),
    # Fitted trees: arrays of nodes; the constructor is fixed by skops. Indices are checked after loading.
    ("TreeNode", "sklearn.tree._tree", "Tree"),
    ("ObjectNode", "sklearn.ensemble._hist_gradient_boosting.predictor", "TreePredictor"),
    ("ObjectNode", "sklearn.neighbors._kd_tree", "KDTree KDTree32 KDTree64"),
    ("ObjectNode", "sklearn.neighbors._ball_tree", "BallTree BallTree32 BallTree64"),
    # Distances are parameter holders around compiled code. The one that holds a Python function is left out.
    (
        "ObjectNode",
        "sklearn.metrics._dist_metrics",
        (
            "EuclideanDistance64 EuclideanDistance32 SEuclideanDistance64 ManhattanDistance64 ManhattanDistance32 "
            "ChebyshevDistance64 MinkowskiDistance64 HammingDistance64 CanberraDistance64 BrayCurtisDistance64 "
            "JaccardDistance64 HaversineDistance64"
        ),
    ),
    # Losses: numbers and a link, both types skops trusts; the compiled closures have a fixed list in skops.
    (
        "ObjectNode",
        "sklearn._loss.loss",
        (
            "HalfTweedieLoss HalfTweedieLossIdentity HalfMultinomialLoss HalfBinomialLoss HalfSquaredError "
            "HalfPoissonLoss HalfGammaLoss AbsoluteError PinballLoss HuberLoss ExponentialLoss"
        ),
    ),
    (
        "LossNode",
        "sklearn._loss._loss",
        (
            "CyHalfTweedieLoss CyHalfTweedieLossIdentity CyHalfMultinomialLoss CyHalfBinomialLoss CyHalfSquaredError "
            "CyHalfPoissonLoss CyHalfGammaLoss CyAbsoluteError CyPinballLoss CyHuberLoss CyExponentialLoss"
        ),
    ),
    ("ObjectNode", "sklearn._loss.link", "Interval IdentityLink LogLink LogitLink HalfLogitLink MultinomialLogit"),
    ("ObjectNode", "sklearn.ensemble._hist_gradient_boosting.binning", "_BinMapper"),
    # Private parts of public estimators: plain attributes, no hooks on creation.
    ("ObjectNode", "sklearn.calibration", "_CalibratedClassifier _SigmoidCalibration _TemperatureScaling"),
    ("ObjectNode", "sklearn.neural_network._stochastic_optimizers", "AdamOptimizer SGDOptimizer"),
    ("ObjectNode", "sklearn.gaussian_process._gpc", "_BinaryGaussianProcessClassifierLaplace"),
    (
        "ObjectNode",
        "sklearn.gaussian_process.kernels",
        "ConstantKernel Product Sum Exponentiation RBF Matern WhiteKernel RationalQuadratic DotProduct ExpSineSquared",
    ),
    # Search results keep how they were split and scored: parameter holders; nothing runs before a new fit.
    ("ObjectNode", "sklearn.metrics._scorer", "_PassthroughScorer"),
    ("ObjectNode", "sklearn.model_selection._split", "KFold StratifiedKFold GroupKFold TimeSeriesSplit ShuffleSplit"),
    ("ObjectNode", "sklearn.compose._column_transformer", "make_column_selector"),
    ("ObjectNode", "scipy.interpolate._bsplines", "BSpline"),
    ("DictNode", "sklearn.utils._bunch", "Bunch"),
    # Pure functions of arrays, only ever *named* here (FunctionNode imports and does not call).
    ("FunctionNode", "sklearn.feature_selection._univariate_selection", "f_classif f_regression chi2"),
    ("FunctionNode", "sklearn.utils.validation", "check_array"),
    ("FunctionNode", "scipy._lib.array_api_compat.numpy._aliases", "asarray"),
    # A partial of an allowed function is as harmless as the function.
    ("PartialNode", "functools", "partial"),
    # Gradient boosting inside a pipeline: parameters, and a booster restored by its own parser from its own format.
    ("ObjectNode", "xgboost.core", "Booster"),
    ("ObjectNode", "xgboost.sklearn", "XGBModel XGBClassifier XGBRegressor XGBRanker XGBRFClassifier XGBRFRegressor"),
    ("ObjectNode", "lightgbm.basic", "Booster"),
    ("ObjectNode", "lightgbm.sklearn", "LGBMModel LGBMClassifier LGBMRegressor LGBMRanker"),
    ("TypeNode", "collections", "OrderedDict"),
)

LOADER_OF = {f"{module}.{name}": loader for loader, module, names in _FAMILIES for name in names.split()}
"""The one skops loader each reviewed name may come with."""

REVIEWED = frozenset(LOADER_OF)
"""Names judged harmless on load."""


def check_types(named: frozenset[tuple[str, str]], untrusted: frozenset[str], trusted: frozenset[str]) -> None:
    """Refuse a file that names a type nobody has reviewed.

    Args:
        named: Every (loader, type name) in the file.
        untrusted: Type names skops does not trust by itself.
        trusted: Names the caller answers for.

    Raises:
        ModelError: A type is neither reviewed nor trusted, or a reviewed one stands under a loader that would call it.
    """
    unknown = sorted(untrusted - REVIEWED - trusted)
    if unknown:
        msg = (
            f"model: expected types known to be harmless on load, got {', '.join(unknown)}; "
            f"review them and name them: trusted={unknown!r}"
        )
        raise ModelError(msg, types=unknown)
    misplaced = sorted(
        name for loader, name in named if name in untrusted - trusted and LOADER_OF.get(name, loader) != loader
    )
    if misplaced:
        msg = f"model: expected reviewed types under their own loader, got {', '.join(misplaced)} under another"
        raise ModelError(msg, types=misplaced)
