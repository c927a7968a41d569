#!/usr/bin/env bash
# Installs a tool of cargo's once, at exactly this version and with the dependencies that its own lock file names (cargo holds them
# against their checksums), and prints the folder of its program.
#   cargo-tool.sh NAME VERSION
set -euo pipefail
name=$1 version=$2
tools=${EXEAT_CACHE:-$HOME/.cache/exeat}/tools
tool=$tools/$name-$version
if [[ ! -x $tool/bin/$name ]]; then
  echo "building $name $version" >&2
  # From another folder and without our settings: it is a tool of the host. Without optimising, which takes twice as long as it saves.
  (cd / && env -u CARGO_BUILD_TARGET CARGO_TARGET_DIR="$tools/build" CARGO_PROFILE_DEV_DEBUG=0 \
    cargo install -q --debug --locked "$name@$version" --root "$tool.tmp") >&2
  mkdir -p "$tool/bin" && mv "$tool.tmp/bin/$name" "$tool/bin/$name"
  rm -rf "$tool.tmp" "$tools/build"
fi
echo "$tool/bin"
