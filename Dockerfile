# The project's images. Static binaries on empty images: nothing to patch but our own code.
#   docker build --target sidecar .                             builds from source
#   buildah bud --build-context build=DIR --target sidecar .    takes binaries from DIR/out instead (e2e/images/project.sh)
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95 AS build
ARG TARGETARCH
WORKDIR /src
RUN case "$TARGETARCH" in \
      amd64) triple=x86_64-unknown-linux-gnu packages="gcc-x86-64-linux-gnu libc6-dev-amd64-cross" ;; \
      arm64) triple=aarch64-unknown-linux-gnu packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross" ;; \
      *) echo "no build for $TARGETARCH" >&2; exit 1 ;; \
    esac; \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
      apt-get update && apt-get install -y --no-install-recommends $packages && rm -rf /var/lib/apt/lists/*; \
    fi; \
    echo "$triple" > /triple
COPY . .
RUN triple=$(cat /triple); \
    if [ "$(dpkg --print-architecture)" != "$TARGETARCH" ]; then \
      linker=${triple%%-*}-linux-gnu-gcc; \
      export "CARGO_TARGET_$(echo "$triple" | tr a-z- A-Z_)_LINKER=$linker"; \
    fi; \
    rustup target add "$triple" && export CARGO_BUILD_TARGET="$triple" && \
    scripts/build-release.sh -p exeat-operator -p exeat-webhook && \
    scripts/build-release.sh -p exeat-sidecar && \
    mkdir /out && cp /etc/ssl/certs/ca-certificates.crt /out/ && cd "target/$triple/release" && \
    cp exeat-controller exeat-issuer exeat-webhook exeat-sidecar /out/

# The controller and the issuer: one image, two Deployments; each names its program.
FROM scratch AS operator
COPY --from=build /out/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/exeat-controller /out/exeat-issuer /
USER 65532:65532

FROM scratch AS webhook
COPY --from=build /out/exeat-webhook /
USER 65532:65532
ENTRYPOINT ["/exeat-webhook"]

FROM scratch AS sidecar
COPY --from=build /out/exeat-sidecar /
USER 65532:65532
ENTRYPOINT ["/exeat-sidecar"]
