"""The policy that is shipped, cell by cell, and what is accepted as a policy."""

import re

import pytest

from backstory.errors import InputError
from backstory.governance.access_policy import ACTIONS, STARTING, Asked, Policy, policy_document, text_of_policy
from backstory.records.sensitivity import CLASSES

VIEWS = ("clear", "just-in-time", "own", "pseudonymised", "masked", "aggregate")

# The matrix of the regulation's roles and classes, D0 to D7: C clear, P pseudonymised, M masked, A aggregate, J just in
# time, O own, - none; (C) clear for assigned cases, (P) pseudonymised for what is its own.
MATRIX = {
    "operator":         "C   M   M   (C)  (C)  J    OM  -",
    "data-scientist":   "C   C   C   P    M    AJ   A   -",
    "validator":        "C   C   C   P    J    AJ   P   -",
    "internal-auditor": "C   C   C   PJ   J    J    C   M",
    "regulator":        "C   C   C   (C)  (C)  (C)  C   -",
    "data-subject":     "O   -   M   O    O    O    M   -",
    "dpo":              "C   C   M   CJ   J    J    C   -",
    "vendor":           "O   O   O   (P)A -    -    -   -",
    "legal":            "C   M   M   J    J    J    M   -",
    "platform-admin":   "C   C   M   -    -    -    M   -",
}  # fmt: skip
LETTERS = {
    "C": "clear", "P": "pseudonymised", "M": "masked", "A": "aggregate", "J": "just-in-time", "O": "own",
}  # fmt: skip
CELLS = [
    (role, class_, cell) for role, row in MATRIX.items() for class_, cell in zip(CLASSES, row.split(), strict=True)
]

MAY = {
    "operator": {"decide", "outcome", "notice", "request", "break-glass"},
    "data-scientist": {"register", "propose", "classify", "share"},
    "validator": {"propose", "approve", "share", "report"},
    "internal-auditor": {"query-access-log", "review", "export", "report", "break-glass"},
    "regulator": {"query-access-log", "export", "report"},
    "data-subject": set(),
    "dpo": {
        "query-access-log", "read-holds", "grant", "review", "approve", "propose", "classify", "erase", "rectify",
        "dispose", "set-retention", "request", "notice", "share", "export", "report", "break-glass",
    },
    "vendor": set(),
    "legal": {
        "hold", "release", "read-holds", "freeze", "set-retention", "dispose", "propose", "approve", "export", "report",
        "break-glass",
    },
    "platform-admin": {
        "operate-keys", "deploy", "assign-role", "assign-case", "query-access-log", "propose", "approve",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def starting():
    """Return the policy that is shipped."""
    return Policy(text_of_policy(policy_document(STARTING)))


def asked(role, **given):
    """Return a question with a purpose and a case."""
    return Asked(**{"role": role, "purpose": "p", "case": "c", "assigned": False, "own": False, "minute": 0} | given)


def permitted(policy, class_, question):
    """Return the views a policy permits."""
    return {view for view in VIEWS if policy.permits(view, class_, question)}


@pytest.mark.parametrize(("role", "class_", "cell"), CELLS)
def test_each_cell_of_the_matrix(starting, role, class_, cell):
    """A role sees a class in the views of its cell, those in brackets only where the record is assigned or its own."""
    held = re.findall(r"\((.)\)", cell)
    always = {LETTERS[letter] for letter in re.sub(r"\(.\)|-", "", cell)}
    assert permitted(starting, class_, asked(role)) == always
    both = asked(role, assigned=True, own=True)
    assert permitted(starting, class_, both) == always | {LETTERS[letter] for letter in held}


@pytest.mark.parametrize("missing", ["purpose", "case"])
def test_nothing_about_people_without_purpose_and_case(starting, missing):
    """No role sees a single value of a class about people without both."""
    for role in MATRIX:
        question = asked(role, assigned=True, own=True, **{missing: None})
        for class_ in CLASSES[3:]:
            assert permitted(starting, class_, question) <= ({"aggregate"} if missing == "case" else set())


def test_who_has_no_role_sees_and_does_nothing(starting):
    """Default deny."""
    for role in (None, "somebody"):
        question = asked(role, assigned=True, own=True)
        assert not any(permitted(starting, class_, question) for class_ in CLASSES)
        assert not any(starting.permits(action, None, question) for action in ACTIONS)


@pytest.mark.parametrize("role", MATRIX)
def test_what_each_role_may_do(starting, role):
    """Actions besides viewing are permitted one by one."""
    assert {action for action in ACTIONS if starting.permits(action, None, asked(role))} == MAY[role]


def test_the_actions_of_the_schema_are_those_of_the_code():
    """A policy can speak of every action that is asked for, and of no other."""
    schema = policy_document(STARTING)["schema"]
    named = set(re.findall(r'"([a-z-]+)"', "".join(re.findall(r"action\s+(.*?)\s+appliesTo", schema, re.DOTALL))))
    assert named == set(ACTIONS) | set(VIEWS)


@pytest.mark.parametrize(
    "text",
    [
        "permit (principal, action, resource",
        'permit (principal in Role::"dpo", action == Action::"peek", resource);',
        'permit (principal in Role::"dpo", action == Action::"clear", resource) when { context.mood == "good" };',
        'permit (principal == Person::"Ann", action == Action::"clear", resource);',
        'permit (principal, action, resource) when { principal == Person::"Ann" };',
    ],
)
def test_what_is_no_policy_is_refused(text):
    """Not Cedar, an action or a member the schema does not know, or the name of a person."""
    with pytest.raises(InputError, match="policy: expected"):
        policy_document(text)


def test_a_policy_that_cannot_be_worked_out_denies():
    """An error in one line denies, even where another line permits."""
    policy = Policy(
        'permit (principal, action, resource); forbid (principal, action, resource) when { context.case == "x" };'
    )
    assert policy.permits("clear", "D3", asked("dpo"))
    assert not policy.permits("clear", "D3", asked("dpo", case=None))


def test_a_policy_can_name_hours():
    """Time is that of the question, to the minute."""
    policy = Policy('permit (principal, action, resource) when { context.time.toTime() < duration("8h") };')
    assert policy.permits("clear", "D3", asked("dpo", minute=7 * 60))
    assert not policy.permits("clear", "D3", asked("dpo", minute=9 * 60))
