#!/usr/bin/env bash
# docs/security.md: every actor has a row for each asset, what is stopped or detected names a test, so does each race, and every test named exists.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
page=docs/security.md failed=0
assets=(token credential "root key" session approval policy audit)
actors=("Pod author" "Namespace editor" "Another tenant" Node "Compromised agent" Sidecar Issuer Controller Webhook Approver "Policy author"
  "Cloud admin" "Reader of etcd")
complain() { echo "$page: $*"; failed=1; }

# "section<TAB>asset<TAB>verdict<TAB>test" of each row
rows=$(awk -F' *[|] *' '/^## / { section = substr($0, 4) }
  /^\|/ && NF == 7 && $2 != "asset" && $2 !~ /^-/ { print section "\t" $2 "\t" $4 "\t" $6 }' "$page")
for actor in "${actors[@]}"; do
  for asset in "${assets[@]}"; do
    grep -qP "^\Q$actor\E[^\t]*\t\Q$asset\E\t" <<<"$rows" || complain "\"$actor\" has no row for \"$asset\""
  done
done
while IFS=$'\t' read -r section asset verdict test; do
  case $verdict in
    stopped* | detected*) [[ $test == \`*\` ]] || complain "\"$section\", \"$asset\": $verdict, but by which test?" ;;
    "not protected" | "nothing to get") ;;
    *) complain "\"$section\", \"$asset\": \"$verdict\" is no verdict" ;;
  esac
done <<<"$rows"
# The tests of each race, by the table "Races of an approval": "race<TAB>tests"
races=$(awk -F' *[|] *' '/^#/ { races = /^### Races of an approval$/ } races && NF == 5 && $2 != "race" && $2 !~ /^-/ { print $2 "\t" $4 }' "$page")
(($(wc -l <<<"$races") >= 13)) || complain "the races of an approval are 13 at least"
while IFS=$'\t' read -r race tests; do
  [[ $tests == \`*\`* ]] || complain "race \"$race\": by which test?"
done <<<"$races"
checked=0
# shellcheck disable=SC2016  # backticks of the page
while read -r name; do
  checked=$((checked + 1))
  git grep -qE "fn $name\(" -- '*.rs' || complain "names the test $name, which does not exist"
done < <({ cut -f4 <<<"$rows"; cut -f2 <<<"$races"; } | grep -oP '`\K[a-z0-9]+(_[a-z0-9]+)+(?=`)' | sort -u)
echo "$page: $(grep -cP '\t(stopped|detected)' <<<"$rows") of $(wc -l <<<"$rows") cells are stopped or detected, by $checked tests"
((checked > 30)) || complain "too few tests were found: has the table changed its shape?"
exit "$failed"
