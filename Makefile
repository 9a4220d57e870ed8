# Everything that is checked, and how; .ci/run calls these targets. `make` alone lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.NOTPARALLEL:
.SILENT:

export PATH := $(CURDIR)/target/tools/bin:$(PATH)

BROKER := tests/tools/broker
# one of its own for `make bench`: its CPU is measured, and its data are removed
BENCH_BROKER := BANSHI_TEST_BROKER_PORT=5810 $(BROKER)
S3 := tests/tools/s3
INSTALL := tests/tools/install
# what `make test` hands to cargo: make test TESTS='--test it amqp'
TESTS :=
# what `make bench` and `make bench-peers` build with: dist is what is shipped, and takes half an hour to build
PROFILE := dist
# the options of benches/pipeline: make bench PROFILE=release BENCH='pool --rounds 3', make bench BENCH='memory --memory 100000'
BENCH :=
# what `make bench-peers` hands to its benchmark
PEERS :=
# what `make simulate` hands to the simulation
SIMULATE :=

.PHONY: help
help: ## this list
	grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 14

.PHONY: lint
lint: ## format, clippy, documentation, licences, sources, advisories, templates; every warning is an error
	$(INSTALL) lint
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items
	cargo deny --locked --log-level error check licenses bans sources
	tests/tools/advisories
	typstyle --check typst-templates

.PHONY: test
test: ## all tests, against a private broker and private S3 servers, or those of AMQP_URL, BANSHI_TEST_S3_URL, …_LAX_URL
	$(INSTALL) test
	cargo test --locked --no-run $(TESTS)
	$(BROKER) run $(S3) run $(if $(TESTS),cargo test --locked $(TESTS),tests/tools/all)

# those of clients/ that `make clients-test` tries (docs/clients.md)
CLIENTS := python node java go

.PHONY: clients-test
clients-test: ## the clients of clients/, before a real broker and real workers; make test tries the most of it: make clients-test CLIENTS=go
	$(INSTALL) clients
	cargo build --locked
	$(BROKER) run target/tools/clients/bin/python clients/conformance/run.py $(CLIENTS)

VERSIONS := 3.10 4.0 4.3

.PHONY: rabbitmq-versions
rabbitmq-versions: ## what is promised of RabbitMQ, on 3.10, 4.0 and 4.3: make rabbitmq-versions VERSIONS=4.3
	cargo test --locked --no-run --test it
	for version in $(VERSIONS); do \
	  $(BROKER) install $$version; \
	  printf '\n==> RabbitMQ %s\n' $$version; \
	  env -u AMQP_URL BANSHI_TEST_BROKER_VERSION=$$version $(BROKER) run \
	    cargo test --locked --test it -- rabbitmq the_broker the_dead the_pods; \
	done

.PHONY: faults
faults: ## all experiments of docs/reliability.md, more than an hour; make faults SEED=7 ONLY="E4 E6" for some
	$(INSTALL) test faults
	for version in 4.0 4.3; do $(BROKER) install $$version; done
	$(if $(filter E23,$(or $(ONLY),E23)),$(S3) install garage)
	$(if $(PREVIOUS),previous=$$(tests/tools/previous $(PREVIOUS)); )$(S3) run cargo test --locked --test faults -- --full \
	  $(if $(SEED),--seed $(SEED)) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(PREVIOUS),--previous "$$previous") $(ONLY)

.PHONY: upgrade-test
upgrade-test: ## an earlier build and this one on one queue, there and back (docs/upgrade.md): make upgrade-test PREVIOUS=v0.1.0
	$(INSTALL) test
	previous=$$(tests/tools/previous $(PREVIOUS)); \
	cargo test --locked --test faults -- --full $(if $(SEED),--seed $(SEED)) --previous "$$previous" E34

# what `make deploy-test` tries: dist is what is shipped, image what the image's own stage compiles
DEPLOY := $(if $(filter dist image,$(PROFILE)),target/dist/banshi,target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/banshi)

.PHONY: deploy-test
deploy-test: ## deploy/container, compose, debian and release, tried without Docker, as root: docs/install/tried.md; make deploy-test PROFILE=dev ONLY=compose
	$(INSTALL) test deploy release
	$(if $(filter dist,$(PROFILE)),deploy/dist,$(if $(filter image,$(PROFILE)),tests/tools/container compile $(DEPLOY),cargo auditable build --locked --profile $(PROFILE)))
	mkdir -p target/deploy-test
	strip -o target/deploy-test/banshi $(DEPLOY)
	$(if $(filter debian release,$(ONLY)),,tests/tools/deploy-test target/deploy-test/banshi $(PROFILE) $(ONLY))
	$(if $(filter debian,$(or $(ONLY),debian)),tests/deploy/debian target/deploy-test/banshi)
	$(if $(filter release,$(or $(ONLY),release)),tests/deploy/release target/deploy-test/banshi)

# what cargo-fuzz builds with, which needs a nightly compiler only for sanitizers, and there is no unsafe code here
FUZZ := --cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 -Cllvm-args=-sanitizer-coverage-level=4 \
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares

.PHONY: fuzz-guard
fuzz-guard: ## makes up what comes from the wire and holds the AMQP guard to it: make fuzz-guard MINUTES=60
	mkdir -p fuzz/target/corpus
	host=$$(rustc -vV | sed -n 's/host: //p'); cd fuzz; \
	RUSTFLAGS="$(FUZZ)" cargo build --locked --release --target $$host; \
	nice -n 19 target/$$host/release/guard -max_total_time=$$(($(or $(MINUTES),10) * 60)) -max_len=4096 -timeout=10 \
	  -print_final_stats=1 -artifact_prefix=target/ target/corpus corpus

