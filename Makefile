# Tasks of people and of the pipeline. `make` lists them.

IMAGE ?= bulkhead
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
# With "-dirty" where the tree is not what was committed.
REVISION ?= $(shell git describe --always --dirty --abbrev=40 --exclude '*' 2>/dev/null || echo unknown)
SOURCE ?= $(shell sed -n 's/^repository = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
LABELS = --build-arg VERSION=$(VERSION) --build-arg REVISION=$(REVISION) --build-arg SOURCE=$(SOURCE)

TOOLS = $(or $(CARGO_TARGET_DIR),target)/tools

.DEFAULT_GOAL := help
.PHONY: help run check test soak bench image image-check compose-check briefs sbom dependencies \
  bundle bundle-check app.tar.gz lint version clean

help: ## lists what there is
	@sed -n 's/^\([a-z.-]*\):[^#]*## /  \1\t/p' $(MAKEFILE_LIST) | expand -t 18

run: ## serves on 127.0.0.1:8080
	cargo run --release --locked

check: ## formatting, lints, unit tests: after every edit
	./run_tests.sh fast

test: ## all tests except the long ones: before every commit
	./run_tests.sh

soak: ## the tests with more messages, seeds and kills
	./run_tests.sh soak

bench: ## measures gpg, rpgp and the server side by side
	bench/run.sh

image: ## builds the images: bulkhead, with the tests, and bulkhead:server (IMAGE=… names them)
	docker build $(LABELS) --tag $(IMAGE) .
	docker build $(LABELS) --tag $(IMAGE):server --target server .

image-check: ## checks those: labels, secrets, size, hardened runs, the tests inside
	tests/image.sh $(IMAGE) $(IMAGE):server

compose-check: ## drives compose.yaml and compose.scale.yaml with that image
	BULKHEAD_IMAGE=$(IMAGE) tests/compose.sh

briefs: ## everything that the briefs ask for, from the committed source: bundle, image, tests inside, relay
	tests/briefs.sh $(IMAGE):briefs

sbom: ## lists what is in the image, as CycloneDX: target/sbom.cdx.json
	@mkdir -p target
	docker/sbom.sh $(IMAGE):server target/sbom.cdx.json

bundle: app.tar.gz ## packs the source as committed, without a parent folder: app.tar.gz

app.tar.gz:
	git -c tar.umask=0022 archive --format=tar.gz --output=$@ HEAD

bundle-check: bundle ## builds the image of the server from the bundle alone
	rm -rf target/bundle
	mkdir -p target/bundle
	tar -xzf app.tar.gz -C target/bundle
	docker build $(LABELS) --tag $(IMAGE):bundle --target server target/bundle
	rm -r target/bundle

dependencies: ## looks up known holes, licences and sources of all dependencies (asks GitHub for advisories)
	test -x $(TOOLS)/bin/cargo-deny || cargo install --quiet --locked --root $(TOOLS) cargo-deny@0.20.2
	PATH="$(abspath $(TOOLS))/bin:$$PATH" cargo deny check

lint: ## lints scripts, the Dockerfile and the workflows
	.github/lint.sh

version: ## prints it
	@echo $(VERSION)

clean: ## removes what was built
	cargo clean
	rm -f app.tar.gz
