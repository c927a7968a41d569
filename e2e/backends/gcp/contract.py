"""Google's discovery documents as they are published: what a request may hold, and what an answer must."""

import json
import os
import re

FORMATS = {
    "google-duration": re.compile(r"^\d+(\.\d{1,9})?s$"),
    "google-datetime": re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$"),
}


class Broken(Exception):
    """What does not keep to the contract."""


class Api:
    """The schemas of one API."""

    def __init__(self, folder, name):
        with open(os.path.join(folder, f"{name}-api.json")) as source:
            document = json.load(source)
        self.schemas = document["schemas"]
        self.methods = dict(self._methods(document))

    def _methods(self, node):
        for method in node.get("methods", {}).values():
            yield method["id"], method
        for resource in node.get("resources", {}).values():
            yield from self._methods(resource)

    def path(self, method):
        """The pattern of a method's path."""
        found = self.methods[method]
        pattern = found["parameters"].get("name", {}).get("pattern") if found["path"].startswith("v1/{+name}") else None
        if pattern is None:
            return re.compile("^/" + re.escape(found["path"]) + "$")
        return re.compile("^/v1/(" + pattern.strip("^$") + ")" + re.escape(found["path"].removeprefix("v1/{+name}")) + "$")

    def check_request(self, method, body):
        """Google answers 400 to a field that it does not know, and to one of another type."""
        self._check(self.methods[method]["request"]["$ref"], body, "request")

    def check_response(self, method, body):
        self._check(self.methods[method]["response"]["$ref"], body, "response")

    def check_schema(self, schema, body):
        self._check(schema, body, schema)

    def _check(self, schema, value, at):
        self._value({"$ref": schema}, value, at)

    def _value(self, schema, value, at):
        if "$ref" in schema:
            if not isinstance(value, dict):
                raise Broken(f"{at} is no object")
            properties = self.schemas[schema["$ref"]].get("properties", {})
            for name, inner in value.items():
                if name not in properties:
                    raise Broken(f'Unknown name "{name}" at "{at}": Cannot find field.')
                self._value(properties[name], inner, f"{at}.{name}")
            return
        kinds = {"string": str, "boolean": bool, "integer": int, "array": list, "object": dict}
        kind = kinds[schema["type"]]
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise Broken(f"{at} is no {schema['type']}")
        pattern = FORMATS.get(schema.get("format"))
        if pattern is not None and not pattern.match(value):
            raise Broken(f"{at} is no {schema['format']}: {value}")
        if kind is list:
            for i, item in enumerate(value):
                self._value(schema["items"], item, f"{at}[{i}]")
