# Two commands: `make run` and `make test`. Everything else is for those who work on Holdfast.

SHELL := /bin/bash
CONTEXT ?=

.PHONY: run test bench images setup check-format lint

run: setup ## Start Holdfast on a lab of its own, or on CONTEXT=name of your kubeconfig
	cargo run --profile quick --locked --bin holdfast -- up $(if $(CONTEXT),--context $(CONTEXT))

test: setup ## Everything that CI checks
	scripts/test

bench: setup ## The benchmarks: one line of JSON a figure, then a table
	cargo build --release --locked --workspace --bins
	cargo run --release --locked -p holdfast-bench

images: setup ## The images of agent and aggregator with their bills of materials, into target/images
	scripts/images

setup: ## Install what is missing, or say what to install
	@scripts/setup
