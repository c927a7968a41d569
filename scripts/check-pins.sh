#!/usr/bin/env bash
# Whatever is fetched is held to a checksum that is checked in: pip by --require-hashes, Go by go.sum, crates by a lock file.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
failed=
complain() { echo "error: $*" >&2; failed=1; }
mapfile -t sources < <(git ls-files -- '*.sh' '*.py' Makefile Dockerfile .ci/run ':!scripts/check-pins.sh')
# Lines that end in a backslash go on.
commands() { sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "${sources[@]}" | grep -vE '^[[:space:]]*#'; }
# each WHAT PATTERN NEEDED: every command that matches holds what it needs.
each() {
  local line
  while read -r line; do
    [[ $line =~ $3 ]] || complain "$1: $line"
  done < <(commands | grep -E "$2")
}

each "pip without --require-hashes" 'pip3? install' '--require-hashes'
each "cargo install without --locked and a version" 'cargo install' '--locked .*@'
each "a Go module that go.sum does not hold" '(^|[^a-z])go (build|run) ' '-mod=readonly'
if commands | grep -E '(^|[ (])go (install|get) |(curl|wget) [^|]*\| *(ba)?sh'; then complain "the lines above fetch what nothing pins"; fi

for list in $(git ls-files -- '*requirements.txt'); do
  # A requirement, with its hashes on the lines that it goes on over.
  while read -r line; do
    [[ $line == *==*--hash=sha256:* ]] || complain "$list: no version or hash: ${line%% *}"
  done < <(sed -e ':a' -e '/\\$/N; s/\\\n//; ta' "$list" | grep -vE '^[[:space:]]*(#|$)')
done
for module in $(git ls-files -- '*go.mod'); do
  [[ -s ${module%.mod}.sum ]] || complain "$module has no go.sum"
done
for list in $(git ls-files -- '*package.json'); do
  jq -e '.packages | to_entries | all(.key == "" or .value.integrity != null)' "${list%.json}-lock.json" >/dev/null ||
    complain "$list: no checksum of a package in package-lock.json"
done
each "npm that does not follow package-lock.json" '(^|[ (])npm (ci|i|install)' '(^|[ (])npm ci '
for pom in $(git ls-files -- '*pom.xml'); do [[ -s ${pom%pom.xml}jars.sha256 ]] || complain "$pom has no jars.sha256"; done
[[ -s Cargo.lock ]] || complain "Cargo.lock is missing"
# Of crates from elsewhere than our own folders.
for lock in $(git ls-files -- '*Cargo.lock'); do awk '/^\[\[package\]\]/ { check() } { if (/^name/) name = $3; if (/^source/) source = 1; if (/^checksum/) sum = 1 } END { check(); exit bad }
  function check() { if (source && !sum) { print "error: " FILENAME ": no checksum of " name; bad = 1 } source = sum = 0 }' "$lock" || failed=1; done
[[ -z $failed ]]
