#!/usr/bin/env bash
# Every test that docs/security.md names exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
missing=0 checked=0
# shellcheck disable=SC2016  # backticks of the page
while read -r name; do
  checked=$((checked + 1))
  git grep -qE "fn $name\(" -- '*.rs' || { echo "docs/security.md names the test $name, which does not exist"; missing=1; }
done < <(awk -F'|' 'NF >= 6 { print $5 }' docs/security.md | grep -oE '`[a-z0-9_]+`' | tr -d '`' | sort -u)
echo "docs/security.md: $(grep -cE '^\| .* \| (stopped|detected|not protected)' docs/security.md) cells, $checked tests named"
((checked > 30)) || { echo "too few were found: has the table changed its shape?"; exit 1; }
exit "$missing"
