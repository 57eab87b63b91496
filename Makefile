# `make run` and `make test` are for everybody; the other targets are for those who work on Holdfast.

SHELL := /bin/bash
CONTEXT ?=

.PHONY: run test bench images setup check-format lint

run: setup ## Start Holdfast on a lab of its own, or on CONTEXT=name of your kubeconfig
	cargo run --locked -p holdfast --features lab -- up $(if $(CONTEXT),--context $(CONTEXT))

test: setup ## Everything that CI checks
	scripts/test

bench: setup ## The benchmarks: one line of JSON a figure, then a table
	cargo build --release --locked --workspace --bins
	cargo run --release --locked -p holdfast-bench

images: setup ## The images of agent and aggregator with their bills of materials, into target/images
	scripts/images

setup: ## Install missing programs, or print what to install
	@scripts/setup
