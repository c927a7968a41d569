# `make help` lists the targets. Rust's output goes to target/<host triple>/: see .cargo/config.toml.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
export CARGO_BUILD_TARGET ?= $(shell rustc -vV | sed -n 's/^host: //p')
export VERSION ?= dev
export NAME ?= dev
PLATFORMS ?= linux/amd64,linux/arm64

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: deps
deps: ## Install the distribution packages that are missing; check for Rust and Go
	@scripts/deps.sh

.PHONY: build
build: ## Build all programs (debug)
	cargo build --workspace --bins

.PHONY: generate
generate: ## Write the files that are generated from the Rust types
	cargo run -q -p exeat-crds --bin exeat-crdgen
	scripts/generate-config.sh

.PHONY: fmt
fmt: ## Format the code
	cargo fmt --all

.PHONY: lint
lint: ## Format check, clippy, documentation, shell scripts
	@scripts/test.sh fmt shell clippy docs

.PHONY: test
test: deps ## Everything that CI runs
	@scripts/test.sh

.PHONY: test-unit
test-unit: ## The tests that need no cluster
	@scripts/test.sh unit

.PHONY: test-e2e
test-e2e: deps ## The tests on a real cluster (root)
	@scripts/test.sh e2e

.PHONY: conformance
conformance: deps ## Unmodified SDKs of every language as agents; writes docs/conformance.md (root, half an hour; npm, maven, a JDK)
	@scripts/conformance.sh

.PHONY: soak
soak: deps ## The long tests: fuzzing, a million documents, reproducible images (root, hours)
	@scripts/soak.sh

.PHONY: cluster
cluster: deps ## Start the cluster NAME with agents' images and backends (root)
	@e2e/cluster/up.sh
	@e2e/images/load.sh
	@e2e/backends/up.sh

.PHONY: cluster-down
cluster-down: ## End the cluster NAME
	@e2e/cluster/down.sh

.PHONY: images
images: ## Build the images exeat/{operator,webhook,sidecar}:VERSION into archives
	@e2e/images/project.sh release
	@echo "kind:     kind load image-archive FILE.tar"
	@echo "registry: skopeo copy --preserve-digests oci-archive:FILE.oci.tar docker://REGISTRY/exeat/NAME:$(VERSION), then install by digest:"
	@echo "          helm install ... --set image.registry=REGISTRY -f digests-$(VERSION).yaml"
	@echo "several platforms, from source: make images-multi PREFIX=REGISTRY/exeat"

.PHONY: images-multi
images-multi: ## Build and push the images for PLATFORMS from source, with docker buildx (PREFIX=registry/path)
	@: $${PREFIX:?say where to: PREFIX=registry/path}
	for image in operator webhook sidecar; do \
	  docker buildx build --platform $(PLATFORMS) --target $$image -t $(PREFIX)/$$image:$(VERSION) --push . ; \
	done

.PHONY: krew
krew: ## Build kubectl-exeat's archive for this platform, and the Krew manifest (BASE_URL, HOMEPAGE)
	@cli/krew/build.sh

.PHONY: demo
demo: deps ## The guided demo on a cluster of its own (root)
	@NAME=demo e2e/demo/run.sh

.PHONY: demo-down
demo-down: ## End the demo's cluster
	@NAME=demo e2e/cluster/down.sh

.PHONY: bench
bench: deps ## The benchmarks (root)
	@NAME=bench e2e/bench/run.sh

.PHONY: clean
clean: ## Remove build output; the cache outside of the checkout stays
	cargo clean