.PHONY: ci
ci: lint test unchanged ## what CI runs: lint, test, unchanged

.PHONY: unchanged
unchanged: ## nothing that the tests or a formatter write may differ from what is committed
	git -c safe.directory='*' diff --exit-code

.PHONY: fmt
fmt: ## formats the Rust code and the templates
	$(INSTALL) lint
	cargo fmt
	typstyle --inplace typst-templates

.PHONY: dist
dist: ## the binary that is shipped, target/dist/banshi, optimised by profile; takes half an hour
	deploy/dist

.PHONY: release
release: ## all that a release consists of, from the tag that is checked out, into target/release-artefacts: make release TAG=v0.1.0
	$(INSTALL) release
	deploy/release $(TAG)

.PHONY: bench
bench: ## what a report costs: engine, pool, whole worker, start, memory (docs/performance.md)
	$(INSTALL) bench
	env -u AMQP_URL $(BENCH_BROKER) run benches/run $(PROFILE) "$$(date -u '+%Y-%m-%d %H:%M UTC')" $(BENCH)
	$(BENCH_BROKER) wipe

.PHONY: references
references: ## draws the reference pages of the templates anew; look at what changed before you commit it
	UPDATE=1 cargo test --locked --quiet --test it reference
	git -c safe.directory='*' status --short typst-templates/annual-report/tests

.PHONY: gallery
gallery: ## draws docs/gallery, docs/page.png and docs/proof.png anew
	UPDATE=1 cargo test --locked --quiet --test it gallery
	git -c safe.directory='*' status --short docs

# what docs/console shows
PICTURES := overview-en-light overview-zh-dark rejected-zh-light

.PHONY: screenshots
screenshots: ## takes the pictures of docs/console anew: the console in a real browser, before real workers
	$(INSTALL) test
	mkdir -p docs/console
	cargo test --locked --no-run --test it
	SCREENSHOTS=docs/console PICTURES='$(PICTURES)' $(BROKER) run cargo test --locked --quiet --test it every_page_of_a_fleet_with_faults
	git -c safe.directory='*' status --short docs/console

.PHONY: workbook-picture
workbook-picture: ## draws docs/workbook.png anew: a table of a workbook as LibreOffice prints it
	$(INSTALL) test
	WORKBOOK_PICTURE=docs/workbook.png cargo test --locked --quiet --test it a_workbook_prints
	git -c safe.directory='*' status --short docs/workbook.png

.PHONY: schemas
schemas: ## writes schemas/ anew; look at what changed, docs/contracts.md says what breaks whom
	UPDATE=1 cargo test --locked --quiet --test it the_schemas_are
	tests/tools/contract-changes --released
	git -c safe.directory='*' status --short schemas

.PHONY: schemas-test
schemas-test: ## schemas/ in the eyes of AsyncAPI's own parser, Spectral and Ajv, which find no fault in it
	$(INSTALL) schemas
	tests/tools/asyncapi-check schemas/asyncapi.json
	tests/tools/ajv-check schemas
	tests/tools/spectral-check schemas/asyncapi.json

# the documents that `make ofd-test` makes: make ofd-test OFD='pingtan-2023'
OFD :=

.PHONY: ofd-test
ofd-test: ## OFDs in the eyes of two independent readers, page by page beside the PDF: the table of docs/ofd.md; `make test` does not
	$(INSTALL) ofd
	cargo build --locked
	tests/tools/ofd-test target/debug/banshi $(OFD)

.PHONY: ofd-pictures
ofd-pictures: ## draws docs/ofd anew: pages of PDF and OFD side by side, the OFD as independent readers draw it
	$(INSTALL) ofd
	cargo build --locked
	tests/tools/ofd-pictures target/debug/banshi
	git -c safe.directory='*' status --short docs/ofd

.PHONY: web-page-picture
web-page-picture: ## draws docs/web-page.png anew: a page for the web on a desk and on a phone
	$(INSTALL) test
	cargo build --locked
	tests/tools/web-page-picture target/debug/banshi
	git -c safe.directory='*' status --short docs/web-page.png

.PHONY: bench-peers
bench-peers: ## banshi beside what one would otherwise pick, on the same reports: make bench-peers PEERS='--rounds 9'
	$(INSTALL) test peers
	$(if $(filter dist,$(PROFILE)),deploy/dist) cargo bench --locked --profile $(PROFILE) --bench peers -- $(PEERS)

.PHONY: simulate
simulate: ## how long reports wait in January, and how many workers that takes: the table of docs/scaling.md
	cargo run --locked --quiet --example arrivals -- $(SIMULATE)

.PHONY: demo
demo: ## real reports through the whole pipeline, in a temporary folder
	cargo run --locked --quiet -- demo

.PHONY: fonts
fonts: ## for maintainers: cuts the Noto faces anew and compares them with fonts/README.md
	$(INSTALL) fonts
	target/tools/fonts/bin/python fonts/cut-noto.py fonts
	cd fonts && grep -E '^[0-9a-f]{64}  ' README.md | sha256sum --check

.PHONY: clean-broker
clean-broker: ## stops the private broker and removes its data
	$(BROKER) wipe

.PHONY: clean-s3
clean-s3: ## stops the private S3 servers and removes their data
	$(S3) wipe
