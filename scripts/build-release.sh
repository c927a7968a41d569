#!/usr/bin/env bash
# Builds release binaries: the same bytes wherever they are built, each with the list of its crates in the section .dep-v0, which
# scanners of images read (cargo-auditable).
#   build-release.sh -p PACKAGE...      for CARGO_BUILD_TARGET, by default the host's
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
CARGO_BUILD_TARGET=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')}
export CARGO_BUILD_TARGET
# Panics name the source file: without this the folders of the machine that builds.
remap="'--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo', '--remap-path-prefix=$root=/exeat'"
PATH=$(scripts/cargo-tool.sh cargo-auditable 0.7.7):$PATH
# Both would take the place of the flags in .cargo/config.toml and here.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
exec cargo auditable build --locked --release --config "target.$CARGO_BUILD_TARGET.rustflags = [$remap]" "$@"
