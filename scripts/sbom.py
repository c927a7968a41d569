#!/usr/bin/env python3
"""Writes the software bill of materials of an image: CycloneDX 1.5 (ECMA-424) as JSON, the same bytes for the same input.

    sbom.py --image NAME --version VERSION --target TRIPLE [--file PATH]... [--beside PACKAGE]... PACKAGE > NAME.cdx.json

Components are the crates that cargo links into the package for that target, with the checksums of Cargo.lock, and the image's
files with theirs. Crates that only run at build time (build scripts, procedural macros) are there with the scope "excluded".
Packages that are built by the same command (--beside) count, since cargo gives all of them the features that any of them needs.
"""

import argparse
import hashlib
import json
import os
import subprocess
import tomllib
import uuid
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def cargo(*arguments):
    return subprocess.run(["cargo", *arguments], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def crates(package, beside, target, edges):
    """(name, version) of every crate that `package` needs along these edges."""
    selected = [argument for name in [package, *beside] for argument in ("--package", name)]
    trees = cargo("tree", "--locked", *selected, "--target", target, "--edges", edges, "--prefix", "none", "--no-dedupe",
                  "--format", "{p}").split("\n\n")
    [tree] = [tree for tree in trees if tree.split()[0] == package]
    return {(name, version.removeprefix("v")) for name, version in (line.split()[:2] for line in tree.splitlines() if line)}


def reference(name, version):
    return f"pkg:cargo/{name}@{version}"


def crate(name, version, locked, package, linked):
    component = {
        "type": "library", "bom-ref": reference(name, version), "name": name, "version": version,
        "scope": "required" if linked else "excluded", "purl": reference(name, version),
    }
    if package.get("license"):
        # Cargo once took a slash for OR; SPDX does not.
        component["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if checksum := locked.get("checksum"):
        component["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package.get("repository"):
        component["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return component


def file(path):
    content = Path(path).read_bytes()
    name = os.path.basename(path)
    return {"type": "file", "bom-ref": f"file:{name}", "name": name,
            "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]}


def graph(metadata, known):
    """What each component depends on, of what is in the bill."""
    ids = {p["id"]: reference(p["name"], p["version"]) for p in metadata["packages"]}
    needs = {}
    for node in metadata["resolve"]["nodes"]:
        if (ref := ids[node["id"]]) in known:
            needs[ref] = sorted({ids[d["pkg"]] for d in node["deps"] if ids[d["pkg"]] in known} - {ref})
    return [{"ref": ref, "dependsOn": needs[ref]} for ref in sorted(needs)]


def bill(arguments):
    locked = {(p["name"], p["version"]): p for p in tomllib.loads((ROOT / "Cargo.lock").read_text())["package"]}
    metadata = json.loads(cargo("metadata", "--locked", "--format-version", "1", "--filter-platform", arguments.target))
    packages = {(p["name"], p["version"]): p for p in metadata["packages"]}
    linked = crates(arguments.package, arguments.beside, arguments.target, "normal,no-proc-macro")
    every = crates(arguments.package, arguments.beside, arguments.target, "normal,build")
    components = [crate(*key, locked[key], packages[key], key in linked) for key in sorted(linked | every)]
    components += [file(path) for path in sorted(arguments.file)]
    roots = [reference(name, version) for name, version in sorted(linked) if name == arguments.package]
    image = {"type": "container", "bom-ref": "image", "name": arguments.image, "version": arguments.version}
    dependencies = [{"ref": "image", "dependsOn": roots + [c["bom-ref"] for c in components if c["type"] == "file"]}]
    dependencies += graph(metadata, {c["bom-ref"] for c in components})
    document = {
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": image},
        "components": components, "dependencies": dependencies,
    }
    content = json.dumps(document, sort_keys=True)
    # Named by what it says: a bill made again is the same.
    document["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}"
    return document


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("image", "version", "target"):
        parser.add_argument(f"--{option}", required=True)
    parser.add_argument("--file", action="append", default=[], help="a file of the image")
    parser.add_argument("--beside", action="append", default=[], metavar="PACKAGE")
    parser.add_argument("package", metavar="PACKAGE")
    print(json.dumps(bill(parser.parse_args()), indent=1))


if __name__ == "__main__":
    main()
