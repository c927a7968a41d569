#!/usr/bin/env bash
# Imports image archives into the cluster NAME; without arguments those of the agents.
set -euo pipefail
# shellcheck source-path=SCRIPTDIR source=../cluster/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../cluster/lib.sh"
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

if (($# == 0)); then archives=$("$here/build.sh"); mapfile -t archives <<<"$archives"; set -- "${archives[@]}"; fi
mkdir -p "$RUN/images"
for archive; do
  [[ -r $archive ]] || fail "no image archive at $archive"
  # Imported before and unchanged since: an import of a large image takes seconds.
  mark="$RUN/images/$(basename "$archive")" seen=$(stat -c '%Y %s %i' "$archive")
  [[ $(cat "$mark" 2>/dev/null) == "$seen" ]] && continue
  ctr images import --no-unpack=false "$archive" >/dev/null
  echo "$seen" >"$mark"
  note "loaded $(basename "$archive")"
done
