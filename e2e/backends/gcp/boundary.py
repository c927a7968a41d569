"""Credential Access Boundaries, as Google's documentation describes them: what a token may still do."""

import json
import re

BUCKETS = "//storage.googleapis.com/projects/_/buckets/"
# Far from everything that Google has; enough to tell the roles apart.
ROLES = {
    "roles/storage.bucketViewer": {"storage.buckets.get"},
    "roles/storage.legacyObjectReader": {"storage.objects.get"},
    "roles/storage.objectViewer": {"storage.objects.get", "storage.objects.list"},
    "roles/storage.objectCreator": {"storage.objects.create"},
    "roles/storage.objectUser": {f"storage.objects.{verb}" for verb in ("get", "list", "create", "delete", "update")},
    "roles/storage.objectAdmin": {
        f"storage.objects.{verb}" for verb in ("get", "list", "create", "delete", "update", "getIamPolicy", "setIamPolicy")
    },
    "projects/example/roles/remover": {"storage.objects.delete"},
}
MAX_RULES, MAX_CONDITION, MAX_OPTIONS = 10, 2048, 2048
CLAUSES = [
    (re.compile(r"^resource\.name == '([^'\\]*)'$"), lambda place, text: place["name"] == text),
    (re.compile(r"^resource\.name\.startsWith\('([^'\\]*)'\)$"), lambda place, text: place["name"].startswith(text)),
    (
        re.compile(r"^api\.getAttribute\('storage\.googleapis\.com/objectListPrefix', ''\)\.startsWith\('([^'\\]*)'\)$"),
        lambda place, text: place["prefix"].startswith(text),
    ),
]


class Invalid(Exception):
    """Why Google would not take a boundary."""


def clauses(expression):
    found = []
    for part in expression.split(" || "):
        matching = [(test, pattern.match(part)) for pattern, test in CLAUSES if pattern.match(part)]
        if not matching:
            raise Invalid(f"the condition can't be read: {part}")
        found.append((matching[0][0], matching[0][1].group(1)))
    return found


def read(options, api):
    """The rules of the `options` of a token exchange."""
    try:
        body = json.loads(options)
    except ValueError as error:
        raise Invalid("options is no JSON") from error
    if len(options) > MAX_OPTIONS:
        raise Invalid(f"options is {len(options)} characters long")
    api.check_schema("GoogleIdentityStsV1Options", body)
    rules = body.get("accessBoundary", {}).get("accessBoundaryRules", [])
    if not 1 <= len(rules) <= MAX_RULES:
        raise Invalid(f"{len(rules)} access boundary rules")
    read_rules = []
    for rule in rules:
        resource, roles = rule.get("availableResource", ""), rule.get("availablePermissions", [])
        if not resource.startswith(BUCKETS) or "/" in resource.removeprefix(BUCKETS):
            raise Invalid(f"availableResource {resource} is no bucket")
        unknown = [role for role in roles if role.removeprefix("inRole:") not in ROLES or not role.startswith("inRole:")]
        if unknown or not roles:
            raise Invalid(f"availablePermissions holds no known role: {unknown}")
        condition = rule.get("availabilityCondition", {}).get("expression")
        if condition is not None and len(condition) > MAX_CONDITION:
            raise Invalid("the condition is too long")
        permissions = set().union(*(ROLES[role.removeprefix("inRole:")] for role in roles))
        read_rules.append((resource.removeprefix(BUCKETS), permissions, condition and clauses(condition)))
    return read_rules


def allows(rules, permission, bucket, name=None, prefix=""):
    """Whether the rules leave a permission on an object, or on its bucket where there is none."""
    place = {"name": f"projects/_/buckets/{bucket}" + ("" if name is None else f"/objects/{name}"), "prefix": prefix}
    return any(
        bucket == of and permission in permissions and (tests is None or any(test(place, text) for test, text in tests))
        for of, permissions, tests in rules
    )
